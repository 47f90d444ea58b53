"""DECTRIS Stream V1: golden parts, headers in pieces, every encoding in the wild, damage of every kind."""

import json
import random
from contextlib import suppress
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.compression import FILTER_HEADER, decode, encode
from streamer.dectris_v1 import DectrisV1Parser
from streamer.dectris_v1_encode import DectrisV1Encoder
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
from tests.streamer.frames import LIMIT, frames, make_frame, make_image

IMAGE = make_image((13, 24))
PAYLOAD = encode(IMAGE, Compression.BSLZ4)

HEADER = b'{"htype":"dheader-1.0","series":7,"header_detail":"basic"}'
CONFIG = {
    "x_pixels_in_detector": 24,
    "y_pixels_in_detector": 13,
    "bit_depth_image": 16,
    "nimages": 5,
    "ntrigger": 2,
    "trigger_mode": "ints",
    "frame_time": 0.001,
    "countrate_correction_count_cutoff": 3825,
    "description": "Dectris QUADRO Si 250K",
    "flatfield": None,
}
IMAGE_PART = b'{"htype":"dimage-1.0","series":7,"frame":42,"hash":""}'
TIMES_PART = b'{"htype":"dconfig-1.0","start_time":500000000,"stop_time":501000000,"real_time":1000000}'


def parse(*parts: bytes | memoryview, parser: DectrisV1Parser | None = None) -> StreamMessage | None:
    parser = parser or DectrisV1Parser(LIMIT, LIMIT)
    return parser.parse([memoryview(part) for part in parts])


def config(**changes: Any) -> bytes:
    """Return a configuration; a change to `...` takes the field away."""
    fields = CONFIG | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def pixels(**changes: Any) -> bytes:
    fields = {
        "htype": "dimage_d-1.0",
        "shape": [24, 13],
        "type": "uint16",
        "encoding": "bs16-lz4<",
        "size": len(PAYLOAD),
    } | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def parse_start(*parts: bytes) -> SeriesStart:
    start = parse(*parts)
    assert isinstance(start, SeriesStart)
    return start


def parse_image(payload: bytes = PAYLOAD, **changes: Any) -> Frame:
    frame = parse(IMAGE_PART, pixels(**changes), payload, TIMES_PART)
    assert isinstance(frame, Frame)
    return frame


def test_golden_parts() -> None:
    image = np.arange(1, 7, dtype="<u2").reshape(2, 3)
    header = FrameHeader(SeriesKey(7), 42, (2, 3), image.dtype, Compression.NONE, 1000.5)
    encoder = DectrisV1Encoder(1000.0)
    head, start = encoder.encode(SeriesStart(header.key, 9, (2, 3), image.dtype, "", 0.1, 0.001, 60))
    assert head == HEADER
    assert json.loads(bytes(start)) == {
        "x_pixels_in_detector": 3,
        "y_pixels_in_detector": 2,
        "bit_depth_image": 16,
        "nimages": 1,
        "ntrigger": 9,
        "trigger_mode": "exte",
        "frame_time": 0.001,
        "count_time": 0.001,
        "countrate_correction_count_cutoff": 60,
        "pixel_size_A": 0.1,
    }
    assert encoder.encode(Frame(header, memoryview(image).cast("B"))) == [
        IMAGE_PART.replace(b'""', b'"f6050cdac59263109f2a853227bed520"'),
        b'{"htype":"dimage_d-1.0","shape":[3,2],"type":"uint16","encoding":"<","size":12}',
        image.tobytes(),
        TIMES_PART,
    ]
    assert encoder.encode(SeriesEnd(SeriesKey(7, "lost"))) == [b'{"htype":"dseries_end-1.0","series":7}']


@given(frames())
def test_what_is_encoded_comes_back(frame: Frame) -> None:
    parsed = parse(*DectrisV1Encoder(0.0).encode(frame))
    assert isinstance(parsed, Frame)
    assert isnan(parsed.header.t_detector)
    assert parsed.header.key == SeriesKey(frame.header.key.series_id)
    assert (parsed.header.frame_id, parsed.header.shape) == (frame.header.frame_id, frame.header.shape)
    assert (parsed.header.dtype, parsed.header.compression) == (frame.header.dtype, frame.header.compression)
    assert parsed.payload == frame.payload


