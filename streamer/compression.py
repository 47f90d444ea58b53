"""Payloads to pixels and back: none, bslz4 and lz4 for uint8, uint16 and uint32.

A compressed payload starts with 12 bytes, in DECTRIS's streams as in the HDF5 filters 32008 and 32004: the
uncompressed size (big-endian uint64) and the block size in bytes (big-endian uint32). Decoding uses
``dectris.compression``, which checks every bound, releases the GIL and takes one thread (0.16 ms for a
1024 x 1024 uint16 frame; a copy into a buffer that is handed in adds 0.04 ms, because the library can only
return new bytes). ``bitshuffle``'s own decoder does not know where its input ends, so it never sees bytes
from outside.
"""

import struct
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from dectris.compression import decompress
from numpy.typing import NDArray

from streamer.errors import PayloadError, UsageError
from streamer.pixels import PIXEL_DTYPES
from streamer.records import Compression, Frame, FrameHeader

__all__ = [
    "BLOCK_BYTES",
    "FILTER_HEADER",
    "check_payload",
    "decode",
    "encode",
]

FILTER_HEADER = struct.Struct(">QI")
"""Uncompressed size and block size, both in bytes."""

BLOCK_BYTES = 8192
"""The block size in every DECTRIS capture, and bitshuffle's own default."""


def check_payload(header: FrameHeader, payload: memoryview) -> None:
    """Compare the payload's size fields with the frame's geometry, without touching a pixel.

    Raises
    ------
    PayloadError
        If an uncompressed payload has the wrong length, or a compressed one declares another size.
    """
    expected = _n_bytes(header)
    if header.compression is Compression.NONE:
        if payload.nbytes != expected:
            raise PayloadError(
                f"frame {header.frame_id}: {payload.nbytes} bytes of pixels, expected {expected}"
                f" for {_geometry(header)}",
                header.frame_id,
            )
        return
    if payload.nbytes <= FILTER_HEADER.size:
        raise PayloadError(
            f"frame {header.frame_id}: a {header.compression} payload of {payload.nbytes} bytes,"
            f" expected more than the {FILTER_HEADER.size} of its header",
            header.frame_id,
        )
    declared, _ = FILTER_HEADER.unpack_from(payload)
    if declared != expected:
        raise PayloadError(
            f"frame {header.frame_id}: the payload declares {declared} bytes of pixels, expected {expected}"
            f" for {_geometry(header)}",
            header.frame_id,
        )


def decode(frame: Frame, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Decode a frame's pixels.

    Parameters
    ----------
    frame : Frame
    out : numpy.ndarray of shape (height, width), optional
        Where to put the pixels: of a floating-point type, or of one that holds every value of the frame's.

    Returns
    -------
    numpy.ndarray of shape (height, width)
        `out`, or a read-only array of the frame's own dtype.

    Raises
    ------
    PayloadError
        If the payload does not decode to exactly the frame its header declares.

    Notes
    -----
    The sender of LiberTEM's mock frames leaves the 12-byte header zero, and a size field may lie: a bslz4
    payload is then tried with the size from the shape and blocks of 8192 bytes. A short result is never
    accepted. Neither bslz4 nor lz4 has a checksum, so a byte changed inside a literal cannot be noticed here.
    """
    header = frame.header
    image = np.frombuffer(_pixel_bytes(header, frame.payload), header.dtype).reshape(header.shape)
    if out is None:
        return image
    if out.shape != header.shape:
        raise ValueError(f"out has shape {out.shape}, expected {header.shape}")
    np.copyto(out, image, casting="same_kind" if out.dtype.kind == "f" else "safe")
    return out


def encode(image: NDArray[Any], compression: Compression) -> bytes:
    """Encode an image of uint8, uint16 or uint32 as a payload.

    bslz4 runs on one thread. lz4 is made by HDF5's own filter, which is slow (some milliseconds a frame) but
    the reference for that framing.
    """
    dtype = image.dtype.newbyteorder("<")
    if dtype.str not in PIXEL_DTYPES or image.ndim != 2 or not image.size:
        raise UsageError(
            f"frames are images of uint8, uint16 or uint32, got {image.ndim} dimensions of {image.dtype}"
        )
    pixels = np.ascontiguousarray(image, dtype)
    if compression is Compression.NONE:
        return pixels.tobytes()
    if compression is Compression.LZ4:
        return _hdf5_lz4_chunk(pixels)
    blocks = _bitshuffle().compress_lz4(pixels, BLOCK_BYTES // dtype.itemsize)
    return FILTER_HEADER.pack(pixels.nbytes, BLOCK_BYTES) + bytes(blocks)


def _pixel_bytes(header: FrameHeader, payload: memoryview) -> bytes | memoryview:
    expected = _n_bytes(header)
    if header.compression is Compression.NONE:
        check_payload(header, payload)
        return payload
    declared, block_bytes = FILTER_HEADER.unpack_from(payload) if payload.nbytes > 12 else (0, 0)
    pixels = b""
    if declared == expected and block_bytes:
        pixels = _decompress(header, payload)
    elif header.compression is Compression.BSLZ4:
        pixels = _decompress(header, FILTER_HEADER.pack(expected, BLOCK_BYTES) + payload[12:])
    if len(pixels) != expected:
        raise PayloadError(
            f"frame {header.frame_id}: the {header.compression} payload of {payload.nbytes} bytes (declaring"
            f" {declared}) does not decode to the {expected} bytes of {_geometry(header)}",
            header.frame_id,
        )
    return pixels


def _decompress(header: FrameHeader, payload: bytes | memoryview) -> bytes:
    """Return the decompressed bytes; none at all where the library finds the payload damaged."""
    try:
        decoded: bytes = decompress(payload, header.compression.value, elem_size=header.dtype.itemsize)
    except RuntimeError:
        return b""
    return decoded


def _n_bytes(header: FrameHeader) -> int:
    return header.shape[0] * header.shape[1] * header.dtype.itemsize


def _geometry(header: FrameHeader) -> str:
    return f"{header.shape[0]} x {header.shape[1]} px of {header.dtype}"


@cache
def _bitshuffle() -> Any:
    """Return `bitshuffle`, told once per process to keep to one thread.

    Its wheels use OpenMP on all cores; on a busy machine the threads wait for one another, at less than a
    tenth of one thread's rate.
    """
    import bitshuffle
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().lib_controllers:
        if "bitshuffle" in library.filepath:
            library.set_num_threads(1)
    return bitshuffle


def _hdf5_lz4_chunk(pixels: NDArray[Any]) -> bytes:
    import h5py
    import hdf5plugin

    with h5py.File(BytesIO(), "w") as file:
        dataset = file.create_dataset("chunk", data=pixels, chunks=pixels.shape, **hdf5plugin.LZ4())
        chunk: bytes = dataset.id.read_direct_chunk((0, 0))[1]
    return chunk
