"""Stacks of frames in HDF5: chunks handed on as they are stored, or frames decoded by HDF5's own filters."""

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filters with HDF5)
import numpy as np
from numpy.typing import NDArray

from streamer.errors import FileReadError, UsageError
from streamer.files.protocol import Chunk
from streamer.pixels import PIXEL_DTYPES
from streamer.records import Compression

__all__ = ["Stack", "hdf5_reason", "open_hdf5", "scalar"]

_BITSHUFFLE, _LZ4 = 32008, 32004
_BITSHUFFLE_WITH_LZ4 = 2  # fifth value of filter 32008
_UNREADABLE = (OSError, RuntimeError, ValueError)


class Stack:
    """Frames of one dataset of shape (n, height, width), or (n, channels, height, width).

    Parameters
    ----------
    dataset : h5py.Dataset
    channel : int
        Which of the second axis' images, where there is that axis.

    Raises
    ------
    UsageError
        If the dataset has another number of dimensions.
    """

    def __init__(self, dataset: h5py.Dataset, channel: int = 0) -> None:
        if dataset.ndim not in (3, 4) or 0 in dataset.shape[1:]:
            raise UsageError(f"{_name(dataset)} has shape {dataset.shape}, expected (frames, height, width)")
        self._dataset = dataset
        self._channel = (channel,) if dataset.ndim == 4 else ()
        self.n_frames: int = dataset.shape[0]
        self.shape: tuple[int, int] = dataset.shape[-2:]
        self.dtype: np.dtype[Any] = dataset.dtype
        self.compression = _payload_compression(dataset)

    def frame(self, row: int) -> NDArray[Any]:
        """Read one frame through HDF5's filters."""
        try:
            image: NDArray[Any] = self._dataset[(row, *self._channel)]
        except _UNREADABLE as error:
            raise _damaged(self._dataset, row, error) from error
        return image

    def chunk(self, row: int) -> Chunk | None:
        """Return one frame's chunk as it is stored; None if that is no stream payload."""
        if self.compression is None:
            return None
        try:
            mask, data = self._dataset.id.read_direct_chunk((row, *self._channel, 0, 0))
        except _UNREADABLE as error:
            raise _damaged(self._dataset, row, error) from error
        return (Compression.NONE if mask else self.compression), memoryview(data)


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    UsageError
        If it cannot be opened, with the likely reason.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UsageError(f"cannot open {path}: {hdf5_reason(str(error))}") from error


def scalar(file: h5py.File, path: str) -> Any:
    """Return the only value of a dataset as a Python object (text decoded); None if there is none."""
    node = file.get(path)
    if not isinstance(node, h5py.Dataset) or node.size != 1:
        return None
    value = np.asarray(node[()]).reshape(()).item()
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _payload_compression(dataset: h5py.Dataset) -> Compression | None:
    """Return how the dataset's chunks are compressed, if each is one frame in a form that streams carry."""
    if dataset.chunks is None or dataset.dtype.str not in PIXEL_DTYPES:
        return None
    if dataset.chunks != (1,) * (dataset.ndim - 2) + dataset.shape[-2:]:
        return None
    filters = dataset.id.get_create_plist()
    if filters.get_nfilters() == 0:
        return Compression.NONE
    if filters.get_nfilters() > 1:
        return None
    code, _, values, _ = filters.get_filter(0)
    if code == _BITSHUFFLE and len(values) > 4 and values[4] == _BITSHUFFLE_WITH_LZ4:
        return Compression.BSLZ4
    return Compression.LZ4 if code == _LZ4 else None


def _damaged(dataset: h5py.Dataset, row: int, error: Exception) -> FileReadError:
    return FileReadError(f"frame {row} of {_name(dataset)} cannot be read: {error}")


def _name(dataset: h5py.Dataset) -> str:
    return f"{dataset.file.filename}:{dataset.name}"


def hdf5_reason(text: str) -> str:
    """Return in plain words why HDF5 could not open a file; the text itself where that is not known."""
    if "already open for write" in text or "unable to lock" in text:
        return (
            "it is being written, or was left behind by a crash:"
            " wait for the end of the run, or mend it with 'atomstream check --repair'"
        )
    if "truncated" in text or "eof" in text:
        return "the file is truncated: its end is missing, copy it again"
    if "signature not found" in text:
        return "it is not an HDF5 file"
    return text
