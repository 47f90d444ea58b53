"""Mending a result file whose writer was killed: keep all that was flushed, and make the tables agree.

The parts of a file are flushed in an order (see `streamer.result_file`), so after a crash some may be ahead
of others by one flush. What is ahead of the frames, or of the columns, is cut off; frames and results that
the ledger does not know yet are entered into it. All this is done in SWMR mode, like the recording itself, so
that a repair may be interrupted and begun again.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
from numpy.typing import NDArray

from streamer.disk_space import free_bytes
from streamer.errors import RecordingError
from streamer.file_layout import CHANGES, COLUMNS, LEDGER, SUMMARY
from streamer.file_process import PROCESS
from streamer.file_views import HYPERSPY_FRAME_AXIS
from streamer.latency import PERCENTILES
from streamer.particle_table import PARTICLES
from streamer.records import FrameStatus
from streamer.result_tables import Table, asked_of, count, damaged_on_arrival, unanswered
from streamer.superblock import clear_marks, is_marked_open
from streamer.swmr import LIBVER, Column, ColumnSpec, NumberAttribute, text

__all__ = ["repair_file"]

_REASON = b"lost when the recording was killed"
_NO_RESULT = b"no result when the recording was killed"
_ROOM_BYTES = 64 * 2**20  # HDF5 crashes where it cannot write; rewritten ledger rows take far less
_LARGEST_FIRST_ID = 100_000
_END_REASON = "the recording was killed; repaired"


def repair_file(path: Path) -> None:
    """Mend a file in its place; nobody may be writing it.

    Raises
    ------
    RecordingError
        If the file cannot be written, or its disk is full.
    UsageError
        If it is not a file of this program.
    """
    if free_bytes(path) < _ROOM_BYTES:
        raise RecordingError(
            f"cannot repair {path}: its disk is full; make {_ROOM_BYTES >> 20} MiB free, or copy it elsewhere"
        )
    if is_marked_open(path):
        clear_marks(path)
    try:
        with h5py.File(path, "r+", libver=LIBVER) as file:
            file.swmr_mode = True
            _mend(file)
    except OSError as error:
        raise RecordingError(f"cannot repair {path}: {error}") from error


def _mend(file: h5py.File) -> None:
    n_frames = _cut_stack(file)
    n_results = _cut_results(file)
    ledger = _mend_ledger(file, n_frames, n_results)
    for name, value in count(ledger).items():
        if f"{PROCESS}/counters/{name}" in file:
            _put(file, f"counters/{name}", value)
    _put(file, "counters/damaged_on_arrival", np.sum(damaged_on_arrival(ledger)))
    _put(file, "counters/analysis_lost", np.sum(unanswered(ledger, asked_of(file))))
    for name, values in _latencies_s(ledger).items():
        if f"{PROCESS}/latency/{name}" in file:
            _put(file, f"latency/{name}", values[: len(file[f"{PROCESS}/latency/{name}"])])
    _put(file, "t_end", file[f"{PROCESS}/t_heartbeat"][()])
    _put(file, "end_reason", text(_END_REASON))
    _put(file, "state", text("repaired"))
    NumberAttribute(file[HYPERSPY_FRAME_AXIS], "size").put(n_frames)


def _cut_stack(file: h5py.File) -> int:
    """Cut the stack to the frames that are there with pixels, id and time; return their number."""
    parts = [Column(file[f"/entry/stack/{name}"]) for name in ("indices_image", "time", "intensity")]
    n_frames = min(part.n_rows for part in parts)
    stored = parts[-1].id
    while n_frames and not _has_chunk(stored, n_frames - 1):
        n_frames -= 1
    for part in parts:
        part.resize(n_frames)
        part.flush()
    return n_frames


def _has_chunk(dataset: Any, row: int) -> bool:
    info = dataset.get_chunk_info_by_coord((row, 0, 0))
    return info is not None and info.byte_offset is not None


def _cut_results(file: h5py.File) -> int:
    """Cut the results to those with a summary and all their rows elsewhere; return their number."""
    summary = _table(file, "/entry/summary", SUMMARY)
    several = [_Rows(file, "columns", COLUMNS)]
    if "first_row" in file["/entry/particles"]:  # not in files of earlier versions
        several.append(_Rows(file, "particles", PARTICLES))
    n_results = min(column.n_rows for column in summary.values())
    n_results = min(rows.n_results(n_results) for rows in several)
    for rows in several:
        rows.cut(n_results)
    _cut(summary, n_results)
    changes = _table(file, "/entry/changes", CHANGES)
    _cut(changes, min((column.n_rows for column in changes.values()), default=0))
    return n_results


class _Rows:
    """A table with several rows for each result."""

    def __init__(self, file: h5py.File, name: str, specs: Iterable[ColumnSpec]) -> None:
        self._columns = _table(file, f"/entry/{name}", specs)
        self._first_row = Column(file[f"/entry/{name}/first_row"])
        self._ends = np.cumsum(file[f"/entry/summary/n_{name}"][:].astype(np.int64))

    def n_results(self, at_most: int) -> int:
        """Return how many results have all their rows here."""
        n_rows = min(column.n_rows for column in self._columns.values())
        whole = int(np.searchsorted(self._ends[:at_most], n_rows, side="right"))
        return min(whole, self._first_row.n_rows)

    def cut(self, n_results: int) -> None:
        """Cut to the rows of the first `n_results`."""
        _cut({"first_row": self._first_row}, n_results)
        _cut(self._columns, int(self._ends[n_results - 1]) if n_results else 0)


def _cut(table: dict[str, Column], n_rows: int) -> None:
    for column in table.values():
        column.resize(n_rows)
        column.flush()


def _table(file: h5py.File, group: str, specs: Iterable[ColumnSpec]) -> dict[str, Column]:
    """Return a table's columns; files of earlier versions lack some."""
    there = (spec.name for spec in specs if f"{group}/{spec.name}" in file)
    return {name: Column(file[f"{group}/{name}"]) for name in there}


