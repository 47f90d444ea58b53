"""Payloads to pixels and back: none, bslz4 and lz4 for uint8, uint16 and uint32.

A compressed payload starts with 12 bytes, in DECTRIS's streams as in the HDF5 filters 32008 and 32004: the
uncompressed size (big-endian uint64) and the block size in bytes (big-endian uint32).

``dectris-compression`` decodes where it is installed: it checks every bound, releases the GIL and takes one
thread (0.16 ms for 1024 x 1024 px of uint16; a copy into a buffer that is handed in adds 0.04 ms, because the
library can only return new bytes). It has no wheels, so elsewhere the HDF5 filters decode, at a quarter of
the speed (`streamer.hdf5_filters`).
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer import hdf5_filters
from streamer.errors import PayloadError, UsageError
from streamer.hdf5_filters import FILTER_HEADER
from streamer.pixels import PIXEL_DTYPES
from streamer.records import Compression, Frame, FrameHeader

try:
    from dectris.compression import decompress as dectris_decompress
except ImportError:
    dectris_decompress = None

__all__ = ["BLOCK_BYTES", "FILTER_HEADER", "check_payload", "decode", "decoder_name", "encode"]

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
    """Encode an image of uint8, uint16 or uint32 as a payload."""
    dtype = image.dtype.newbyteorder("<")
    if dtype.str not in PIXEL_DTYPES or image.ndim != 2 or not image.size:
        raise UsageError(
            f"frames are images of uint8, uint16 or uint32, got {image.ndim} dimensions of {image.dtype}"
        )
    pixels = np.ascontiguousarray(image, dtype)
    if compression is Compression.NONE:
        return pixels.tobytes()
    return hdf5_filters.compress(pixels, compression)


def decoder_name() -> str:
    """Return the name and version of the library that decodes, for the run's log and file."""
    name = "hdf5plugin" if dectris_decompress is None else "dectris-compression"
    return f"{name} {version(name)}"


def _pixel_bytes(header: FrameHeader, payload: memoryview) -> bytes | memoryview:
    expected = _n_bytes(header)
    if header.compression is Compression.NONE:
        check_payload(header, payload)
        return payload
    declared, block_bytes = (
        FILTER_HEADER.unpack_from(payload) if payload.nbytes > FILTER_HEADER.size else (0, 0)
    )
    pixels: bytes | memoryview = b""
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


def _decompress(header: FrameHeader, payload: bytes | memoryview) -> bytes | memoryview:
    """Return the decompressed bytes; none at all where the library finds the payload damaged."""
    if dectris_decompress is None:
        return hdf5_filters.decompress(payload, header)
    try:
        decoded: bytes = dectris_decompress(
            payload, header.compression.value, elem_size=header.dtype.itemsize
        )
    except RuntimeError:
        return b""
    return decoded


def _n_bytes(header: FrameHeader) -> int:
    return header.shape[0] * header.shape[1] * header.dtype.itemsize


def _geometry(header: FrameHeader) -> str:
    return f"{header.shape[0]} x {header.shape[1]} px of {header.dtype}"
