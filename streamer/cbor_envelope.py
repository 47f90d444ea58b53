"""A walker over CBOR (RFC 8949) that finds things in a message without copying or building them.

It reads what the envelopes of image messages are made of: definite-length maps, arrays, strings, tags and
unsigned integers; anything else can be skipped. Every length is compared with what is left of the message
before it is used, so damaged bytes cost neither memory nor time. Indefinite-length items, which no
detector sends, are refused by name.

All functions take the message and a position in it, and return what they read and the position after it.
"""

import struct

from streamer.errors import MessageError, TruncatedMessageError, UnknownEncodingError

__all__ = [
    "ARRAY",
    "BYTES",
    "MAP",
    "NEGATIVE",
    "SELF_DESCRIBED",
    "SIMPLE",
    "TAG",
    "TEXT",
    "UINT",
    "make_head",
    "make_text",
    "read_bytes",
    "read_expected",
    "read_head",
    "read_tag",
    "read_text",
    "read_uint",
    "skip",
]

UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
"""Major types (RFC 8949, section 3.1)."""

SELF_DESCRIBED = b"\xd9\xd9\xf7"
"""Tag 55799, the first bytes of every DECTRIS Stream V2 message."""

_NAMES = (
    "an unsigned integer", "a negative integer", "a byte string", "a text string", "an array", "a map",
    "a tag", "a simple value or float",
)  # fmt: skip
_WIDTHS = {24: struct.Struct(">B"), 25: struct.Struct(">H"), 26: struct.Struct(">I"), 27: struct.Struct(">Q")}
_MAX_SKIPPED_ITEMS = 100_000


def read_head(view: memoryview, at: int) -> tuple[int, int, int]:
    """Read an item's head; return its major type, its argument and the position after it."""
    try:
        first = view[at]
        info = first & 31
        if info < 24:
            return first >> 5, info, at + 1
        width = _WIDTHS[info]
        return first >> 5, width.unpack_from(view, at + 1)[0], at + 1 + width.size
    except (IndexError, struct.error):
        raise TruncatedMessageError(f"ends within the item at byte {at}, after {len(view)} bytes") from None
    except KeyError:
        raise UnknownEncodingError(
            f"byte {at} is {view[at]:#04x}: indefinite-length and reserved CBOR items are not accepted"
        ) from None


def read_expected(view: memoryview, at: int, major: int) -> tuple[int, int]:
    """Read the head of an item of the given major type; return its argument and the position after it."""
    found, argument, after = read_head(view, at)
    if found != major:
        raise MessageError(f"expected {_NAMES[major]} at byte {at}, got {_NAMES[found]}")
    return argument, after


def read_uint(view: memoryview, at: int) -> tuple[int, int]:
    """Read an unsigned integer that fits a signed 64-bit one, as files and ledgers store it."""
    value, after = read_expected(view, at, UINT)
    if value >> 63:
        raise MessageError(f"the integer at byte {at} is {value}, expected less than 2**63")
    return value, after


def read_bytes(view: memoryview, at: int) -> tuple[memoryview, int]:
    """Find a byte string; return a view of it, not a copy."""
    return _read_string(view, at, BYTES)


def read_text(view: memoryview, at: int) -> tuple[str, int]:
    """Read a text string."""
    text, after = _read_string(view, at, TEXT)
    try:
        return str(text, "utf-8"), after
    except UnicodeDecodeError:
        raise MessageError(f"the text at byte {at} is not UTF-8") from None


def read_tag(view: memoryview, at: int) -> tuple[int, int]:
    """Read a tag; its content begins at the position returned."""
    return read_expected(view, at, TAG)


def skip(view: memoryview, at: int) -> int:
    """Return the position after the item, whatever it is and however deeply it is nested."""
    pending = 1
    for _ in range(_MAX_SKIPPED_ITEMS):
        major, argument, at = read_head(view, at)
        pending -= 1
        if major in (BYTES, TEXT):
            at += argument
        elif major == ARRAY:
            pending += argument
        elif major == MAP:
            pending += 2 * argument
        elif major == TAG:
            pending += 1
        # Every item still to come takes at least one byte.
        if at + pending > len(view):
            raise TruncatedMessageError(
                f"ends after {len(view)} bytes, its own fields need at least {at + pending}"
            )
        if not pending:
            return at
    raise UnknownEncodingError(f"more than {_MAX_SKIPPED_ITEMS} items within one field")


def make_head(major: int, argument: int) -> bytes:
    """Write an item's head in its shortest form (RFC 8949, section 4.1)."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    for info, width in _WIDTHS.items():
        if argument < 1 << 8 * width.size:
            return bytes((major << 5 | info,)) + width.pack(argument)
    raise ValueError(f"{argument} does not fit 64 bits")


def make_text(text: str) -> bytes:
    """Write a text string."""
    encoded = text.encode()
    return make_head(TEXT, len(encoded)) + encoded


def _read_string(view: memoryview, at: int, major: int) -> tuple[memoryview, int]:
    length, start = read_expected(view, at, major)
    end = start + length
    if end > len(view):
        raise TruncatedMessageError(
            f"{_NAMES[major]} of {length} bytes at byte {at}, but the message ends after {len(view)} bytes"
        )
    return view[start:end], end
