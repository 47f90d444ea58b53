"""Our own stream: golden bytes, an independent decoder, versions, and damage of every kind."""

import socket
import subprocess
import sys
from contextlib import suppress
from math import isnan, nan
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.compression import decode
from streamer.config import IngestConfig
from streamer.errors import (
    GeometryError,
    MessageError,
    MessageTooLargeError,
    MissingFieldError,
    PayloadError,
    TruncatedMessageError,
    UnknownEncodingError,
)
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage
from streamer.sources import Scheme, Source, open_receiver
from streamer.wire import AtomstreamEncoder, AtomstreamParser
from tests.streamer.frames import LIMIT, make_frame, make_image, messages, same

PARSER = AtomstreamParser(LIMIT, LIMIT)

GOLDEN_START = (
    b"\x8d\xa4type\xa5start\xa7version\x92\x01\x00\xa9series_id\x07\xa9unique_id\xa1a"
    b"\xa6height\x0d\xa5width\x18\xb0n_frames_planned\x0a\xa5dtype\xa3<u2\xa7channel\xa0"
    b"\xacpixel_size_A\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\xacframe_time_s\xcb\x3f\xa0\x00\x00\x00\x00\x00\x00"
    b"\xb0saturation_value\xcd\xea\x60\xa5extra\x81\xa4note\xa1x"
)
GOLDEN_IMAGE = (
    b"\x8b\xa4type\xa5image\xa7version\x92\x01\x00\xa9series_id\x07\xa9unique_id\xa1a\xa8frame_id\x2a"
    b"\xa6height\x02\xa5width\x03\xa5dtype\xa3<u2\xabcompression\xa4none\xa7n_bytes\x0c"
    b"\xaat_detector\xcb\x41\xd9\x54\xfc\x40\x20\x00\x00"
)
GOLDEN_END = b"\x84\xa4type\xa3end\xa7version\x92\x01\x00\xa9series_id\x07\xa9unique_id\xa1a"
START = SeriesStart(
    SeriesKey(7, "a"), 10, (13, 24), np.dtype("<u2"), pixel_size_A=0.1, frame_time_s=1 / 32,
    saturation_value=60_000, header=GOLDEN_START, extra={"note": "x"},
)  # fmt: skip
PIXELS = np.arange(1, 7, dtype="<u2").tobytes()
T = 1_700_000_000.5


def views(parts: list[bytes | memoryview]) -> list[memoryview]:
    return [memoryview(part) for part in parts]


def parse(*parts: bytes | memoryview) -> StreamMessage:
    return PARSER.parse(views(list(parts)))


def encode(message: StreamMessage) -> list[bytes | memoryview]:
    return AtomstreamEncoder().encode(message)


def image_fields(**changes: Any) -> bytes:
    """Return the golden image header with changes; a change to `...` takes the field away."""
    fields = msgpack.unpackb(GOLDEN_IMAGE) | changes
    return bytes(msgpack.packb({name: value for name, value in fields.items() if value is not ...}))


def test_golden_start() -> None:
    assert encode(START) == [GOLDEN_START]
    assert parse(GOLDEN_START) == START


def test_golden_image() -> None:
    header = FrameHeader(SeriesKey(7, "a"), 42, (2, 3), np.dtype("<u2"), Compression.NONE, T)
    frame = Frame(header, memoryview(PIXELS))
    assert encode(frame) == [GOLDEN_IMAGE, PIXELS]
    assert parse(GOLDEN_IMAGE, PIXELS) == frame


def test_golden_end() -> None:
    assert encode(SeriesEnd(SeriesKey(7, "a"))) == [GOLDEN_END]
    assert parse(GOLDEN_END) == SeriesEnd(SeriesKey(7, "a"))


