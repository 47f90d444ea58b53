"""The envelope of DECTRIS Stream V2 image messages: found, not decoded.

`read_image` takes keys in any order, skips unknown ones and returns the payload as a view into the message.
The same fields in the usual order are found faster by `streamer.dectris_v2_usual`, with the readers of this
module.

Source: dectris/documentation ``stream_v2/README.md`` and ``cbor/dectris-compression-tag.md``; RFC 8746 for
tags 40 and 64 to 87.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import nan
from typing import Any, NamedTuple

import numpy as np

from streamer.cbor_envelope import (
    ARRAY,
    MAP,
    TAG,
    TEXT,
    UINT,
    read_bytes,
    read_expected,
    read_head,
    read_tag,
    read_text,
    read_uint,
    skip,
)
from streamer.compression import check_payload
from streamer.errors import GeometryError, MessageError, MissingFieldError, UnknownEncodingError
from streamer.pixels import checked_shape, pixel_dtype
from streamer.plain import unix_time
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

__all__ = [
    "Layout",
    "Reader",
    "expect_end",
    "make_frame",
    "ratio",
    "read_date",
    "read_fields",
    "read_image",
    "read_layout",
    "required",
    "series_key",
]

Reader = Callable[[memoryview, int], tuple[Any, int]]

_TYPED_ARRAYS = {64: "uint8", 68: "uint8", 69: "uint16", 70: "uint32"}
_COMPRESSED = 56500
_ROW_MAJOR, _COLUMN_MAJOR = 40, 1040
_MAX_ENTRIES = 64
_MAX_DATE_BYTES = 64


class Layout(NamedTuple):
    """How one channel's pixels lie in the message."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    compression: Compression


def read_image(view: memoryview, at: int, entries: int, channel: str, limit_bytes: int) -> Frame:
    """Read an image message from the entry after its type.

    Parameters
    ----------
    view : memoryview
        The whole message; the frame's payload is a slice of it.
    at, entries : int
        Where the second entry of the map begins, and how many are left.
    channel : str
        The threshold to take; empty: the first.
    limit_bytes : int
        The largest frame accepted.

    Raises
    ------
    MessageError
        If the message is damaged, with the frame's id where that could be read.
    """
    fields: dict[str, Any] = {}
    try:
        expect_end(view, read_fields(view, at, entries, _FIELDS, fields))
        key, frame_id = series_key(fields), required(fields, "image_id", "image")
        layout, payload = _read_array(view, _chosen(required(fields, "data", "image"), channel), limit_bytes)
        t_detector = fields.get("series_date", nan) + fields.get("start_time", nan)
        return make_frame(key, frame_id, layout, t_detector, payload)
    except MessageError as error:
        if error.frame_id is None:
            error.frame_id = fields.get("image_id")
        raise


def read_fields(
    view: memoryview, at: int, entries: int, readers: Mapping[str, Reader], fields: dict[str, Any]
) -> int:
    """Read a map's entries into `fields` and skip the unknown ones; return the position after them."""
    _expect_few(entries, "entries")
    seen: set[str] = set()
    for _ in range(entries):
        name, at = read_text(view, at)
        if name in seen:
            raise MessageError(f"the key {name!r} comes twice")
        seen.add(name)
        if name in readers:
            fields[name], at = readers[name](view, at)
        else:
            at = skip(view, at)
    return at


def expect_end(view: memoryview, at: int) -> None:
    """Refuse what stands after the message's own end."""
    if at != len(view):
        raise MessageError(f"{len(view) - at} bytes stand after the end of the message")


def required(fields: Mapping[str, Any], name: str, kind: str) -> Any:
    """Return a field that every message of its kind must have."""
    if name not in fields:
        raise MissingFieldError(f"{kind} message without {name!r}")
    return fields[name]


def series_key(fields: Mapping[str, Any]) -> SeriesKey:
    """Return the series that an image or end message belongs to."""
    return SeriesKey(required(fields, "series_id", "stream"), fields.get("series_unique_id", ""))


def make_frame(
    key: SeriesKey, frame_id: int, layout: Layout, t_detector: float, payload: memoryview
) -> Frame:
    """Make the record of a frame whose payload has the size its layout demands."""
    t = unix_time(t_detector)
    header = FrameHeader(key, frame_id, layout.shape, layout.dtype, layout.compression, t)
    check_payload(header, payload)
    return Frame(header, payload)


def _find_channels(view: memoryview, at: int) -> tuple[dict[str, int], int]:
    """Return where each channel's array begins."""
    entries, at = read_expected(view, at, MAP)
    _expect_few(entries, "channels")
    channels: dict[str, int] = {}
    for _ in range(entries):
        name, at = read_text(view, at)
        if name in channels:
            raise MessageError(f"the channel {name!r} comes twice")
        channels[name] = at
        at = skip(view, at)
    return channels, at


def _chosen(channels: Mapping[str, int], channel: str) -> int:
    if not channels:
        raise MissingFieldError("image message without a channel")
    name = channel or next(iter(channels))
    if name not in channels:
        raise MissingFieldError(f"no channel {name!r} in the image: there are {_listed(channels)}")
    return channels[name]


