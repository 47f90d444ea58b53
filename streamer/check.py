"""Is a result file whole? Its ledger reconciled, its tables consistent, every frame decoded."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from streamer.compression import decode
from streamer.errors import AtomstreamError, UsageError
from streamer.files.hdf5 import Stack
from streamer.losses import Loss, analysis_losses, losses
from streamer.reconcile import contradictions, without_row
from streamer.records import Frame, FrameHeader, FrameStatus, SeriesKey
from streamer.repair import repair_file
from streamer.result_tables import (
    FileState,
    Tables,
    count,
    damaged_on_arrival,
    file_state,
    left_out,
    open_result,
    read_tables,
)

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
        Frames the source announced; frame ids in the ledger; and what became of them, by the ledger (missing:
        also those planned frames for which the ledger has no row).
    damaged_on_arrival : int
        Those of the damaged that are not in the stack.
    analysis_lost : int
        Undamaged frames that were to be analysed by the run's policy and have no result.
    paused : int
        Frames received while recording was switched off: not in the stack, and no loss.
    decoded : int
        Frames whose pixels were decoded.
    lost : int
        Frames that are not recorded, cannot be decoded, or were lost in the analysis; each is counted once.
    losses : tuple of Loss
        What did not go all the way, and why: one for each status and reason.
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
    damaged_on_arrival: int
    analysis_lost: int
    paused: int
    decoded: int
    lost: int
    losses: tuple[Loss, ...]
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
        problems += [] if state is FileState.CRASHED else list(contradictions(tables))
        unreadable = _decode_all(file, tables, progress or (lambda done, total: None))
        problems += list(_decode_maps(file))[:_MOST_NAMED]
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


def _decode_maps(file: h5py.File) -> Iterator[str]:
    """Read every stored map; name those that cannot be."""
    maps = file["/entry/maps"] if "/entry/maps" in file else {}
    for name in [name for name in maps if name != "frame_id"]:
        for row in range(maps[name].shape[0]):
            try:
                maps[name][row]
            except (OSError, RuntimeError) as error:
                yield f"map {name} in row {row} cannot be read: {error}"


def _report(path: Path, tables: Tables, problems: list[str], unreadable: dict[int, str]) -> CheckReport:
    ledger, counted = tables.ledger, count(tables.ledger)
    in_analysis = analysis_losses(tables)
    absent = (ledger["stack_row"] < 0) & ~left_out(ledger)
    gone = in_analysis | absent | np.isin(ledger["frame_id"], list(unreadable))
    counted["missing"] += without_row(tables)
    return CheckReport(
        path=str(path),
        state=tables.state,
        planned=tables.n_planned,
        **counted,
        damaged_on_arrival=int(np.sum(damaged_on_arrival(ledger))),
        analysis_lost=int(np.sum(in_analysis)),
        decoded=counted["recorded"] - len(unreadable),
        lost=int(np.sum(gone)) + without_row(tables),
        losses=tuple(losses(tables)),
        problems=tuple(problems),
    )
