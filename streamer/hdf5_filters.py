"""bslz4 and lz4 by HDF5's own filters 32008 and 32004, on a file in memory.

This is how payloads are made (the bytes are those of ``bitshuffle`` and of detectors), and how they are
decoded where ``dectris-compression`` is not installed. The filters believe every length they find, so a
payload's chain of blocks is checked first: then they cannot read beyond its end.
"""

import struct
from typing import Any
from uuid import uuid4

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from streamer.records import Compression, FrameHeader

__all__ = ["FILTER_HEADER", "compress", "decompress"]

FILTER_HEADER = struct.Struct(">QI")
"""Uncompressed size and block size, both in bytes: the first 12 bytes of a compressed payload."""

_LENGTH = struct.Struct(">I")
_FILTERS = {
    Compression.BSLZ4: hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
    Compression.LZ4: hdf5plugin.LZ4(),
}


def compress(pixels: NDArray[Any], compression: Compression) -> bytes:
    """Compress a C-contiguous image; 1 ms for 1024 x 1024 px of uint16, on one thread."""
    with _memory_file() as file:
        dataset = _dataset(file, pixels.shape, pixels.dtype, compression)
        dataset[...] = pixels
        chunk: bytes = dataset.id.read_direct_chunk((0, 0))[1]
    return chunk


def decompress(payload: bytes | memoryview, header: FrameHeader) -> bytes | memoryview:
    """Decompress a payload whose size field is right; nothing at all where it is damaged.

    Takes about 0.7 ms for 1024 x 1024 px of uint16 and holds h5py's lock meanwhile.
    """
    if not _blocks_fit(memoryview(payload), header):
        return b""
    pixels = np.empty(header.shape, header.dtype)
    try:
        with _memory_file() as file:
            dataset = _dataset(file, header.shape, header.dtype, header.compression)
            dataset.id.write_direct_chunk((0, 0), payload)
            dataset.read_direct(pixels)
    except OSError:
        return b""
    return pixels.reshape(-1).view(np.uint8).data.toreadonly()


def _memory_file() -> h5py.File:
    return h5py.File(uuid4().hex, "w", driver="core", backing_store=False)


def _dataset(
    file: h5py.File, shape: tuple[int, ...], dtype: np.dtype[Any], compression: Compression
) -> h5py.Dataset:
    return file.create_dataset("chunk", shape, dtype, chunks=shape, **_FILTERS[compression])


def _blocks_fit(payload: memoryview, header: FrameHeader) -> bool:
    """Whether the blocks, by their own lengths, cover the frame and end within the payload."""
    size, block_bytes = FILTER_HEADER.unpack_from(payload)
    tail = 0
    if header.compression is Compression.BSLZ4:
        multiple = 8 * header.dtype.itemsize
        tail = size % multiple  # the last pixels, fewer than eight, are stored as they are
        if block_bytes % multiple:
            return False
    if block_bytes == 0:
        return False
    at = FILTER_HEADER.size
    for _ in range(-(-(size - tail) // block_bytes)):
        if at + _LENGTH.size > len(payload):
            return False
        at += _LENGTH.size + _LENGTH.unpack_from(payload, at)[0]
    return at + tail <= len(payload)
