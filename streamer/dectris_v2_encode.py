"""Records to DECTRIS Stream V2 messages, as a detector sends them (for the simulator and for replay)."""

from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

import cbor2
import numpy as np

from streamer.cbor_envelope import ARRAY, BYTES, MAP, SELF_DESCRIBED, TAG, UINT, make_head, make_text
from streamer.records import Compression, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage

__all__ = ["DectrisV2Encoder"]

_CLOCK_HZ = 50_000_000  # denominator of every time in captured messages
_TYPED_ARRAYS = {"|u1": 64, "<u2": 69, "<u4": 70}


class DectrisV2Encoder:
    """Turns the records of one stream into messages of one part each.

    Parameters
    ----------
    series_date_s : float
        Unix time to which the frames' times are written relative; not later than the first frame.
    channel : str
        Name of the only threshold, for series that do not name one.
    """

    def __init__(self, series_date_s: float, channel: str = "threshold_1") -> None:
        self._series_date_s = series_date_s
        self._date = datetime.fromtimestamp(series_date_s, UTC).isoformat(timespec="microseconds")
        self._channel = channel
        self._frame_ticks = 0

    def encode(self, message: StreamMessage) -> list[bytes]:
        """Make the message's only part. A start sets the channel and frame time for the frames after it."""
        if isinstance(message, SeriesStart):
            self._channel = message.channel or self._channel
            self._frame_ticks = _ticks(message.frame_time_s or 0.0)
            return [_start(message, self._channel, self._date)]
        if isinstance(message, SeriesEnd):
            return [SELF_DESCRIBED + make_head(MAP, 3) + _type_and_key("end", message.key)]
        return [b"".join((self._image_head(message.header, len(message.payload)), message.payload))]

    def _image_head(self, header: FrameHeader, n_bytes: int) -> bytes:
        times = self._times(header.t_detector) if isfinite(header.t_detector) else []
        entries = [make_text("image_id") + make_head(UINT, header.frame_id), *times]
        return b"".join(
            (
                SELF_DESCRIBED,
                make_head(MAP, 4 + len(entries)),
                _type_and_key("image", header.key),
                *entries,
                make_text("data") + make_head(MAP, 1) + make_text(self._channel),
                _array_head(header.shape, header.dtype, header.compression),
                make_head(BYTES, n_bytes),
            )
        )

    def _times(self, t_detector: float) -> list[bytes]:
        start = _ticks(max(t_detector - self._series_date_s, 0.0))
        return [
            make_text("real_time") + _ratio(self._frame_ticks),
            make_text("series_date") + make_head(TAG, 0) + make_text(self._date),
            make_text("start_time") + _ratio(start),
            make_text("stop_time") + _ratio(start + self._frame_ticks),
        ]


def _start(start: SeriesStart, channel: str, date: str) -> bytes:
    """Encode a start message; the pixel size at the specimen goes where a user would put it, in user_data."""
    fields = {
        "type": "start",
        "series_id": start.key.series_id,
        "series_unique_id": start.key.unique_id,
        "arm_date": cbor2.CBORTag(0, date),
        "channels": [channel],
        "image_dtype": start.dtype.name if start.dtype is not None else None,
        "image_size_x": start.shape[1],
        "image_size_y": start.shape[0],
        "number_of_images": start.n_frames_planned,
        "count_time": start.frame_time_s,
        "frame_time": start.frame_time_s,
        "saturation_value": start.saturation_value,
        "user_data": {"pixel_size_A": start.pixel_size_A},
    }
    more = {name: value for name, value in start.extra.items() if name not in fields}
    encoded: bytes = cbor2.dumps(
        {name: value for name, value in (fields | more).items() if value is not None}
    )
    return SELF_DESCRIBED + encoded


@lru_cache(maxsize=16)
def _type_and_key(kind: str, key: SeriesKey) -> bytes:
    return b"".join(
        (
            make_text("type") + make_text(kind),
            make_text("series_id") + make_head(UINT, key.series_id),
            make_text("series_unique_id") + make_text(key.unique_id),
        )
    )


@lru_cache(maxsize=16)
def _array_head(shape: tuple[int, int], dtype: np.dtype[Any], compression: Compression) -> bytes:
    """Write everything of an array that stands before its byte string's head."""
    height, width = (make_head(UINT, length) for length in shape)
    array = make_head(TAG, 40) + make_head(ARRAY, 2) + make_head(ARRAY, 2) + height + width
    pixels = make_head(TAG, _TYPED_ARRAYS[dtype.str])
    if compression is Compression.NONE:
        return array + pixels
    item_bytes = dtype.itemsize if compression is Compression.BSLZ4 else 0
    compressed = make_head(TAG, 56500) + make_head(ARRAY, 3) + make_text(compression.value)
    return array + pixels + compressed + make_head(UINT, item_bytes)


def _ratio(ticks: int) -> bytes:
    return make_head(ARRAY, 2) + make_head(UINT, ticks) + make_head(UINT, _CLOCK_HZ)


def _ticks(seconds: float) -> int:
    return round(seconds * _CLOCK_HZ)
