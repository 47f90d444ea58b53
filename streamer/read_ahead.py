"""Payloads of a file's frames, made a few ahead in a thread: reading overlaps sending, in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from streamer.compression import encode
from streamer.errors import FileReadError, UsageError
from streamer.files import FrameFile, Scaling, to_counts
from streamer.records import Compression

__all__ = ["Made", "Payload", "ahead", "payload_or_damage", "payloads"]

_AHEAD_BYTES = 64 * 2**20  # of decoded pixels
_AHEAD_FRAMES = (2, 32)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Payload:
    """A frame's pixels as they leave, and whether the file held them so."""

    compression: Compression
    data: bytes | memoryview
    as_stored: bool


Made = Payload | FileReadError
"""Of a frame: what leaves, or why the file could not give it."""


def payloads(
    file: FrameFile, indices: Iterable[int], scaling: Scaling, compression: Compression
) -> Generator[Made]:
    """Yield the payloads of frames, in their order.

    Parameters
    ----------
    file : FrameFile
        Used by the thread alone, until the generator is closed.
    indices : iterable of int
        The file's numbers of the frames, without end if need be.
    scaling, compression
        For frames that are not stored as payloads.
    """
    frame_bytes = file.info.shape[0] * file.info.shape[1] * file.info.dtype.itemsize
    n_ahead = min(max(_AHEAD_BYTES // frame_bytes, _AHEAD_FRAMES[0]), _AHEAD_FRAMES[1])
    return ahead(lambda index: _later_payload(file, index, scaling, compression), indices, n_ahead)


def ahead(make: Callable[[int], _T], indices: Iterable[int], n_ahead: int) -> Generator[_T]:
    """Yield what is made of each index, by a thread that is so many ahead."""
    with ThreadPoolExecutor(1, "atomstream-read-ahead") as pool:
        waiting: deque[Future[_T]] = deque()
        try:
            for index in indices:
                waiting.append(pool.submit(make, index))
                if len(waiting) > n_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def payload_or_damage(file: FrameFile, index: int, scaling: Scaling, compression: Compression) -> Made:
    """Return a frame's payload, or why the file could not give it.

    Raises
    ------
    UsageError
        If its pixels cannot become counts.
    """
    try:
        return _payload(file, index, scaling, compression)
    except FileReadError as error:
        return error


def _later_payload(file: FrameFile, index: int, scaling: Scaling, compression: Compression) -> Made:
    """Do the same in mid-series: that a frame is no count was not known when the user was asked."""
    try:
        return payload_or_damage(file, index, scaling, compression)
    except UsageError as error:
        raise FileReadError(str(error)) from error


def _payload(file: FrameFile, index: int, scaling: Scaling, compression: Compression) -> Payload:
    chunk = file.chunk(index)
    if chunk is not None:
        return Payload(*chunk, as_stored=True)
    image = to_counts(file.frame(index), index, scaling, file.info.largest_is_no_data)
    return Payload(compression, encode(image, compression), as_stored=False)
