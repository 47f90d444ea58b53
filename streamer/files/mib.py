"""Merlin files (``.mib``), memory-mapped: a text header before each frame, big-endian pixels after it.

``rosettasciio`` reads them too, but reshapes by the time stamps and leaves out the frames that do not fit.
Like it, this reader turns the rows round: the detector stores the lowest row first. Header fields from the
Merlin user manual (``MQ1,number,header bytes,chips,width,height,depth,layout,…``).
"""

import re
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.protocol import Chunk, FileInfo
from streamer.plain import positive

__all__ = ["MibStack"]

_DEPTHS = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{1,6}")
_FIRST_BYTES = 384
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
        record = _record(path)
        size = path.stat().st_size
        n_frames, rest = divmod(size, record.itemsize)
        if n_frames == 0:
            raise UsageError(f"{path} is truncated: it has {size} bytes, one frame takes {record.itemsize}")
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
        view: NDArray[Any] = self._frames["pixels"][index, ::-1]
        return view

    def chunk(self, index: int) -> Chunk | None:
        """Return None: pixels are encoded when they are sent."""
        return None

    def close(self) -> None:
        """Let go of the mapping, which ends with the last view of it."""
        self._frames = np.empty(0, self._frames.dtype)


def _record(path: Path) -> np.dtype[Any]:
    """Return the layout of one frame with its header, from the first header."""
    with path.open("rb") as file:
        fields = file.read(_FIRST_BYTES).decode("ascii", "replace").split(",")
    try:
        if not fields[0].startswith("MQ"):
            raise ValueError(f"it begins with {fields[0][:8]!r}")
        header_bytes, width, height = int(fields[2]), int(fields[4]), int(fields[5])
        depth = fields[6].strip()
        if min(header_bytes, width, height) < 1:
            raise ValueError(f"a header of {header_bytes} bytes, frames of {height} x {width} px")
    except (IndexError, ValueError) as error:
        raise UsageError(f"{path} has no Merlin header: {error}") from error
    if depth not in _DEPTHS:
        raise UsageError(f"{path} has pixels of type {depth}; expected U08, U16 or U32 (not raw)")
    return np.dtype([("header", f"V{header_bytes}"), ("pixels", _DEPTHS[depth], (height, width))])


def _frame_time_s(headers: NDArray[Any]) -> float | None:
    """Return the median interval [s] of the frames' time stamps; None where they do not advance."""
    times = [_timestamp(header.tobytes().decode("ascii", "replace")) for header in headers]
    intervals_s = [(b - a).total_seconds() for a, b in pairwise(t for t in times if t is not None)]
    return positive(float(np.median(intervals_s))) if intervals_s else None


def _timestamp(header: str) -> datetime | None:
    """Return the last time in a header, which newer firmware writes more precisely."""
    found = _TIME.findall(header)
    try:
        return datetime.fromisoformat(found[-1]) if found else None
    except ValueError:
        return None
