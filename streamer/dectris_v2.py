"""DECTRIS Stream V2 (CBOR, one part a message): messages to records.

Image messages are walked by `streamer.dectris_v2_image`, which copies nothing; ``cbor2`` decodes start
messages, which are rare and rich. What is accepted beyond the specification, because detectors or simulators
send it, is listed in docs/wire-format.md.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cbor2

from streamer.cbor_envelope import MAP, SELF_DESCRIBED, read_expected, read_text, read_uint, skip
from streamer.dectris_v2_image import (
    expect_end,
    read_fields,
    read_image,
    required,
    series_key,
)
from streamer.dectris_v2_usual import read_usual_image
from streamer.errors import MessageError, MessageTooLargeError, UnknownEncodingError
from streamer.pixels import checked_shape, pixel_dtype
from streamer.plain import count, optional_count, plain, positive, text
from streamer.records import SeriesEnd, SeriesKey, SeriesStart, StreamMessage

__all__ = ["DectrisV2Parser"]

_MAX_DEPTH = 32
_BUILDING_TAGS = (0, 1, 2, 3, 4, 5, 28, 29, 30, 35, 36, 37, 100, 258, 260, 261, 1004, 43000)


class DectrisV2Parser:
    """Turns the messages of one source into records; keeps no state between them.

    Parameters
    ----------
    channel : str
        The threshold to take the frames from; empty: the first in each message.
    message_limit_bytes, frame_limit_bytes : int
        The largest message read, and the largest frame (decoded) accepted.
    """

    def __init__(self, channel: str, message_limit_bytes: int, frame_limit_bytes: int) -> None:
        self._channel = channel
        self._message_limit_bytes = message_limit_bytes
        self._frame_limit_bytes = frame_limit_bytes

    def split(self, parts: Sequence[memoryview]) -> Sequence[Sequence[memoryview]]:
        """Return the stream's messages within one ZeroMQ message.

        A detector sends each as a message of its own; tickit, in a hurry, as several parts of one.
        """
        return (parts,) if len(parts) == 1 else [(part,) for part in parts]

    def parse(self, parts: Sequence[memoryview]) -> StreamMessage:
        """Parse one message; a frame's payload is a view into ``parts[0]``.

        Raises
        ------
        MessageError
            If the message is damaged or of an unknown type.
        """
        if len(parts) != 1:
            raise MessageError(f"a DECTRIS Stream V2 message has one part, got {len(parts)}")
        view = memoryview(parts[0])
        if len(view) > self._message_limit_bytes:
            raise MessageTooLargeError(
                f"a message of {len(view)} bytes, the limit is {self._message_limit_bytes}:"
                " raise message_limit_bytes if that is right"
            )
        return read_usual_image(view, self._channel, self._frame_limit_bytes) or self._parse_any(view)

    def _parse_any(self, view: memoryview) -> StreamMessage:
        entries, at = read_expected(view, 3 if view[:3] == SELF_DESCRIBED else 0, MAP)
        if not entries:
            raise MessageError("an empty message")
        name, at = read_text(view, at)
        if name != "type":
            raise MessageError(f"the first key is {name[:40]!r}, expected 'type'")
        kind, at = read_text(view, at)
        if kind == "image":
            return read_image(view, at, entries - 1, self._channel, self._frame_limit_bytes)
        if kind == "start":
            return _read_start(view, self._channel, self._frame_limit_bytes)
        if kind == "end":
            return _read_end(view, at, entries - 1)
        raise UnknownEncodingError(f"message of type {kind[:40]!r}, expected start, image or end")


def _read_end(view: memoryview, at: int, entries: int) -> SeriesEnd:
    fields: dict[str, Any] = {}
    readers = {"series_id": read_uint, "series_unique_id": read_text}
    expect_end(view, read_fields(view, at, entries, readers, fields))
    return SeriesEnd(series_key(fields))


def _read_start(view: memoryview, channel: str, limit_bytes: int) -> SeriesStart:
    fields = _decode(view)
    dtype = pixel_dtype(fields["image_dtype"]) if fields.get("image_dtype") is not None else None
    size = [count(required(fields, name, "start"), name) for name in ("image_size_y", "image_size_x")]
    series_id = count(required(fields, "series_id", "start"), "series_id")
    return SeriesStart(
        key=SeriesKey(series_id, text(fields.get("series_unique_id"))),
        n_frames_planned=count(fields.get("number_of_images") or 0, "number_of_images"),
        shape=checked_shape(size[0], size[1], dtype.itemsize if dtype else 1, limit_bytes),
        dtype=dtype,
        channel=channel or _first_text(fields.get("channels")),
        pixel_size_A=_pixel_size_A(fields.get("user_data")),
        frame_time_s=positive(fields.get("frame_time")),
        saturation_value=optional_count(fields.get("saturation_value")),
        header=bytes(view),
        extra=plain({name: value for name, value in fields.items() if name != "type"}),
    )


def _decode(view: memoryview) -> dict[str, Any]:
    """Decode a whole message whose structure has been walked once, so that its size is known to be honest.

    The tags from which ``cbor2`` builds objects (dates, big numbers, shared references, regular expressions)
    give what they wrap: a strange field is no reason to lose a series, nor to compile someone's expression.
    """
    expect_end(view, skip(view, 0))
    try:
        fields = cbor2.loads(
            view,
            tag_hook=lambda tag, immutable: tag,
            semantic_decoders=dict.fromkeys(_BUILDING_TAGS, lambda value, immutable: value),
            max_depth=_MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError) as error:
        raise MessageError(f"start message is not valid CBOR: {error}") from error
    return dict(fields)


def _pixel_size_A(user_data: object) -> float | None:
    """Return the specimen's pixel size [Å] from the user data, which may be a map or JSON text."""
    if isinstance(user_data, str):
        try:
            user_data = json.loads(user_data)
        except (ValueError, RecursionError):
            return None
    return positive(user_data.get("pixel_size_A")) if isinstance(user_data, Mapping) else None


def _first_text(values: object) -> str:
    return text(values[0]) if isinstance(values, list | tuple) and values else ""
