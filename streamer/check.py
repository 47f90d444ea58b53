"""Is a result file whole? Its ledger reconciled, its tables consistent, every frame decoded."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.compression import decode
from streamer.errors import AtomstreamError, UsageError
from streamer.files.hdf5 import Stack
from streamer.records import Frame, FrameHeader, FrameStatus, SeriesKey
from streamer.repair import repair_file
from streamer.result_tables import FileState, Tables, count, file_state, open_result, read_tables

__all__ = ["CheckReport", "check_file", "repair"]

Progress = Callable[[int, int], None]

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check has found.

    Attributes
    ----------
    path : str
    state : str
        ``complete``, ``stopped`` or ``repaired`` as the file says; ``recording`` if it was never closed.
    planned, rows, received, recorded, analysed, skipped, missing, damaged : int
        Frames the source announced; frame ids in the ledger; and what became of them, by the ledger.
    paused : int
        Frames received while recording was switched off: not in the stack, and no loss.
    decoded : int
        Frames whose pixels were decoded.
    lost : int
        Frames that were to be recorded and are not, or cannot be decoded.
    losses : tuple of str
        What did not go all the way, and why: one line for each status and reason.
    problems : tuple of str
        What is wrong with the file itself: contradictions, unreadable frames, a missing end.
    """

    path: str
    state: str
    planned: int
    rows: int
    received: int
    recorded: int
    analysed: int
    skipped: int
    missing: int
    damaged: int
    paused: int
    decoded: int
    lost: int
    losses: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the file is whole and nothing was lost."""
        return not self.problems and not self.lost

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**asdict(self), "ok": self.ok}


def check_file(path: Path, progress: Progress | None = None) -> CheckReport:
    """Check a result file; it is only read.

    Parameters
    ----------
    path : pathlib.Path
    progress : callable, optional
        Called with the frames decoded so far and their number.

    Raises
    ------
    UsageError
        If it is not a result file, or is being written at this moment.
    """
    state = _state_of_rest(path)
    with open_result(path) as file:
        tables = read_tables(file)
        problems = _unfinished(state, tables)
        # After a crash the tables may end at different rows; to say so is enough.
        problems += [] if state is FileState.CRASHED else list(_contradictions(tables))
        unreadable = _decode_all(file, tables, progress or (lambda done, total: None))
    known = set(tables.ledger["frame_id"][tables.ledger["status"] == FrameStatus.DAMAGED].tolist())
    problems += [f"frame {i}: {why}" for i, why in unreadable.items() if i not in known][:_MOST_NAMED]
    return _report(path, tables, problems, unreadable)


def repair(path: Path, progress: Progress | None = None) -> CheckReport:
    """Mend a file whose writer was killed, in its place, and check it.

    Everything that was flushed is kept; what the tables say of frames that are not there is corrected. A file
    that was closed is left as it is.

    Raises
    ------
    UsageError
        If it is not a result file, or is being written at this moment.
    """
    if _state_of_rest(path) is FileState.CRASHED or _says_recording(path):
        repair_file(path)
    return check_file(path, progress)


def _state_of_rest(path: Path) -> FileState:
    """Return the state of a file that nobody writes."""
    state = file_state(path)
    if state is FileState.BEING_WRITTEN:
        raise UsageError(f"{path} is being written: wait until the run is over")
    return state


def _says_recording(path: Path) -> bool:
    with open_result(path) as file:
        return read_tables(file).state == "recording"


def _unfinished(state: FileState, tables: Tables) -> list[str]:
    if state is FileState.CRASHED:
        return ["the file was never closed, its writer was killed: mend it with 'atomstream check --repair'"]
    if tables.state == "recording":
        return ["the file was closed in the midst of a recording: mend it with 'atomstream check --repair'"]
    if tables.state == "failed":
        return [f"recording stopped early: {tables.end_reason}"]
    return []


def _contradictions(tables: Tables) -> Iterator[str]:
    """Find what cannot be true together."""
    yield from _uneven(tables)
    ledger = tables.ledger
    yield from _unless(np.all(np.diff(ledger["frame_id"]) == 1), "the ledger's frame ids are not consecutive")
    yield from _references("stack_row", ledger, tables.stack["indices_image"], "stack")
    yield from _references("result_row", ledger, tables.summary["frame_id"], "summary")
    status, recorded = ledger["status"], ledger["stack_row"] >= 0
    absent = status == FrameStatus.MISSING
    yield from _unless(not np.any(recorded & absent), "frames are in the stack and called missing")
    has_result, analysed = ledger["result_row"] >= 0, status == FrameStatus.ANALYSED
    yield from _unless(not np.any(analysed & ~has_result), "frames are called analysed and have no result")
    yield from _unless(
        not np.any(has_result & recorded & ~analysed), "frames have a result and are not analysed"
    )
    lacking = ~recorded & (status == FrameStatus.RECORDED)
    yield from _unless(not np.any(lacking), "frames are called recorded and are not in the stack")
    yield from _unless(
        not np.any(recorded & (status == FrameStatus.UNRECORDED)),
        "frames are in the stack and called unrecorded",
    )
    yield from _column_rows(tables)
    if tables.state not in ("recording", "failed"):  # a failed recording counts on after its file is closed
        yield from _counters(tables)


def _uneven(tables: Tables) -> Iterator[str]:
    for name in tables.uneven:
        yield f"the columns of /entry/{name} have different lengths"
    results = len(tables.summary["frame_id"])
    yield from _unless(len(tables.first_row) == results, "columns/first_row and summary differ in length")


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


def _column_rows(tables: Tables) -> Iterator[str]:
    lengths = tables.summary["n_columns"].astype(np.int64)
    ends = np.cumsum(lengths)
    fits = np.array_equal(tables.first_row, ends - lengths)
    fits = fits and (ends[-1] if len(ends) else 0) == len(tables.columns["frame_id"])
    yield from _unless(fits, "columns/first_row does not fit the number of columns")
    if fits:
        expected = np.repeat(tables.summary["frame_id"], lengths)
        same = np.array_equal(tables.columns["frame_id"], expected)
        yield from _unless(same, "columns belong to other frames than columns/first_row says")


def _counters(tables: Tables) -> Iterator[str]:
    """Compare the counters that the run has kept with what the ledger adds up to."""
    counted = count(tables.ledger)
    counted["missing"] += _without_row(tables)
    for name in ("received", "recorded", "analysed", "skipped", "missing", "damaged", "paused"):
        kept, found = tables.counters.get(name, 0), counted[name]
        yield from _unless(kept == found, f"{kept} frames {name} by the counters, {found} by the ledger")


def _without_row(tables: Tables) -> int:
    """Return how many planned frames after the last one are missing and have no row of their own."""
    if tables.state not in ("complete", "failed"):
        return 0
    frame_ids = tables.ledger["frame_id"]
    return max(0, tables.n_planned - (int(frame_ids[-1]) + 1 if len(frame_ids) else 0))


def _unless(fine: bool | np.bool_, problem: str) -> Iterator[str]:
    if not fine:
        yield problem


def _decode_all(file: h5py.File, tables: Tables, progress: Progress) -> dict[int, str]:
    """Decode every frame; return the ids of those that cannot be, and why."""
    stack = Stack(file["/entry/stack/intensity"])
    frame_ids = tables.stack["indices_image"]
    unreadable = {}
    for row in range(min(stack.n_frames, len(frame_ids))):
        try:
            _decode_row(stack, row, int(frame_ids[row]))
        except AtomstreamError as error:
            unreadable[int(frame_ids[row])] = str(error)
        progress(row + 1, stack.n_frames)
    return unreadable


def _decode_row(stack: Stack, row: int, frame_id: int) -> None:
    chunk = stack.chunk(row)
    if chunk is None:
        stack.frame(row)
        return
    compression, payload = chunk
    header = FrameHeader(SeriesKey(0), frame_id, stack.shape, stack.dtype, compression)
    decode(Frame(header, payload))


def _report(path: Path, tables: Tables, problems: list[str], unreadable: dict[int, str]) -> CheckReport:
    counted = count(tables.ledger)
    unrecorded = counted["rows"] - counted["recorded"] - counted["paused"] + _without_row(tables)
    return CheckReport(
        path=str(path),
        state=tables.state,
        planned=tables.n_planned,
        **counted,
        decoded=counted["recorded"] - len(unreadable),
        lost=unrecorded + len(unreadable),
        losses=tuple(_losses(tables)),
        problems=tuple(problems),
    )


def _losses(tables: Tables) -> Iterator[str]:
    """Name what is not in the file, or not analysed though it was to be, by status and reason."""
    ledger = tables.ledger
    for status in FrameStatus:
        of_status = ledger["status"] == status
        for reason in np.unique(ledger["reason"][of_status]):
            chosen = of_status & (ledger["reason"] == reason)
            if status in (FrameStatus.MISSING, FrameStatus.DAMAGED) or reason:
                ids = ledger["frame_id"][chosen]
                why = reason.decode() or "never came"
                yield f"{len(ids)} {status.name.lower()} ({why}): {_ranges(ids)}"


def _ranges(ids: NDArray[Any]) -> str:
    """Write frame ids shortly: 3, 7-9, 12."""
    runs = np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)
    named = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:_MOST_NAMED]]
    return ", ".join(named) + (
        f" and {len(runs) - _MOST_NAMED} more ranges" if len(runs) > _MOST_NAMED else ""
    )