def _mend_ledger(file: h5py.File, n_frames: int, n_results: int) -> Table:
    """Make the ledger agree with the frames and results that are there."""
    stored = file["/entry/stack/indices_image"][:n_frames]
    ledger = _read_ledger(file, stored)
    first_id = int(ledger["frame_id"][0]) if len(ledger["frame_id"]) else 0
    _enter_frames(ledger, stored - first_id)
    _enter_results(ledger, file["/entry/summary/frame_id"][:n_results] - first_id)
    nameless = unanswered(ledger, asked_of(file)) & (ledger["reason"] == b"")
    ledger["reason"][nameless] = _NO_RESULT
    for spec in _ledger_specs(file):
        column = Column(file[f"/entry/ledger/{spec.name}"])
        column.write(0, ledger[spec.name])
        column.flush()
    return ledger


def _ledger_specs(file: h5py.File) -> list[ColumnSpec]:
    """Return the ledger's columns that the file has: an older version wrote fewer."""
    return [spec for spec in LEDGER if f"/entry/ledger/{spec.name}" in file]


def _read_ledger(file: h5py.File, stored: NDArray[np.int64]) -> Table:
    """Read the ledger, with every column as long as the longest, and rows for all stored frames."""
    columns = {spec.name: file[f"/entry/ledger/{spec.name}"][:] for spec in _ledger_specs(file)}
    known = columns["frame_id"][columns["frame_id"] >= 0]
    first_id = int(known[0]) if len(known) else _first_id(stored)
    n_rows = max(*(len(column) for column in columns.values()), int(stored.max(initial=-1)) - first_id + 1)
    ledger = {}
    for spec in LEDGER:
        ledger[spec.name] = np.full(n_rows, 0 if spec.fill is None else spec.fill, spec.dtype)
        known_rows = columns.get(spec.name, ())
        ledger[spec.name][: len(known_rows)] = known_rows
    ledger["frame_id"][:] = np.arange(first_id, first_id + n_rows)
    return ledger


def _first_id(stored: NDArray[np.int64]) -> int:
    """Return the first row's id where the ledger has none yet: 0, as far as that can be believed."""
    first = int(stored.min(initial=_LARGEST_FIRST_ID + 1))
    return 0 if first <= _LARGEST_FIRST_ID or not len(stored) else first


def _enter_frames(ledger: Table, rows: NDArray[np.int64]) -> None:
    """Point each stored frame's row to it, and take back what was said of frames that are not stored."""
    stack_row = np.full(len(ledger["frame_id"]), -1)
    stack_row[rows] = np.arange(len(rows))
    lost = (stack_row < 0) & (ledger["stack_row"] >= 0)
    ledger["status"][lost], ledger["reason"][lost] = FrameStatus.MISSING, _REASON
    new = (stack_row >= 0) & (ledger["status"] == FrameStatus.MISSING)
    ledger["status"][new] = FrameStatus.RECORDED
    ledger["stack_row"] = stack_row


def _enter_results(ledger: Table, rows: NDArray[np.int64]) -> None:
    result_row = np.full(len(ledger["frame_id"]), -1)
    result_row[rows] = np.arange(len(rows))
    lost = (result_row < 0) & (ledger["status"] == FrameStatus.ANALYSED)
    in_stack = ledger["stack_row"] >= 0
    ledger["status"][lost & in_stack] = FrameStatus.RECORDED
    ledger["status"][lost & ~in_stack] = FrameStatus.UNRECORDED
    usable = in_stack | (ledger["status"] == FrameStatus.UNRECORDED)
    ledger["status"][(result_row >= 0) & usable] = FrameStatus.ANALYSED
    ledger["result_row"] = result_row


def _latencies_s(ledger: Table) -> dict[str, NDArray[np.float64]]:
    """Return the percentiles of each stage whose two times the ledger knows; see `streamer.latency`."""
    stages = {}
    for first, second in pairwise(("received", "decoded", "batched", "analysed", "published")):
        name = f"{first}_to_{second}".replace("analysed", "computed")
        stages[name] = _percentiles(ledger[f"t_{second}"] - ledger[f"t_{first}"])
    stages["received_to_published"] = _percentiles(ledger["t_published"] - ledger["t_received"])
    stages["received_to_recorded"] = _percentiles(ledger["t_recorded"] - ledger["t_received"])
    return stages


def _percentiles(durations_s: NDArray[np.float64]) -> NDArray[np.float64]:
    known = durations_s[np.isfinite(durations_s)]
    return np.percentile(known, PERCENTILES) if len(known) else np.full(len(PERCENTILES), np.nan)


def _put(file: h5py.File, name: str, value: Any) -> None:
    file[f"{PROCESS}/{name}"][()] = value
