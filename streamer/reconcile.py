"""What must hold between the tables of a result file; what cannot be true together is named."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.records import FrameStatus
from streamer.result_tables import Tables, count, damaged_on_arrival, unanswered

__all__ = ["contradictions", "without_row"]


def contradictions(tables: Tables) -> Iterator[str]:
    """Find what cannot be true together, one line each."""
    yield from _uneven(tables)
    ledger = tables.ledger
    yield from _unless(np.all(np.diff(ledger["frame_id"]) == 1), "the ledger's frame ids are not consecutive")
    yield from _references("stack_row", ledger, tables.stack["indices_image"], "stack")
    yield from _references("result_row", ledger, tables.summary["frame_id"], "summary")
    yield from _statuses(ledger)
    summary = tables.summary
    yield from _rows(tables, "columns", tables.first_row, summary["n_columns"])
    if tables.particles:
        yield from _rows(tables, "particles", tables.first_particle, summary["n_particles"])
    if tables.state not in ("recording", "failed"):  # a failed recording counts on after its file is closed
        yield from _counters(tables)
        yield from _equations(tables)


def without_row(tables: Tables) -> int:
    """Return how many planned frames after the last one are missing and have no row of their own."""
    frame_ids = tables.ledger["frame_id"]
    return max(0, tables.n_due - (int(frame_ids[-1]) + 1 if len(frame_ids) else 0))


def _statuses(ledger: dict[str, NDArray[Any]]) -> Iterator[str]:
    status, recorded = ledger["status"], ledger["stack_row"] >= 0
    absent, damaged = status == FrameStatus.MISSING, status == FrameStatus.DAMAGED
    yield from _unless(not np.any(recorded & absent), "frames are in the stack and called missing")
    has_result, analysed = ledger["result_row"] >= 0, status == FrameStatus.ANALYSED
    yield from _unless(not np.any(analysed & ~has_result), "frames are called analysed and have no result")
    yield from _unless(
        not np.any(has_result & recorded & ~analysed), "frames have a result and are not analysed"
    )
    lacking = ~recorded & (status == FrameStatus.RECORDED)
    yield from _unless(not np.any(lacking), "frames are called recorded and are not in the stack")
    left_out = status == FrameStatus.UNRECORDED
    yield from _unless(not np.any(recorded & left_out), "frames are in the stack and called unrecorded")
    nameless = damaged & (ledger["reason"] == b"")
    yield from _unless(not np.any(nameless), "frames are called damaged and nothing says why")


def _uneven(tables: Tables) -> Iterator[str]:
    for name in tables.uneven:
        yield f"the columns of /entry/{name} have different lengths"
    results = len(tables.summary["frame_id"])
    yield from _unless(len(tables.first_row) == results, "columns/first_row and summary differ in length")
    if tables.particles:
        same = len(tables.first_particle) == results
        yield from _unless(same, "particles/first_row and summary differ in length")


def _references(
    name: str, ledger: dict[str, NDArray[Any]], frame_ids: NDArray[Any], table: str
) -> Iterator[str]:
    """Each row of a table must be referred to once, by the ledger's row of the same frame."""
    rows = ledger[name][ledger[name] >= 0]
    yield from _unless(
        np.array_equal(np.sort(rows), np.arange(len(frame_ids))),
        f"the ledger refers to {len(rows)} rows of the {table}, which has {len(frame_ids)}",
    )
    if rows.size and rows.max() < len(frame_ids):
        same = np.array_equal(frame_ids[rows], ledger["frame_id"][ledger[name] >= 0])
        yield from _unless(same, f"frames of the {table} have other ids than in the ledger")


def _rows(tables: Tables, name: str, first_row: NDArray[Any], numbers: NDArray[Any]) -> Iterator[str]:
    """Compare a table of several rows a frame with where each frame's rows begin and how many they are."""
    frame_ids = getattr(tables, name)["frame_id"]
    lengths = numbers.astype(np.int64)
    ends = np.cumsum(lengths)
    fits = np.array_equal(first_row, ends - lengths)
    fits = fits and (ends[-1] if len(ends) else 0) == len(frame_ids)
    yield from _unless(fits, f"{name}/first_row does not fit the number of {name}")
    if fits:
        same = np.array_equal(frame_ids, np.repeat(tables.summary["frame_id"], lengths))
        yield from _unless(same, f"{name} belong to other frames than {name}/first_row says")


def _counters(tables: Tables) -> Iterator[str]:
    """Compare the counters that the run has kept with what the ledger adds up to."""
    counted = count(tables.ledger)
    counted["missing"] += without_row(tables)
    counted["damaged_on_arrival"] = int(np.sum(damaged_on_arrival(tables.ledger)))
    counted["analysis_lost"] = int(np.sum(unanswered(tables.ledger, tables.asked)))
    for name, found in counted.items():
        if name != "rows":
            kept = tables.counters.get(name, 0)  # an earlier version counted fewer things
            yield from _unless(kept == found, f"{kept} frames {name} by the counters, {found} by the ledger")


def _equations(tables: Tables) -> Iterator[str]:
    """Add the run's own counters up; the ledger's do where each row's status and references agree."""
    kept = tables.counters
    arrived = kept["received"] + kept["missing"]
    before, due = _first_id(tables), tables.n_due
    yield from _unless(
        before + arrived >= due,
        f"planned {due} is more than received + missing, {arrived}"
        + (f", and the {before} before the first row" if before else ""),
    )
    named = kept["recorded"] + kept["damaged_on_arrival"] + kept["unrecorded"] + kept.get("paused", 0)
    yield from _unless(
        kept["received"] == named,
        f"received {kept['received']} is not recorded + named losses, {named}",
    )


def _first_id(tables: Tables) -> int:
    """Return how many ids lie before the first row: an earlier file has them, or none ever did."""
    frame_ids = tables.ledger["frame_id"]
    return int(frame_ids[0]) if len(frame_ids) else 0


def _unless(fine: bool | np.bool_, problem: str) -> Iterator[str]:
    if not fine:
        yield problem
