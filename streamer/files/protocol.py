"""What every recorded file offers, whatever its format: a description, and frames one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.records import Compression

__all__ = ["Chunk", "FileInfo", "FrameFile"]

Chunk = tuple[Compression, memoryview]
"""A frame's stored bytes that are a stream payload as they stand, and how they are compressed."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a file says of itself.

    Attributes
    ----------
    path : pathlib.Path
    format : str
        The format's name, for people.
    n_frames : int
        Frames that can be read.
    shape : tuple of int
        (height, width) [px].
    dtype : numpy.dtype
        Of the pixels as stored, byte order included.
    pixel_size_A : float or None
        At the specimen [Å]; None where the file does not say.
    pixel_size_from : str
        The field it was read from, or, where it is None, why there is none.
    frame_time_s : float or None
        Time from one frame's start to the next [s]; None where the file does not say.
    frame_time_from : str
        As `pixel_size_from`.
    saturation_value : int or None
        The largest valid count, where the file says it.
    largest_is_no_data : bool
        Whether the pixels are a detector's counts, so that their type's largest value means "no data".
    notes : tuple of str
        What the user should know before the frames are used, such as data files that are not there.
    extra : Mapping
        Further fields worth passing on; JSON-like values only.
    """

    path: Path
    format: str
    n_frames: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pixel_size_A: float | None = None
    pixel_size_from: str = ""
    frame_time_s: float | None = None
    frame_time_from: str = ""
    saturation_value: int | None = None
    largest_is_no_data: bool = False
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


class FrameFile(Protocol):
    """An open file of frames; used from one thread at a time, and closed by whoever opened it."""

    @property
    def info(self) -> FileInfo:
        """What the file says of itself; read when it was opened."""

    def frame(self, index: int) -> NDArray[Any]:
        """Read frame `index` (0 … n_frames - 1): shape (height, width), the stored dtype.

        Reads that frame alone, or as little more as the format allows. The array may be a view of the mapped
        file: it must not be written to, and not be used after `close`.

        Raises
        ------
        FileReadError
            If the file is damaged there.
        """

    def chunk(self, index: int) -> Chunk | None:
        """Return the stored bytes of frame `index` if they are a stream payload as they stand.

        The cheap path: nothing is decompressed. None where the frame has to be read as pixels and encoded.
        """

    def close(self) -> None:
        """Release the file; may be called twice."""
