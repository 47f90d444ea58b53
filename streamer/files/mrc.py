"""MRC stacks (``.mrc``, ``.mrcs``, ``.map``, ``.st`` …), memory-mapped by ``mrcfile``."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.units import isotropic_angstroms

__all__ = ["MrcStack"]


class MrcStack:
    """A file in MRC2014 format or one of its close relatives, of either byte order.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If ``mrcfile`` is not installed, or finds the file wrong or truncated.
    """

    def __init__(self, path: Path) -> None:
        try:
            import mrcfile
        except ImportError as error:
            raise UsageError(
                "MRC files need the package mrcfile: pip install 'atomstream[formats]'"
            ) from error
        try:
            self._file = mrcfile.mmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path} as MRC: {error}") from error
        data = self._file.data
        self._frames: NDArray[Any] = data.reshape(-1, *data.shape[-2:])
        self._info = _describe(path, self._file, self._frames)

    @property
    def info(self) -> FileInfo:
        """What the header says."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Return a view of one frame."""
        view: NDArray[Any] = self._frames[index]
        return view

    def chunk(self, index: int) -> Chunk | None:
        """Return None: MRC pixels are not compressed, and may be of any type."""
        return None

    def close(self) -> None:
        """Unmap the file."""
        self._frames = np.empty((0, 0, 0))
        self._file.close()


def _describe(path: Path, file: Any, frames: NDArray[Any]) -> FileInfo:
    voxel = file.voxel_size
    pixel_size_A = isotropic_angstroms(_positive(voxel.y), _positive(voxel.x))
    return FileInfo(
        path=path,
        format="MRC",
        n_frames=frames.shape[0],
        shape=(frames.shape[1], frames.shape[2]),
        dtype=frames.dtype,
        pixel_size_A=pixel_size_A,
        pixel_size_from=_pixel_size_from(voxel, pixel_size_A),
        frame_time_from="MRC headers have none",
    )


def _pixel_size_from(voxel: Any, pixel_size_A: float | None) -> str:
    if pixel_size_A is not None:
        return "cella / mx of the MRC header"
    return f"the MRC header gives pixels of {float(voxel.y):g} x {float(voxel.x):g} Å"


def _positive(value: Any) -> float | None:
    return float(value) if np.isfinite(value) and value > 0 else None
