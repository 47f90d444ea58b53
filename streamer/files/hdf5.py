"""Stacks of frames in HDF5: chunks handed on as they are stored, or frames decoded by HDF5's own filters.

HDF5 gives the fill value, usually zeros, where nothing was ever written. Such frames are refused here, and
so are pixels in files without structure ("external storage"), which end in zeros where they are too short.
"""

from math import prod
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filters with HDF5)
import numpy as np
from numpy.typing import NDArray

from streamer.compression import decode
from streamer.errors import FileReadError, UsageError
from streamer.files.limits import MOST_FRAMES, expect_plausible_size, expect_regular, one_line
from streamer.files.protocol import Chunk
from streamer.pixels import PIXEL_DTYPES
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

__all__ = [
    "Stack",
    "expect_inside",
    "expect_stack",
    "find_node",
    "hdf5_reason",
    "open_hdf5",
    "read_frame",
    "rows_written",
    "scalar",
]

_BITSHUFFLE, _LZ4 = 32008, 32004
_LONGEST_REASON = 300  # characters
_BITSHUFFLE_WITH_LZ4 = 2  # fifth value of filter 32008


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
        expect_stack(dataset)
        self._dataset = dataset
        self._written = rows_written(dataset)
        self._channel = (channel,) if dataset.ndim == 4 else ()
        self.n_frames: int = dataset.shape[0]
        self.shape: tuple[int, int] = dataset.shape[-2:]
        self.dtype: np.dtype[Any] = dataset.dtype
        self.compression = _payload_compression(dataset)

    def frame(self, row: int) -> NDArray[Any]:
        """Read one frame through HDF5's filters."""
        if self._written is not None and not self._written[row]:
            raise FileReadError(f"frame {row} of {_name(self._dataset)} was never written, or not all of it")
        try:
            image: NDArray[Any] = self._dataset[(row, *self._channel)]
        except Exception as error:  # h5py's errors are of many kinds
            raise _damaged(self._dataset, row, error) from error
        return image

    def chunk(self, row: int) -> Chunk | None:
        """Return one frame's chunk as it is stored; None if that is no stream payload."""
        if self.compression is None:
            return None
        try:
            mask, data = self._dataset.id.read_direct_chunk((row, *self._channel, 0, 0))
        except Exception as error:  # see `frame`
            raise _damaged(self._dataset, row, error) from error
        return (Compression.NONE if mask else self.compression), memoryview(data)


def read_frame(dataset: h5py.Dataset, row: int, frame_id: int) -> NDArray[Any]:
    """Decode one frame of a stack (n, height, width), without the look at all of it that `Stack` takes.

    A payload is decoded by ourselves: HDF5's own filter crashes the process where one is damaged.

    Raises
    ------
    FileReadError
        If HDF5 cannot read it.
    PayloadError
        If it cannot be decoded.
    """
    compression = _payload_compression(dataset)
    try:
        if compression is None:
            return np.asarray(dataset[row])
        mask, payload = dataset.id.read_direct_chunk((row, 0, 0))
    except Exception as error:  # h5py's errors are of many kinds
        raise _damaged(dataset, row, error) from error
    kind = Compression.NONE if mask else compression
    header = FrameHeader(SeriesKey(0), frame_id, dataset.shape[1:], dataset.dtype, kind)
    return decode(Frame(header, memoryview(payload)))


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    UsageError
        If it cannot be opened, with the likely reason.
    """
    expect_regular(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UsageError(f"cannot open {path}: {hdf5_reason(str(error))}") from error


def expect_stack(dataset: h5py.Dataset) -> None:
    """Check that a dataset can be a stack of frames, before anything of its declared size is reserved.

    Raises
    ------
    UsageError
        If it has another number of dimensions, more frames than a series has, larger ones than its stored
        bytes can hold, pixels in external raw files, or a filter that is not installed.
    """
    if dataset.ndim not in (3, 4) or 0 in dataset.shape[1:]:
        raise UsageError(f"{_name(dataset)} has shape {dataset.shape}, expected (frames, height, width)")
    if dataset.shape[0] > MOST_FRAMES:
        raise UsageError(
            f"{_name(dataset)} declares {dataset.shape[0]:,} frames, expected at most {MOST_FRAMES:,}:"
            " it is damaged, copy it again"
        )
    expect_inside(dataset)
    if not dataset.is_virtual:
        _expect_filters(dataset)
        stored_bytes = dataset.id.get_storage_size()
        for at_once in (dataset.shape[1:], dataset.chunks or ()):
            expect_plausible_size(_name(dataset), at_once, dataset.dtype.itemsize, stored_bytes)


def _expect_filters(dataset: h5py.Dataset) -> None:
    filters = dataset.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            named = f"{code} ({name.decode(errors='replace')!r})"
            raise UsageError(
                f"{_name(dataset)} is compressed with HDF5's filter {named}, which is not installed here;"
                " expected one of h5py's or hdf5plugin's: convert it with h5repack"
            )


def expect_inside(dataset: h5py.Dataset) -> None:
    """Refuse a dataset whose values lie in another file, of any kind, without structure ("external storage").

    HDF5 fills up with zeros where that file is too short, and hands out whatever it is.

    Raises
    ------
    UsageError
        If it is such a dataset.
    """
    if dataset.external:
        raise UsageError(
            f"{_name(dataset)} keeps its values in {dataset.external[0][0]}, expected them in HDF5:"
            " write them there with h5repack"
        )


def rows_written(dataset: h5py.Dataset) -> NDArray[np.bool_] | None:
    """Return (n,) which frames were written whole; None if all were, or if it is virtual: see its sources."""
    if dataset.is_virtual or not dataset.size:
        return None
    if dataset.chunks is None:
        return None if dataset.id.get_storage_size() else np.zeros(dataset.shape[0], bool)
    grid = [-(-n // step) for n, step in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() == prod(grid):
        return None
    n_stored = np.zeros(grid[0], np.int64)

    def note(chunk: Any) -> None:
        n_stored[chunk.chunk_offset[0] // dataset.chunks[0]] += 1

    dataset.id.chunk_iter(note)
    return np.repeat(n_stored == prod(grid[1:]), dataset.chunks[0])[: dataset.shape[0]]


def find_node(file: h5py.File, name: str, getlink: bool = False) -> Any:
    """Return an object of a file, or the link to it; None if there is none.

    Raises
    ------
    UsageError
        If the file is damaged there.
    """
    try:
        return file.get(name, getlink=getlink)
    except Exception as error:  # h5py's errors are of many kinds
        raise UsageError(
            f"cannot read {name} in {file.filename}: {hdf5_reason(str(error))};"
            " the file is damaged, copy it again"
        ) from error


def scalar(file: h5py.File, path: str) -> Any:
    """Return the only value of a dataset as a Python object (text decoded); None if none can be read."""
    try:
        node = file.get(path)
        if not isinstance(node, h5py.Dataset) or node.size != 1:
            return None
        value = np.asarray(node[()]).reshape(()).item()
    except Exception:  # damaged there; h5py's errors are of many kinds
        return None
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
    return FileReadError(f"frame {row} of {_name(dataset)} cannot be read: {one_line(error)}")


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
    if "too many links" in text:
        return "a link in it leads back to itself"
    return " ".join(text.split())[:_LONGEST_REASON]
