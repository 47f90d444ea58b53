"""What all messages between our own processes have in common: headers, and tables and images as bytes.

Headers are MessagePack arrays (`msgspec`), typed and validated on arrival; the first element names the type.
Tables and images are their bytes, little-endian, without padding. Nothing is ever unpickled.

What was received is passed on as the ZeroMQ message that it came in, which costs a reference. For a view of
it pyzmq has a thread of Python that wakes up when ZeroMQ has sent it, takes the interpreter's lock from
whoever holds it, and releases the view.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.errors import MessageError, TruncatedMessageError
from streamer.records import PARTICLE_DTYPE

__all__ = [
    "UNREADABLE",
    "Buffer",
    "bytes_of",
    "decode_header",
    "encode_header",
    "expect_parts",
    "image_in",
    "in_message",
    "particle_bytes",
    "rows_in",
]

Buffer = bytes | memoryview | NDArray[Any] | zmq.Frame
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that are no such message."""

encode_header = msgspec.msgpack.Encoder().encode
_Header = TypeVar("_Header", bound=msgspec.Struct)


def decode_header(part: memoryview, kind: type[_Header]) -> _Header:
    """Read a header.

    Raises
    ------
    MessageError
        If it is none of this kind.
    """
    try:
        return msgspec.msgpack.decode(part, type=kind)
    except UNREADABLE as error:
        raise MessageError(f"not a {kind.__name__}: {error}") from error


def expect_parts(parts: Sequence[memoryview], count: int, name: str) -> None:
    """Raise a MessageError if a message has not so many parts."""
    if len(parts) != count:
        raise MessageError(f"a {name} has {count} parts, got {len(parts)}")


def rows_in(part: memoryview, dtype: np.dtype[np.void], what: str) -> NDArray[np.void]:
    """Return a part as a table, shape (n,), a view; MessageError if its length is none of whole rows."""
    if len(part) % dtype.itemsize:
        raise TruncatedMessageError(f"{what} take {dtype.itemsize} bytes each, got {len(part)} bytes")
    return np.frombuffer(part, dtype)


def image_in(part: memoryview, shape: tuple[int, int], dtype: Any, what: str) -> NDArray[Any]:
    """Return a part as an image (h, w), a view; MessageError if it has not so many bytes."""
    if min(shape) < 0 or len(part) != shape[0] * shape[1] * np.dtype(dtype).itemsize:
        raise TruncatedMessageError(f"{what} of {shape[0]} x {shape[1]} px has {len(part)} bytes")
    return np.frombuffer(part, dtype).reshape(shape)


def in_message(view: Buffer) -> tuple[Buffer, int]:
    """Return the received message that a view is most of, and where in it the view begins [bytes].

    Anything else, as a view of bytes or of one of many things in a message, comes back as it is, with 0.
    """
    message: object = getattr(view, "obj", None)
    if not isinstance(view, memoryview) or not isinstance(message, zmq.Frame) or 2 * len(view) < len(message):
        return view, 0
    return message, _address(view) - _address(message.buffer)


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


def bytes_of(rows: NDArray[Any], dtype: Any) -> bytes:
    """Return a table's or an image's bytes."""
    return np.ascontiguousarray(rows, dtype).tobytes()


def particle_bytes(particles: NDArray[np.void]) -> bytes:
    """Return the bytes of a table of particles; mostly there are none."""
    return bytes_of(particles, PARTICLE_DTYPE) if len(particles) else b""