def test_an_independent_decoder_reads_the_headers() -> None:
    image = make_image((13, 24), "<u4")
    header, payload = encode(make_frame(image, Compression.NONE, 3, T))
    assert msgpack.unpackb(header) == {
        "type": "image", "version": [1, 0], "series_id": 7, "unique_id": "01HRCJF83SA63WH8M5X1VBKFJM",
        "frame_id": 3, "height": 13, "width": 24, "dtype": "<u4", "compression": "none", "n_bytes": 1248,
        "t_detector": T,
    }  # fmt: skip
    assert np.array_equal(np.frombuffer(payload, "<u4").reshape(13, 24), image)


@pytest.mark.parametrize("compression", list(Compression))
def test_pixels_come_back(compression: Compression) -> None:
    image = make_image((130, 24), "<u2")
    frame = parse(*encode(make_frame(image, compression)))
    assert isinstance(frame, Frame)
    assert np.array_equal(decode(frame), image)


@given(messages)
def test_what_is_encoded_comes_back(message: StreamMessage) -> None:
    parts = encode(message)
    parsed = parse(*parts)
    if isinstance(message, SeriesStart):
        assert isinstance(parsed, SeriesStart)
        assert parsed.header == parts[0]
        assert encode(parsed) == parts
    else:
        assert same(parsed, message)


def test_unknown_fields_and_a_newer_minor_version_are_accepted() -> None:
    frame = parse(image_fields(version=[1, 7], gain=[1, {"a": None}], note=msgpack.ExtType(5, b"x")), PIXELS)
    assert frame == parse(GOLDEN_IMAGE, PIXELS)


@pytest.mark.parametrize("t", [None, ..., nan, float("inf"), 1000 * T, 1e9 * T, 1e300, -1.0])
def test_an_unknown_time_loses_no_frame(t: float | None) -> None:
    frame = parse(image_fields(t_detector=t), PIXELS)
    assert isinstance(frame, Frame)
    assert isnan(frame.header.t_detector)


def test_values_that_json_cannot_hold_are_left_out() -> None:
    extra = {
        "a": [1, b"x", msgpack.Timestamp(1)],
        "b": b"y",
        "c": {"d": msgpack.ExtType(5, b"")},
        "e": -(2**63),
    }
    start = parse(msgpack.packb(msgpack.unpackb(GOLDEN_START) | {"extra": extra}))
    assert isinstance(start, SeriesStart)
    assert start.extra == {"a": [1], "c": {}, "e": -(2**63)}


DAMAGED = [
    (image_fields(version=[2, 0]), UnknownEncodingError, "version 2.0, this program reads version 1", 42),
    (image_fields(version=[2, 0], height="new"), UnknownEncodingError, "version 2.0", 42),
    (image_fields(version=...), MissingFieldError, "`version`", 42),
    (image_fields(version=1), MessageError, "header is not ours", None),
    (image_fields(type="trigger"), UnknownEncodingError, "type 'trigger'", 42),
    (image_fields(type=...), MissingFieldError, "`type`", 42),
    (image_fields(height=...), MissingFieldError, "`height`", 42),
    (image_fields(frame_id=...), MissingFieldError, "`frame_id`", None),
    (image_fields(frame_id=-1), MessageError, "frame_id", None),
    (image_fields(frame_id=2**63), MessageError, "frame_id", None),
    (image_fields(series_id=2**64 - 1), MessageError, "series_id", 42),
    (image_fields(unique_id="x" * 257), MessageError, "unique_id", 42),
    (image_fields(height=2.0), MessageError, "Expected `int`, got `float`", 42),
    (image_fields(height=0), GeometryError, "0 x 3", 42),
    (image_fields(height=2**40), MessageTooLargeError, "the limit is", 42),
    (image_fields(height=3), PayloadError, "12 bytes of pixels, expected 18", 42),
    (image_fields(dtype="<f4"), UnknownEncodingError, "'<f4'", 42),
    (image_fields(compression="zip"), UnknownEncodingError, "compression 'zip'", 42),
    (image_fields(compression="bslz4"), PayloadError, "more than the 12", 42),
    (image_fields(n_bytes=13), TruncatedMessageError, "payload of 12 bytes, expected 13", 42),
    (GOLDEN_IMAGE + b"\0", MessageError, "trailing", None),
    (GOLDEN_IMAGE[:-1], TruncatedMessageError, "truncated", None),
    (b"", TruncatedMessageError, "truncated", None),
    (b"\x93\x01\x02\x03", MessageError, "not ours", None),
    (b"\x81\xa4type\x91" + b"\x91" * 100_000, MessageError, "not ours", None),
    (b"\x83\xa4type\xa5image\xa1x\xdd\xff\xff\xff\xff", TruncatedMessageError, "truncated", None),
]


