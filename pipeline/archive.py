"""A recorded run as its frames and what is known of each, in the order in which they were received."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.compression import encode
from streamer.config import RunConfig
from streamer.errors import UsageError
from streamer.file_process import PROCESS
from streamer.files import FrameFile, open_file
from streamer.plain import positive
from streamer.records import Compression, Frame, FrameHeader, FrameStatus, SeriesKey, SeriesStart
from streamer.result_tables import FileState, Table, file_state, left_out, open_result, read_tables

__all__ = ["ArchivedFrame", "ArchivedRun", "frames_of", "open_frames", "read_run"]


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """Where a frame is in the file (−1: it was not kept), and what its ledger row says of it."""

    row: int
    frame_id: int
    t_detector: float
    t_received: float


@dataclass(frozen=True, slots=True)
class ArchivedRun:
    """A run that was recorded.

    Attributes
    ----------
    path : pathlib.Path
    start : SeriesStart
        What the file says of the series.
    frames : tuple of ArchivedFrame
        Those in the file, in the order in which they were received.
    left_out : tuple of ArchivedFrame
        Those that came undamaged, but were not to be kept, in the same order.
    config : RunConfig
        What the run was asked to do.
    """

    path: Path
    start: SeriesStart
    frames: tuple[ArchivedFrame, ...]
    config: RunConfig
    left_out: tuple[ArchivedFrame, ...] = ()


def read_run(path: Path) -> ArchivedRun:
    """Read everything of a run but its pixels.

    Raises
    ------
    UsageError
        If it is no result file, still being written, was never closed, or holds no frame.
    """
    state = file_state(path)
    if state is FileState.BEING_WRITTEN:
        raise UsageError(f"{path} is being written: wait until the run is over")
    if state is FileState.CRASHED:
        raise UsageError(f"{path} was never closed: mend it first, with 'atomstream check --repair {path}'")
    with open_result(path) as file:
        tables, config = read_tables(file), _configuration(file, path)
        key = SeriesKey(*(_scalar(file, f"series/{name}") for name in ("series_id", "unique_id")))
        frame_time_s = positive(_scalar(file, "series/frame_time_s"))  # of all frames, not of those kept
    with closing(open_file(path)) as frames:
        info = frames.info
    found = tuple(_in_order(tables.ledger, info.n_frames))
    if not found:
        raise UsageError(f"{path} holds no frame: there is nothing to analyse")
    start = SeriesStart(
        key, tables.n_planned, info.shape, info.dtype, pixel_size_A=info.pixel_size_A,
        frame_time_s=frame_time_s, saturation_value=info.saturation_value,
    )  # fmt: skip
    not_kept = np.flatnonzero(left_out(tables.ledger))
    return ArchivedRun(path, start, found, config, tuple(_ordered(tables.ledger, not_kept)))


@contextmanager
def open_frames(path: Path) -> Iterator[FrameFile]:
    """Open a run for its pixels.

    Raises
    ------
    UsageError
        If it cannot be opened here.
    """
    with closing(open_file(path)) as file:
        yield file


def frames_of(file: FrameFile, start: SeriesStart, frames: Sequence[ArchivedFrame]) -> Iterator[Frame]:
    """Read frames, each as it was received.

    Raises
    ------
    FileReadError
        If the file is damaged there.
    """
    for one in frames:
        chunk = file.chunk(one.row)
        if chunk is None:  # another program has copied the file, and stored them otherwise
            chunk = Compression.BSLZ4, memoryview(encode(file.frame(one.row), Compression.BSLZ4))
        compression, payload = chunk
        header = FrameHeader(
            start.key, one.frame_id, start.shape, file.info.dtype, compression, one.t_detector
        )
        yield Frame(header, payload)


def _in_order(ledger: Table, n_rows: int) -> Iterator[ArchivedFrame]:
    """Order the frames as they were received; what an event has kept is further behind in the stack."""
    rows, status = ledger["stack_row"], ledger["status"]
    usable = np.flatnonzero((rows >= 0) & (rows < n_rows) & (status != FrameStatus.MISSING))
    return _ordered(ledger, usable)


def _ordered(ledger: Table, chosen: NDArray[np.int64]) -> Iterator[ArchivedFrame]:
    rows = ledger["stack_row"]
    order = chosen[np.lexsort((rows[chosen], ledger["t_received"][chosen]))]
    for i in order.tolist():
        times = float(ledger["t_detector"][i]), float(ledger["t_received"][i])
        yield ArchivedFrame(int(rows[i]), int(ledger["frame_id"][i]), *times)


def _configuration(file: h5py.File, path: Path) -> RunConfig:
    text = _scalar(file, "configuration")
    try:
        return msgspec.toml.decode(text, type=RunConfig)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} was recorded with another version's configuration: {error}") from error


def _scalar(file: h5py.File, name: str) -> Any:
    value = file[f"{PROCESS}/{name}"][()]
    return value.decode() if isinstance(value, bytes) else value.item()