def test_a_start_comes_back() -> None:
    start = SeriesStart(
        SeriesKey(3), 100, (13, 24), np.dtype("<u4"), "", 0.12, 0.01, 999, extra={"wavelength": 0.02}
    )
    parsed = parse(*DectrisV1Encoder(0.0).encode(start))
    assert isinstance(parsed, SeriesStart)
    assert (parsed.key, parsed.n_frames_planned, parsed.shape) == (start.key, 100, (13, 24))
    assert (parsed.dtype, parsed.pixel_size_A, parsed.frame_time_s) == (start.dtype, 0.12, 0.01)
    assert (parsed.saturation_value, parsed.extra["wavelength"]) == (999, 0.02)


@pytest.mark.parametrize("parts", [(), (b"appendix",), (b'{"pixel_size_A": 0.1}',), (b"[1]",)])
def test_a_basic_header_with_and_without_appendix(parts: tuple[bytes, ...]) -> None:
    start = parse_start(HEADER, config(), *parts)
    assert (start.key, start.shape, start.dtype) == (SeriesKey(7), (13, 24), np.dtype("<u2"))
    assert (start.n_frames_planned, start.frame_time_s, start.saturation_value) == (10, 0.001, 3825)
    assert start.pixel_size_A == (0.1 if b"pixel" in b"".join(parts) else None)
    assert start.header == HEADER + b"\n" + config()
    assert start.extra["description"] == "Dectris QUADRO Si 250K"


ARRAYS = [
    b'{"htype":"dflatfield-1.0","shape":[24,13],"type":"float32"}',
    bytes(1248),
    b'{"htype":"dpixelmask-1.0","shape":[24,13],"type":"uint32"}',
    bytes(1248),
    b'{"htype":"dcountrate_table-1.0","shape":[2,9],"type":"float32"}',
    bytes(72),
]
FULL_HEADER = HEADER.replace(b"basic", b"all")


def test_a_full_header_in_one_message() -> None:
    start = parse_start(FULL_HEADER, config(), *ARRAYS, b'{"pixel_size_A": 0.1}')
    assert (start.shape, start.pixel_size_A) == ((13, 24), 0.1)


def test_a_full_header_part_by_part() -> None:
    parser = DectrisV1Parser(LIMIT, LIMIT)
    assert parse(FULL_HEADER, parser=parser) is None
    assert isinstance(parse(config(), parser=parser), SeriesStart)
    for part in ARRAYS:
        assert parse(part, parser=parser) is None
    assert isinstance(parse(IMAGE_PART, pixels(), PAYLOAD, TIMES_PART, parser=parser), Frame)


def test_a_header_that_is_never_finished_harms_nothing() -> None:
    parser = DectrisV1Parser(LIMIT, LIMIT)
    assert parse(HEADER, parser=parser) is None
    assert isinstance(parse(IMAGE_PART, pixels(), PAYLOAD, TIMES_PART, parser=parser), Frame)
    with pytest.raises(UnknownEncodingError, match="type ''"):
        parse(config(), parser=parser)


def test_an_array_that_is_missing_swallows_no_message() -> None:
    parser = DectrisV1Parser(LIMIT, LIMIT)
    assert parse(ARRAYS[0], parser=parser) is None
    assert parse(b'{"htype":"dseries_end-1.0","series":7}', parser=parser) == SeriesEnd(SeriesKey(7))
    with pytest.raises(MessageError, match="not the JSON"):
        parse(ARRAYS[1], parser=parser)


@pytest.mark.parametrize(
    ("mode", "planned"), [("ints", 10), ("exts", 10), ("inte", 2), ("exte", 2), (None, 10), (..., 10)]
)
def test_the_planned_number_of_frames(mode: Any, planned: int) -> None:
    assert parse_start(HEADER, config(trigger_mode=mode)).n_frames_planned == planned


