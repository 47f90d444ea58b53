"""MRC stacks (``.mrc``, ``.mrcs``, ``.map``, ``.st`` …), memory-mapped by ``mrcfile``.

Two habits of other programs are followed: some leave out the map ID that MRC2014 asks for, and IMOD and
SerialEM store bytes without sign unless a flag says otherwise (IMOD's mrc_format.txt).
"""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.units import isotropic_angstroms

__all__ = ["MrcStack"]

_NO_MAP_ID = "Map ID"  # how mrcfile's message begins
_IMOD_STAMP, _IMOD_AT = 1146047817, 152  # imodStamp and imodFlags lie here in the header
_IMOD_SIGNED_BYTES = 1  # bit of imodFlags
_HEADER_BYTES = 1024
_NSYMBT_AT = 92  # bytes of the extended header


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
        _expect_extended_header(path)
        try:
            self._file, notes = _opened(mrcfile, path)
        except (OSError, ValueError) as error:
            reason = "the file is truncated, copy it again" if "mmap length" in str(error) else error
            raise UsageError(f"cannot read {path} as MRC: {reason}") from error
        data = self._file.data
        frames: NDArray[Any] = data.reshape(-1, *data.shape[-2:])
        self._frames = frames.view(np.uint8) if _has_unsigned_bytes(self._file) else frames
        self._info = _describe(path, self._file, self._frames, notes)

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


def _opened(mrcfile: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """Open a file, one without map ID too where nothing else is wrong with it; return it and a note if so."""
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            file = mrcfile.mmap(path, mode="r")
        return file, tuple(" ".join(str(each.message).split()) for each in complaints)
    except ValueError as error:
        if not str(error).startswith(_NO_MAP_ID):
            raise
        reason = error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = mrcfile.mmap(path, mode="r", permissive=True)
    if not _is_complete(file, path.stat().st_size):
        file.close()
        raise reason
    return file, ("the header has no map ID, as in files older than MRC2000",)


def _expect_extended_header(path: Path) -> None:
    """Check that the extended header fits into the file: ``mrcfile`` makes room for all that it claims."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if len(start) < _HEADER_BYTES:
        raise UsageError(
            f"cannot read {path} as MRC: it is truncated, {len(start)} bytes of a header of {_HEADER_BYTES}"
        )
    n_bytes = min(struct.unpack_from("<I", start, _NSYMBT_AT) + struct.unpack_from(">I", start, _NSYMBT_AT))
    if n_bytes > path.stat().st_size - _HEADER_BYTES:
        raise UsageError(
            f"cannot read {path} as MRC: it is truncated, damaged or something else;"
            f" its extended header is said to take {n_bytes:,} bytes"
        )


def _is_complete(file: Any, size: int) -> bool:
    """Whether the file is as long as its header says: without map ID, hardly anything else is MRC."""
    data = file.data
    return (
        data is not None and data.size > 0 and size == _HEADER_BYTES + int(file.header.nsymbt) + data.nbytes
    )


def _has_unsigned_bytes(file: Any) -> bool:
    if file.data.dtype != np.int8:
        return False
    order = file.header.mode.dtype.byteorder
    stamp, flags = struct.unpack_from(f"{'>' if order == '>' else '<'}2i", file.header.tobytes(), _IMOD_AT)
    return stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES


def _describe(path: Path, file: Any, frames: NDArray[Any], notes: tuple[str, ...]) -> FileInfo:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a cell or a grid of no size: then there is no pixel size
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
        notes=notes,
    )


def _pixel_size_from(voxel: Any, pixel_size_A: float | None) -> str:
    if pixel_size_A is not None:
        return "cella / mx of the MRC header"
    return f"the MRC header gives pixels of {float(voxel.y):g} x {float(voxel.x):g} Å"


def _positive(value: Any) -> float | None:
    return float(value) if np.isfinite(value) and value > 0 else None
