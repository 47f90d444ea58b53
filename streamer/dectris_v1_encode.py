"""Records to DECTRIS Stream V1 (legacy) messages, for the simulator and for replay."""

import hashlib
import json
from math import isfinite
from typing import Any

import msgspec

from streamer.compression import FILTER_HEADER, decode, encode
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesStart, StreamMessage

__all__ = ["DectrisV1Encoder"]

_BLOCK_START = FILTER_HEADER.size + 4
_encode = msgspec.json.Encoder().encode


class DectrisV1Encoder:
    """Turns the records of one stream into multipart messages with ``header_detail`` basic.

    Parameters
    ----------
    series_date_s : float
        Unix time to which the frames' times are written relative; not later than the first frame.
    """

    def __init__(self, series_date_s: float) -> None:
        self._series_date_s = series_date_s
        self._frame_time_s = 0.0

    def encode(self, message: StreamMessage) -> list[bytes | memoryview]:
        """Make the message's parts. A start sets the frame time for the frames after it."""
        if isinstance(message, SeriesEnd):
            return [_encode({"htype": "dseries_end-1.0", "series": message.key.series_id})]
        if isinstance(message, SeriesStart):
            self._frame_time_s = message.frame_time_s or 0.0
            return _start(message)
        description, payload = _pixels(message)
        times = {"htype": "dconfig-1.0", **self._times_ns(message.header.t_detector)}
        return [_image(message.header, payload), description, payload, _encode(times)]

    def _times_ns(self, t_detector: float) -> dict[str, int]:
        start = max(t_detector - self._series_date_s, 0.0) if isfinite(t_detector) else 0.0
        stop = start + self._frame_time_s
        times = {"start_time": start, "stop_time": stop, "real_time": self._frame_time_s}
        return {name: round(1e9 * seconds) for name, seconds in times.items()}


def _start(start: SeriesStart) -> list[bytes | memoryview]:
    """Encode a header.

    The pixel size at the specimen stands among the configuration's fields: LiberTEM's receiver takes the
    user's appendix, where it belongs, for the next message.
    """
    config: dict[str, Any] = {
        "x_pixels_in_detector": start.shape[1],
        "y_pixels_in_detector": start.shape[0],
        "bit_depth_image": 8 * start.dtype.itemsize if start.dtype is not None else None,
        "nimages": 1,
        "ntrigger": start.n_frames_planned,
        "trigger_mode": "exte",
        "frame_time": start.frame_time_s,
        "count_time": start.frame_time_s,
        "countrate_correction_count_cutoff": start.saturation_value,
        "pixel_size_A": start.pixel_size_A,
    }
    config |= {name: value for name, value in start.extra.items() if name not in config}
    header = {"htype": "dheader-1.0", "series": start.key.series_id, "header_detail": "basic"}
    known = {name: value for name, value in config.items() if value is not None}
    return [_encode(header), json.dumps(known).encode()]


def _image(header: FrameHeader, payload: memoryview) -> bytes:
    """Encode an image's first part; LiberTEM's receiver wants a hash there, though none is ever checked."""
    digest = hashlib.md5(payload, usedforsecurity=False).hexdigest()
    ids = {"series": header.key.series_id, "frame": header.frame_id}
    return _encode({"htype": "dimage-1.0", **ids, "hash": digest})


def _pixels(frame: Frame) -> tuple[bytes, memoryview]:
    header, payload = frame.header, frame.payload
    if header.compression is Compression.LZ4:
        payload = _bare_block(frame)
    description = {
        "htype": "dimage_d-1.0",
        "shape": [header.shape[1], header.shape[0]],
        "type": header.dtype.name,
        "encoding": _encoding(header),
        "size": len(payload),
    }
    return _encode(description), payload


def _encoding(header: FrameHeader) -> str:
    if header.compression is Compression.BSLZ4:
        return f"bs{8 * header.dtype.itemsize}-lz4<"
    return "lz4<" if header.compression is Compression.LZ4 else "<"


def _bare_block(frame: Frame) -> memoryview:
    """Return the frame as one bare LZ4 block, which is what this stream calls lz4."""
    size, block_bytes = FILTER_HEADER.unpack_from(frame.payload)
    payload = frame.payload
    if block_bytes < size:
        payload = memoryview(encode(decode(frame), Compression.LZ4))
    block = payload[_BLOCK_START:]
    return memoryview(_literals(block)) if len(block) == size else block


def _literals(pixels: memoryview) -> bytes:
    """Write pixels that do not compress as an LZ4 block of literals (LZ4 block format, "Sequences")."""
    more = len(pixels) - 15
    if more < 0:
        return bytes((len(pixels) << 4,)) + bytes(pixels)
    return b"\xf0" + b"\xff" * (more // 255) + bytes((more % 255,)) + bytes(pixels)