@pytest.mark.parametrize("more", [(), (b"appendix",)])
def test_an_image_with_and_without_appendix(more: tuple[bytes, ...]) -> None:
    frame = parse(IMAGE_PART, pixels(), PAYLOAD, TIMES_PART, *more)
    assert isinstance(frame, Frame)
    assert frame.header.shape == (13, 24)
    assert np.array_equal(decode(frame), IMAGE)


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
@pytest.mark.parametrize("compression", list(Compression))
def test_every_dtype_and_compression(dtype: str, compression: Compression) -> None:
    image = make_image((100, 70), dtype)
    frame = parse(*DectrisV1Encoder(0.0).encode(make_frame(image, compression)))
    assert isinstance(frame, Frame)
    assert frame.header.compression is compression
    assert np.array_equal(decode(frame), image)


@pytest.mark.parametrize("shape", [(1, 3), (13, 24), (70, 80)])
def test_pixels_that_do_not_compress(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 65536, shape).astype("<u2")
    parts = DectrisV1Encoder(0.0).encode(make_frame(image, Compression.LZ4))
    assert b'"lz4<"' in bytes(parts[1])
    assert len(parts[2]) > image.nbytes
    frame = parse(*parts)
    assert isinstance(frame, Frame)
    assert np.array_equal(decode(frame), image)


def test_a_header_of_zeros_is_filled_in() -> None:
    frame = parse_image(bytes(12) + PAYLOAD[12:])
    assert frame.payload == PAYLOAD


@pytest.mark.parametrize("bits", [8, 32])
def test_elements_of_another_size_than_the_pixels(bits: int) -> None:
    elements = np.frombuffer(IMAGE.tobytes(), f"<u{bits // 8}").reshape(13, -1)
    frame = parse_image(encode(elements, Compression.BSLZ4), encoding=f"bs{bits}-lz4<", size=...)
    assert frame.header.compression is Compression.NONE
    assert np.array_equal(decode(frame), IMAGE)


@pytest.mark.parametrize("encoding", ["bs16-lz4<", "bs16lz4<", "bs16-lz4"])
def test_spellings_of_an_encoding(encoding: str) -> None:
    assert parse_image(encoding=encoding).header.compression is Compression.BSLZ4


DAMAGED_IMAGES = [
    ({"encoding": "bs16-lz4>"}, UnknownEncodingError, "'bs16-lz4>'"),
    ({"encoding": "bs16<"}, UnknownEncodingError, "'bs16<'"),
    ({"encoding": "zip"}, UnknownEncodingError, "'zip'"),
    ({"type": "float32"}, UnknownEncodingError, "'float32'"),
    ({"shape": [24, 0]}, GeometryError, "0 x 24"),
    ({"shape": [24, 13, 1]}, MessageError, "Expected `array` of length 2"),
    ({"shape": [24, -13]}, MessageError, "shape"),
    ({"shape": [2**40, 2**40]}, MessageTooLargeError, "limit"),
    ({"shape": [13, 13]}, PayloadError, "declares 624 bytes of pixels, expected 338"),
    ({"encoding": "<"}, PayloadError, "bytes of pixels, expected 624"),
    ({"encoding": "bs32-lz4<"}, PayloadError, "does not decode"),
    ({"size": len(PAYLOAD) + 1}, TruncatedMessageError, "expected"),
    ({"shape": ...}, MessageError, "missing required field `shape`"),
]