def _read_array(view: memoryview, at: int, limit_bytes: int) -> tuple[Layout, memoryview]:
    layout, at = read_layout(view, at, limit_bytes)
    return layout, read_bytes(view, at)[0]


def read_layout(view: memoryview, at: int, limit_bytes: int) -> tuple[Layout, int]:
    """Read an array's shape, type and compression; its byte string begins at the position returned."""
    height, width, at = _read_dimensions(view, at)
    dtype, at = _read_type(view, at)
    compression = Compression.NONE
    if read_head(view, at)[0] == TAG:
        compression, at = _read_compression(view, at, dtype)
    return Layout(checked_shape(height, width, dtype.itemsize, limit_bytes), dtype, compression), at


def _read_dimensions(view: memoryview, at: int) -> tuple[int, int, int]:
    tag, at = read_tag(view, at)
    if tag == _COLUMN_MAJOR:
        raise UnknownEncodingError(f"a column-major image (tag {tag}), expected row-major (tag {_ROW_MAJOR})")
    if tag != _ROW_MAJOR:
        raise UnknownEncodingError(f"tag {tag} for an image, expected {_ROW_MAJOR}")
    at = _expect_items(view, at, 2, "an image is its dimensions and its pixels")
    count, at = read_expected(view, at, ARRAY)
    if count != 2:
        raise GeometryError(f"an image of {count} dimensions, expected 2")
    height, at = read_uint(view, at)
    width, at = read_uint(view, at)
    return height, width, at


def _read_type(view: memoryview, at: int) -> tuple[np.dtype[Any], int]:
    tag, at = read_tag(view, at)
    if tag not in _TYPED_ARRAYS:
        raise UnknownEncodingError(f"pixels of type tag {tag}, expected one of {_listed(_TYPED_ARRAYS)}")
    return pixel_dtype(_TYPED_ARRAYS[tag]), at


def _read_compression(view: memoryview, at: int, dtype: np.dtype[Any]) -> tuple[Compression, int]:
    tag, at = read_tag(view, at)
    if tag != _COMPRESSED:
        raise UnknownEncodingError(f"tag {tag} for pixels, expected a byte string or tag {_COMPRESSED}")
    at = _expect_items(view, at, 3, "compressed bytes are algorithm, element size and data")
    algorithm, at = read_text(view, at)
    item_bytes, at = read_uint(view, at)
    if algorithm not in (Compression.BSLZ4, Compression.LZ4):
        raise UnknownEncodingError(f"compression {algorithm!r}, expected bslz4, lz4 or none")
    if algorithm == Compression.BSLZ4 and item_bytes != dtype.itemsize:
        raise UnknownEncodingError(f"bslz4 with elements of {item_bytes} bytes for pixels of {dtype}")
    return Compression(algorithm), at


def _expect_few(entries: int, name: str) -> None:
    """Bound the time that one message can take."""
    if entries > _MAX_ENTRIES:
        raise UnknownEncodingError(f"a message of {entries} {name}, expected at most {_MAX_ENTRIES}")


def _expect_items(view: memoryview, at: int, count: int, rule: str) -> int:
    found, at = read_expected(view, at, ARRAY)
    if found != count:
        raise MessageError(f"{rule}: expected {count} items, got {found}")
    return at


def read_date(view: memoryview, at: int) -> tuple[float, int]:
    """Read a date [Unix s]; NaN if it is none: an unknown time is no reason to lose a frame."""
    end = skip(view, at)
    major, argument, after = read_head(view, at)
    if major == TAG and argument == 0:
        major, argument, after = read_head(view, after)
    if major != TEXT or argument > _MAX_DATE_BYTES:
        return nan, end
    return _unix_seconds(bytes(view[after : after + argument])), end


def _readratio(view: memoryview, at: int) -> tuple[float, int]:
    """Read a rational as numerator and denominator; NaN if it is none."""
    end = skip(view, at)
    try:
        start = _expect_items(view, at, 2, "a rational")
        numerator, after = read_expected(view, start, UINT)
        return ratio(numerator, read_expected(view, after, UINT)[0]), end
    except MessageError:
        return nan, end


def _read_optional_text(view: memoryview, at: int) -> tuple[str, int]:
    if read_head(view, at)[0] != TEXT:
        return "", skip(view, at)
    return read_text(view, at)


def ratio(numerator: int, denominator: int) -> float:
    """Divide; NaN where the denominator is zero."""
    return numerator / denominator if denominator else nan


@lru_cache(maxsize=64)
def _unix_seconds(text: bytes) -> float:
    try:
        date = datetime.fromisoformat(text.decode())
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return nan


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)


_FIELDS: Mapping[str, Reader] = {
    "series_id": read_uint,
    "series_unique_id": _read_optional_text,
    "image_id": read_uint,
    "series_date": read_date,
    "start_time": _readratio,
    "data": _find_channels,
}