@pytest.mark.parametrize(("header", "error", "text", "frame_id"), DAMAGED)
def test_damage_is_named(header: bytes, error: type[MessageError], text: str, frame_id: int | None) -> None:
    with pytest.raises(error, match=text) as caught:
        parse(header, PIXELS)
    assert caught.value.frame_id == frame_id


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([], "without parts"),
        ([GOLDEN_IMAGE], "expected 2 parts, got 1"),
        ([GOLDEN_IMAGE, PIXELS, b""], "expected 2 parts, got 3"),
        ([GOLDEN_START, b""], "expected 1 parts, got 2"),
        ([GOLDEN_END, b""], "expected 1 parts, got 2"),
        ([GOLDEN_END, bytes(LIMIT)], "the limit is 1048576: raise message_limit_bytes"),
    ],
)
def test_parts_are_counted(parts: list[bytes], text: str) -> None:
    with pytest.raises(MessageError, match=text):
        parse(*parts)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"height": 2**40}, MessageTooLargeError),
        ({"width": 0}, GeometryError),
        ({"dtype": "f4"}, UnknownEncodingError),
    ],
)
def test_a_damaged_start_is_named(changes: dict[str, Any], error: type[MessageError]) -> None:
    with pytest.raises(error):
        parse(msgpack.packb(msgpack.unpackb(GOLDEN_START) | changes))


@given(st.data(), messages)
def test_a_truncated_message_is_refused(data: st.DataObject, message: StreamMessage) -> None:
    parts = encode(message)
    n = data.draw(st.integers(0, len(parts) - 1))
    parts[n] = parts[n][: data.draw(st.integers(0, len(parts[n]) - 1))]
    with pytest.raises(TruncatedMessageError):
        parse(*parts)


@settings(max_examples=500)
@given(st.data(), messages)
def test_flipped_bits_raise_nothing_else(data: st.DataObject, message: StreamMessage) -> None:
    parts = encode(message)
    header = bytearray(parts[0])
    for _ in range(data.draw(st.integers(1, 3))):
        header[data.draw(st.integers(0, len(header) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(MessageError):
        assert isinstance(parse(header, *parts[1:]), StreamMessage)


@given(st.lists(st.binary(max_size=300), max_size=3))
def test_garbage_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(MessageError):
        parse(*parts)


def test_the_sender_in_the_documentation_is_understood() -> None:
    text = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0].replace("range(100)", "range(3)")
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = Source(Scheme.ATOMSTREAM, "127.0.0.1", server.getsockname()[1])
    code = code.replace("5555", str(source.port))
    with (
        zmq.Context() as context,
        open_receiver(context, source, IngestConfig(), receive_timeout_ms=20_000) as receiver,
        subprocess.Popen([sys.executable, "-c", code]) as sender,
    ):
        received = [parse(*receiver.recv_multipart()) for _ in range(5)]
        sender.wait(20)
    start, *frames, end = received
    assert isinstance(start, SeriesStart)
    assert (start.shape, start.pixel_size_A) == ((512, 512), 0.1)
    assert isinstance(end, SeriesEnd)
    for n, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        assert frame.header.frame_id == n
        assert decode(frame).mean() < 1
