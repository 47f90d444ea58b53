"""NumPy arrays (``.npy``), memory-mapped."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.protocol import Chunk, FileInfo

__all__ = ["NpyStack"]


class NpyStack:
    """An array of shape (height, width), (n, height, width), or with more leading axes, which count up.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If it is not such an array, or is truncated. Arrays of Python objects are refused: they are pickles.
    """

    def __init__(self, path: Path) -> None:
        _expect_magic(path)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = "the file is truncated, copy it again" if "mmap length" in str(error) else error
            raise UsageError(f"cannot read {path} as a NumPy array: {reason}") from error
        if not isinstance(array, np.ndarray) or array.ndim < 2 or 0 in array.shape:
            shape = getattr(array, "shape", "of an archive")
            raise UsageError(f"{path} has shape {shape}, expected (frames, height, width)")
        self._array = array
        self._counts = array.shape[:-2]
        self._info = FileInfo(
            path=path,
            format="NumPy array",
            n_frames=int(np.prod(self._counts)),
            shape=(array.shape[-2], array.shape[-1]),
            dtype=array.dtype,
            pixel_size_from="NumPy files have none",
            frame_time_from="NumPy files have none",
        )

    @property
    def info(self) -> FileInfo:
        """The array's shape and type; there is nothing else."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Return a view of one frame."""
        where = np.unravel_index(index, self._counts) if self._counts else ()
        image: NDArray[Any] = self._array[where]
        return image

    def chunk(self, index: int) -> Chunk | None:
        """Return None: pixels are encoded when they are sent."""
        return None

    def close(self) -> None:
        """Let go of the mapping, which ends with the last view of it."""
        self._array = np.empty((0, 0))


def _expect_magic(path: Path) -> None:
    """Refuse other files: NumPy would take them for pickles and advise to load those."""
    with path.open("rb") as file:
        start = file.read(len(MAGIC_PREFIX))
        version = file.read(2)
        claimed = int.from_bytes(file.read(4), "little") if version[:1] > b"\x01" else 0
    if start != MAGIC_PREFIX:
        raise UsageError(f"{path} is no NumPy array: it begins with {start.hex() or 'nothing'}")
    if claimed > path.stat().st_size:  # NumPy makes room for it before it reads
        raise UsageError(f"cannot read {path} as a NumPy array: it is truncated, or its header is damaged")
