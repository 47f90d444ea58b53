"""Merlin files (``.mib``), memory-mapped: a text header before each frame, big-endian pixels after it.

``rosettasciio`` reads them too, but reshapes by the time stamps and leaves out the frames that do not fit.
Like it, this reader turns the rows round: the detector stores the lowest row first.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import FileReadError, UnknownEncodingError, UsageError
from streamer.files.protocol import Chunk, FileInfo
from streamer.merlin_header import HEADER_BYTES, MerlinHeader, read_header, time_of
from streamer.plain import positive

__all__ = ["MibStack"]

_TIMED_FRAMES = 100  # enough for the median of the intervals


class MibStack:
    """A file of one Merlin detector, single or several chips, in a processed (not raw) format.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If it does not begin with a Merlin header, is raw, or holds not even one frame.
    """

    def __init__(self, path: Path) -> None:
        self._header = _first_header(path)
        size, record_bytes = path.stat().st_size, _record_bytes(self._header)
        n_frames, rest = divmod(size, record_bytes)
        if n_frames == 0:
            raise UsageError(f"{path} is truncated: it has {size} bytes, one frame takes {record_bytes}")
        record = _record(self._header)
        self._frames: NDArray[Any] = np.memmap(path, record, "r", shape=(n_frames,))
        frame_time_s = _frame_time_s(self._frames["header"][:_TIMED_FRAMES])
        height, width = record["pixels"].shape
        self._info = FileInfo(
            path=path,
            format="Merlin MIB",
            n_frames=n_frames,
            shape=(height, width),
            dtype=record["pixels"].base,
            pixel_size_from="MIB headers have none",
            frame_time_s=frame_time_s,
            frame_time_from="time stamps of the frame headers (median interval)"
            if frame_time_s
            else "the frame headers' time stamps do not advance",
            notes=(f"frame {n_frames} is cut off and left out",) if rest else (),
        )

    @property
    def info(self) -> FileInfo:
        """What the headers say."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Return a view of one frame, top row first."""
        self._expect_header(index)
        view: NDArray[Any] = self._frames["pixels"][index, ::-1]
        return view

    def _expect_header(self, index: int) -> None:
        """Check that the frame's own header says what the first does: a lost block moves all behind it."""
        try:
            header = read_header(self._frames["header"][index].tobytes()[:HEADER_BYTES])
        except (ValueError, UnknownEncodingError) as error:
            raise FileReadError(
                f"frame {index} of {self._info.path} does not lie where it should ({error}):"
                " bytes are missing before it, copy the file again"
            ) from error
        if replace(header, number=self._header.number) != self._header:
            raise FileReadError(
                f"frame {index} of {self._info.path} has {header.shape} px of {header.dtype},"
                f" the first {self._header.shape} of {self._header.dtype}"
            )

    def chunk(self, index: int) -> Chunk | None:
        """Return None: pixels are encoded when they are sent."""
        return None

    def close(self) -> None:
        """Let go of the mapping, which ends with the last view of it."""
        self._frames = np.empty(0, self._frames.dtype)


def _first_header(path: Path) -> MerlinHeader:
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    try:
        return read_header(start)
    except UnknownEncodingError as error:
        raise UsageError(f"{path} has {error}") from error
    except ValueError as error:
        raise UsageError(f"{path} has no Merlin header: {error}") from error


def _record_bytes(header: MerlinHeader) -> int:
    height, width = header.shape
    return header.n_bytes + height * width * header.dtype.itemsize


def _record(header: MerlinHeader) -> np.dtype[Any]:
    """Return the layout of one frame with its header."""
    return np.dtype([("header", f"V{header.n_bytes}"), ("pixels", header.wire_dtype, header.shape)])


def _frame_time_s(headers: NDArray[Any]) -> float | None:
    """Return the median interval [s] of the frames' time stamps; None where they do not advance."""
    times = [time_of(header.tobytes().decode("ascii", "replace")) for header in headers]
    intervals_s = [(b - a).total_seconds() for a, b in pairwise(t for t in times if t is not None)]
    return positive(float(np.median(intervals_s))) if intervals_s else None
