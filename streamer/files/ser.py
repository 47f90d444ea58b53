"""TIA series (``.ser``), memory-mapped: elements at the offsets that a table gives.

``rosettasciio`` reads the whole file again for each frame. Like it, this reader turns the rows round: TIA's
origin is at the lower left. Layout after C. B. Boothroyd's description of the format.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import FileReadError, UsageError
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.units import angstroms, isotropic_angstroms

__all__ = ["SerSeries"]

_HEADER = struct.Struct("<HHHIIII")  # byte order, id, version, data type, tag type, elements, valid elements
_BYTE_ORDER, _SERIES_ID = 0x4949, 0x0197
_IMAGES = 0x4122
_WIDE_OFFSETS_FROM = 0x0220
_ELEMENT = struct.Struct("<ddiddihii")  # x: offset, delta, element; y: the same; type, width, height
_DTYPES = dict(enumerate(("<u1", "<u2", "<u4", "<i1", "<i2", "<i4", "<f4", "<f8"), 1))
_LONGEST_PIXEL_M = 1e-3  # a larger step is none of space: diffraction patterns have steps in 1/m


class SerSeries:
    """A series of images of one shape and type.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If it is no series of images, or is truncated.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes: NDArray[np.uint8] = _mapped(path)
        self._offsets, n_planned = _offsets(path, self._bytes)
        delta_m, self._dtype, self._shape = self._element(0)
        for index in range(len(self._offsets)):
            self._expect_alike(index)
        self._info = _describe(path, (len(self._offsets), n_planned), self._shape, self._dtype, delta_m)

    @property
    def info(self) -> FileInfo:
        """What the first element says."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Return a view of one image, top row first."""
        height, width = self._shape
        first = int(self._offsets[index]) + _ELEMENT.size
        pixels = self._bytes[first : first + height * width * self._dtype.itemsize]
        return pixels.view(self._dtype).reshape(height, width)[::-1]

    def chunk(self, index: int) -> Chunk | None:
        """Return None: pixels are encoded when they are sent."""
        return None

    def close(self) -> None:
        """Let go of the mapping, which ends with the last view of it."""
        self._bytes = np.empty(0, np.uint8)

    def _element(self, index: int) -> tuple[tuple[float, float], np.dtype[Any], tuple[int, int]]:
        """Return an element's steps (y, x) as stored, its type and its (height, width)."""
        try:
            x_step, y_step, code, width, height = (
                _ELEMENT.unpack_from(self._bytes.data, int(self._offsets[index]))[i] for i in (1, 4, 6, 7, 8)
            )
        except (struct.error, OverflowError) as error:
            raise UsageError(f"{self._path} is truncated: element {index} is not there") from error
        if code not in _DTYPES or min(width, height) < 1:
            raise UsageError(f"{self._path}: images of {height} x {width} px of type {code}, expected 1 to 8")
        return (y_step, x_step), np.dtype(_DTYPES[code]), (height, width)

    def _expect_alike(self, index: int) -> None:
        _, dtype, (height, width) = self._element(index)
        if (dtype, (height, width)) != (self._dtype, self._shape):
            raise UsageError(f"{self._path}: image {index} has another shape or type than the first")
        end = int(self._offsets[index]) + _ELEMENT.size + height * width * dtype.itemsize
        if end > self._bytes.size:
            raise UsageError(f"{self._path} is truncated in image {index} of {len(self._offsets)}")


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        return np.memmap(path, np.uint8, "r")
    except ValueError as error:
        raise UsageError(f"{path} is empty") from error
    except OSError as error:
        raise FileReadError(f"cannot read {path}: {error.strerror}") from error


def _offsets(path: Path, data: NDArray[np.uint8]) -> tuple[NDArray[Any], int]:
    """Return at which bytes of the file the valid elements begin, and how many elements were planned."""
    try:
        order, series_id, version, kind, _, n_planned, n_valid = _HEADER.unpack_from(data.data)
        wide = version >= _WIDE_OFFSETS_FROM
        (table,) = struct.unpack_from("<Q" if wide else "<I", data.data, _HEADER.size)
    except struct.error as error:
        raise UsageError(f"{path} is truncated: it ends in its header") from error
    if (order, series_id) != (_BYTE_ORDER, _SERIES_ID):
        raise UsageError(f"{path} is no TIA series: it begins with {data[:4].tobytes().hex()}")
    if kind != _IMAGES or n_valid == 0:
        raise UsageError(
            f"{path} holds no images ({n_valid} elements of kind {kind:#x}, expected {_IMAGES:#x})"
        )
    dtype = np.dtype("<u8" if wide else "<u4")
    if table + n_valid * dtype.itemsize > data.size:
        raise UsageError(f"{path} is truncated: its table of {n_valid} images is not complete")
    return np.frombuffer(data, dtype, n_valid, table), n_planned


def _describe(
    path: Path,
    counts: tuple[int, int],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    steps: tuple[float, float],
) -> FileInfo:
    n_frames, n_planned = counts
    is_length = 0 < max(steps) < _LONGEST_PIXEL_M
    aborted = f"the series was aborted after {n_frames} of {n_planned} images"
    return FileInfo(
        path=path,
        format="TIA SER",
        n_frames=n_frames,
        shape=shape,
        dtype=dtype,
        pixel_size_A=isotropic_angstroms(*(angstroms(step, "m") for step in steps)) if is_length else None,
        pixel_size_from=f"CalibrationDelta y, x = {steps[0]:g}, {steps[1]:g} m",
        frame_time_from="SER files give whole seconds only",
        notes=(aborted,) if n_planned > n_frames else (),
    )
