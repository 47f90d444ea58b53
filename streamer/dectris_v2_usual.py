"""Image messages laid out as every detector and simulator seen so far sends them, read five times faster.

A regular expression proposes where the items of such a message lie. The readers of
`streamer.dectris_v2_image` then check each proposal to its last byte, but their answer is remembered for
items that are the same in every message of a series: the series, its date, the array's layout. What is
returned is therefore what `read_image` would return (about 5 µs against 25); anything unusual is left to it.
"""

import re
from functools import lru_cache
from typing import Any

from streamer.cbor_envelope import BYTES, MAP, read_bytes, read_expected, read_text, read_uint
from streamer.dectris_v2_image import Layout, Reader, expect_end, make_frame, ratio, read_date, read_layout
from streamer.errors import MessageError
from streamer.records import Frame, SeriesKey

__all__ = ["read_usual_image"]

_UINT = rb"(?:[\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b.{8})"
_TEXT = rb"(?:[\x60-\x77]|\x78.).{0,64}?"  # the length is checked by the reader
_USUAL = re.compile(
    rb"\xd9\xd9\xf7\xa9\x64type\x65image"
    rb"\x69series_id(" + _UINT + rb")\x70series_unique_id(" + _TEXT + rb")\x68image_id(" + _UINT + rb")"
    rb"\x69real_time\x82" + _UINT + _UINT + rb"\x6bseries_date(\xc0" + _TEXT + rb")"
    rb"\x6astart_time\x82(" + _UINT + rb")(" + _UINT + rb")\x69stop_time\x82" + _UINT + _UINT + rb"\x64data("
    rb"\xa1" + _TEXT + rb"\xd8\x28\x82\x82" + _UINT + _UINT + rb"\xd8[\x40-\x57]"
    rb"(?:\xd9\xdc\xb4\x83(?:\x65bslz4|\x63lz4)" + _UINT + rb")?)(?=[\x40-\x5b])",
    re.DOTALL,
)
"""The layout of every detector and simulator seen so far, up to the payload's byte string."""


def read_usual_image(view: memoryview, channel: str, limit_bytes: int) -> Frame | None:
    """Read an image message laid out in the usual way; None if it is anything else, or damaged."""
    found = _USUAL.match(view)
    if found is None:
        return None
    series, unique_id, image_id, date, numerator, denominator, data = found.groups()
    try:
        key = _known_series(series, unique_id)
        name, layout = _known_layout(data, limit_bytes)
        payload, end = read_bytes(view, found.end())
        t_detector = _known_date(date) + ratio(_uint(numerator), _uint(denominator))
        if end != len(view) or (channel and channel != name):
            return None
        return make_frame(key, read_uint(memoryview(image_id), 0)[0], layout, t_detector, payload)
    except MessageError:
        return None


def _whole(reader: Reader, item: bytes) -> Any:
    """Read an item that must be exactly the bytes given."""
    value, end = reader(memoryview(item), 0)
    expect_end(memoryview(item), end)
    return value


@lru_cache(maxsize=64)
def _known_series(series_id: bytes, unique_id: bytes) -> SeriesKey:
    return SeriesKey(_whole(read_uint, series_id), _whole(read_text, unique_id))


@lru_cache(maxsize=64)
def _known_date(date: bytes) -> float:
    value: float = _whole(read_date, date)
    return value


@lru_cache(maxsize=64)
def _known_layout(data: bytes, limit_bytes: int) -> tuple[str, Layout]:
    """Read the data field up to its only channel's byte string."""
    view = memoryview(data)
    name, at = read_text(view, read_expected(view, 0, MAP)[1])
    # The byte string itself is not among these bytes; an empty one stands for it.
    layout, end = read_layout(memoryview(data + bytes((BYTES << 5,))), at, limit_bytes)
    expect_end(view, end)
    return name, layout


def _uint(item: bytes) -> int:
    """Read an unsigned integer whose form the pattern has already checked."""
    return int.from_bytes(item[1:], "big") if len(item) > 1 else item[0]