@pytest.mark.parametrize(("changes", "error", "text"), DAMAGED_IMAGES)
def test_a_damaged_image_is_named(changes: dict[str, Any], error: type[MessageError], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        parse_image(**changes)
    assert caught.value.frame_id == 42


def test_a_payload_that_lies_or_is_cut() -> None:
    with pytest.raises(PayloadError, match="declares 1248"):
        parse_image(FILTER_HEADER.pack(1248, 8192) + PAYLOAD[12:])
    with pytest.raises(PayloadError, match="5 bytes"):
        parse_image(PAYLOAD[:5], size=...)
    with pytest.raises(UnknownEncodingError, match="as long as its pixels"):
        parse_image(bytes(624), encoding="lz4<")


DAMAGED_MESSAGES = [
    ((), TruncatedMessageError, "without parts"),
    ((b"",), MessageError, "not the JSON"),
    ((b"\xff\xfe",), MessageError, "not the JSON"),
    ((b"[" * 100_000,), MessageError, "not the JSON"),
    ((b"[1]",), MessageError, "not the JSON"),
    ((b"{}",), UnknownEncodingError, "type ''"),
    ((b'{"htype":"dfoo-1.0"}',), UnknownEncodingError, "type 'dfoo-1.0'"),
    ((b'{"htype":"dimage-1.0","series":1}',), MissingFieldError, "image message without 'frame'"),
    (
        (b'{"htype":"dimage-1.0","frame":1}', *[b"{}"] * 3),
        MissingFieldError,
        "image message without 'series'",
    ),
    ((b'{"htype":"dimage-1.0","series":1,"frame":-1}',), MessageError, "frame"),
    ((b'{"htype":"dseries_end-1.0"}',), MissingFieldError, "end message without 'series'"),
    ((IMAGE_PART, pixels(), PAYLOAD), TruncatedMessageError, "4 or 5 parts, got 3"),
    ((IMAGE_PART, PAYLOAD, pixels(), TIMES_PART), MessageError, "not the JSON"),
    ((b" " * (LIMIT + 1),), MessageTooLargeError, "the limit is"),
    ((HEADER.replace(b"basic", b"none"),), MissingFieldError, "set the stream's header_detail to basic"),
    ((HEADER.replace(b"basic", b"none"), b"appendix"), MissingFieldError, "header_detail"),
    ((HEADER, b"[1]"), MessageError, "no JSON object"),
    ((HEADER, b"\xff"), MessageError, "not the JSON"),
    ((b'{"htype":"dheader-1.0"}', config()), MissingFieldError, "header message without 'series'"),
    ((HEADER, config(x_pixels_in_detector=...)), MessageError, "'x_pixels_in_detector' is None"),
    ((HEADER, config(y_pixels_in_detector=0)), GeometryError, "0 x 24"),
    ((HEADER, config(bit_depth_image=12)), UnknownEncodingError, "'uint12'"),
]


@pytest.mark.parametrize(("parts", "error", "text"), DAMAGED_MESSAGES)
def test_a_damaged_message_is_named(parts: tuple[bytes, ...], error: type[MessageError], text: str) -> None:
    with pytest.raises(error, match=text):
        parse(*parts)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_garbage_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(MessageError):
        parse(*parts)
    with pytest.raises(MessageError):
        parse(IMAGE_PART, *parts)


def test_random_damage_raises_nothing_else() -> None:
    rng = random.Random(4)
    messages = [
        [HEADER, config(), *ARRAYS],
        [IMAGE_PART, pixels(), PAYLOAD, TIMES_PART],
        [IMAGE_PART, pixels(encoding="lz4<"), PAYLOAD, TIMES_PART],
        [b'{"htype":"dseries_end-1.0","series":7}'],
    ]
    for _ in range(4000):
        parts = [bytearray(part) for part in rng.choice(messages)]
        for _ in range(rng.randint(1, 4)):
            part = rng.choice(parts)
            part[rng.randrange(len(part))] = rng.randrange(256)
        if rng.random() < 0.2:
            del parts[rng.randrange(len(parts))]
        with suppress(MessageError):
            assert isinstance(parse(*parts), StreamMessage | None)


END_PART = b'{"htype":"dseries_end-1.0","series":7}'


@pytest.mark.parametrize(
    ("pieces"),
    [
        [[HEADER, config()]],
        [[HEADER, config(), b"appendix"], [IMAGE_PART, pixels(), PAYLOAD, TIMES_PART]],
        [
            [FULL_HEADER, config(), *ARRAYS],
            [IMAGE_PART, pixels(), PAYLOAD, TIMES_PART, b"appendix"],
            [END_PART],
        ],
        [
            [IMAGE_PART, pixels(), PAYLOAD, TIMES_PART],
            [IMAGE_PART, pixels(), b"[" * 900, TIMES_PART],
            [END_PART],
        ],
        [[b"garbage"], [END_PART]],
    ],
)
def test_several_messages_in_one(pieces: list[list[bytes]]) -> None:
    parts = [memoryview(part) for piece in pieces for part in piece]
    assert [list(piece) for piece in DectrisV1Parser(LIMIT, LIMIT).split(parts)] == pieces
