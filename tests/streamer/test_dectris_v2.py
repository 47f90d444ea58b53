"""DECTRIS Stream V2: golden bytes, a captured head, an independent decoder, and all a sender may vary."""

import json
import struct
from datetime import UTC, datetime
from math import isnan
from typing import Any

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag

from streamer.compression import FILTER_HEADER, decode, encode
from streamer.dectris_v2 import DectrisV2Parser
from streamer.dectris_v2_encode import DectrisV2Encoder
from streamer.errors import (
    GeometryError,
    MessageError,
    MessageTooLargeError,
    MissingFieldError,
    PayloadError,
    TruncatedMessageError,
    UnknownEncodingError,
)
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart
from tests.streamer import dectris_reference
from tests.streamer.frames import KEY, LIMIT, make_frame, make_image

T0 = 1_700_000_000.0

# Head of the first image of a series taken with an EIGER 1M at MAX IV, up to the payload of 25473 bytes.
CAPTURED_HEAD = bytes.fromhex(
    "d9d9f7a9 6474797065 65696d616765 697365726965735f6964 10 707365726965735f756e697175655f6964"
    "781a 303148524346434d0000".replace("303148524346434d0000", b"01HRCJF83SA63WH8M5X1VBKFJM".hex())
    + "68696d6167655f6964 00 697265616c5f74696d65 82 1a02f69d93 1a02faf080 6b7365726965735f64617465 c0 781d"
    + b"2024-03-07T14:43:35.200+01:00".hex()
    + "6a73746172745f74696d65 82 00 1a02faf080 6973746f705f74696d65 82 1a02faee11 1a02faf080"
    "6464617461 a1 6b7468726573686f6c645f31 d828 82 82 190429 190406 d846 d9dcb4 83 6562736c7a34 04 596381"
)
CAPTURED_PAYLOAD = bytes.fromhex("000000000042f3d8 00002000 0000002b 1f000100") + bytes(25473 - 20)

GOLDEN_IMAGE = bytes.fromhex(
    "d9d9f7 a9 64 74797065 65 696d616765 69 7365726965735f6964 07 70 7365726965735f756e697175655f6964 61 61"
    "68 696d6167655f6964 18 2a"
    "69 7265616c5f74696d65 82 19 c350 1a 02faf080"
    "6b 7365726965735f64617465 c0 78 20"
    + b"2023-11-14T22:13:20.000000+00:00".hex()
    + "6a 73746172745f74696d65 82 1a 017d7840 1a 02faf080 69 73746f705f74696d65 82 1a 017e3b90 1a 02faf080"
    "64 64617461 a1 6b 7468726573686f6c645f31 d828 82 82 02 03 d845 4c 010002000300040005000600"
)
GOLDEN_END = bytes.fromhex(
    "d9d9f7 a3 64 74797065 63 656e64 69 7365726965735f6964 07 70 7365726965735f756e697175655f6964 61 61"
)


def parse(message: bytes, channel: str = "") -> SeriesStart | Frame | SeriesEnd:
    return DectrisV2Parser(channel, LIMIT * 16, LIMIT * 16).parse([memoryview(message)])


def parse_image(message: bytes, channel: str = "") -> Frame:
    frame = parse(message, channel)
    assert isinstance(frame, Frame)
    return frame


def array(image: np.ndarray, compression: Compression = Compression.BSLZ4) -> CBORTag:
    tag = {"|u1": 64, "<u2": 69, "<u4": 70}[image.dtype.str]
    payload: Any = encode(image, compression)
    if compression is not Compression.NONE:
        payload = CBORTag(56500, [compression.value, image.dtype.itemsize, payload])
    return CBORTag(40, [list(image.shape), CBORTag(tag, payload)])


def image_fields(**changes: Any) -> dict[str, Any]:
    """Return an image message's fields; a change to `...` takes the field away."""
    fields = {
        "type": "image",
        "series_id": 7,
        "series_unique_id": KEY.unique_id,
        "image_id": 5,
        "real_time": [1, 50_000_000],
        "series_date": CBORTag(0, "2023-11-14T22:13:20Z"),
        "start_time": [25_000_000, 50_000_000],
        "stop_time": [25_000_001, 50_000_000],
        "data": {"threshold_1": array(make_image())},
    } | changes
    return {name: value for name, value in fields.items() if value is not ...}


def dumps(fields: Any) -> bytes:
    return cbor2.dumps(CBORTag(55799, fields))


def start_fields(**changes: Any) -> dict[str, Any]:
    fields = {
        "type": "start",
        "series_id": 7,
        "series_unique_id": "a",
        "arm_date": CBORTag(0, "2023-11-14T22:13:20Z"),
        "channels": ["threshold_1"],
        "image_dtype": "uint16",
        "image_size_x": 24,
        "image_size_y": 13,
        "number_of_images": 100,
        "frame_time": 0.5,
    } | changes
    return {name: value for name, value in fields.items() if value is not ...}


def test_the_captured_message_is_found() -> None:
    frame = parse_image(CAPTURED_HEAD + CAPTURED_PAYLOAD)
    date = datetime(2024, 3, 7, 13, 43, 35, 200_000, tzinfo=UTC).timestamp()
    assert frame.header == FrameHeader(
        SeriesKey(16, "01HRCJF83SA63WH8M5X1VBKFJM"), 0, (1065, 1030), np.dtype("<u4"), Compression.BSLZ4, date
    )
    assert frame.payload == CAPTURED_PAYLOAD


def test_golden_image() -> None:
    image = np.arange(1, 7, dtype="<u2").reshape(2, 3)
    header = FrameHeader(SeriesKey(7, "a"), 42, (2, 3), image.dtype, Compression.NONE, T0 + 0.5)
    encoder = DectrisV2Encoder(T0)
    encoder.encode(SeriesStart(header.key, 0, (2, 3), frame_time_s=0.001))
    assert encoder.encode(Frame(header, memoryview(image).cast("B")))[0] == GOLDEN_IMAGE
    frame = parse_image(GOLDEN_IMAGE)
    assert frame.header == header
    assert decode(frame).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_golden_end() -> None:
    assert DectrisV2Encoder(T0).encode(SeriesEnd(SeriesKey(7, "a"))) == [GOLDEN_END]
    assert parse(GOLDEN_END) == SeriesEnd(SeriesKey(7, "a"))


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_an_independent_decoder_reads_our_images(dtype: str, compression: Compression) -> None:
    image = make_image((130, 250), dtype)
    message = DectrisV2Encoder(T0).encode(make_frame(image, compression, 70_000, T0 + 0.25))[0]
    fields = dectris_reference.decode(message)
    assert message[:3] == b"\xd9\xd9\xf7"
    assert list(fields) == [
        "type",
        "series_id",
        "series_unique_id",
        "image_id",
        "real_time",
        "series_date",
        "start_time",
        "stop_time",
        "data",
    ]
    assert (fields["image_id"], *fields["start_time"]) == (70_000, 12_500_000, 50_000_000)
    assert np.array_equal(fields["data"]["threshold_1"], image)
    assert np.array_equal(decode(parse_image(message)), image)


def test_an_independent_decoder_reads_our_start() -> None:
    start = SeriesStart(
        KEY,
        300,
        (13, 24),
        np.dtype("<u2"),
        "threshold_2",
        0.1,
        0.01,
        60_000,
        extra={"detector_description": "X"},
    )
    message = DectrisV2Encoder(T0).encode(start)[0]
    fields = dectris_reference.decode(message)
    assert next(iter(fields)) == "type"
    assert (fields["image_size_x"], fields["image_size_y"], fields["image_dtype"]) == (24, 13, "uint16")
    assert (fields["frame_time"], fields["saturation_value"]) == (0.01, 60_000)
    assert list(fields["channels"]) == ["threshold_2"]
    assert (fields["user_data"], fields["detector_description"]) == ({"pixel_size_A": 0.1}, "X")
    parsed = parse(message)
    assert isinstance(parsed, SeriesStart)
    assert (parsed.key, parsed.shape, parsed.dtype, parsed.channel) == (
        KEY,
        (13, 24),
        np.dtype("<u2"),
        "threshold_2",
    )
    assert (parsed.pixel_size_A, parsed.frame_time_s, parsed.saturation_value) == (0.1, 0.01, 60_000)
    assert (parsed.n_frames_planned, parsed.header) == (300, message)


def test_the_payload_is_a_view_into_the_message() -> None:
    message = bytearray(DectrisV2Encoder(T0).encode(make_frame(make_image(), t=T0))[0])
    frame = parse_image(message)  # type: ignore[arg-type]
    message[-1] ^= 0xFF
    assert frame.payload[-1] == message[-1]


@pytest.mark.parametrize("changes", [{}, {"user_data": {"a": [1.5, None, True, b"x"]}}, {"real_time": ...}])
def test_keys_may_come_in_any_order(changes: dict[str, Any]) -> None:
    fields = image_fields(**changes)
    expected = parse_image(dumps(fields))
    names = list(fields)[1:]
    for shift in range(len(names)):
        order = ["type", *names[shift:], *names[:shift]]
        frame = parse_image(dumps({name: fields[name] for name in order}))
        assert frame == expected
    assert expected.header.t_detector == T0 + 0.5


def test_the_self_describing_tag_is_optional() -> None:
    assert parse_image(cbor2.dumps(image_fields())) == parse_image(dumps(image_fields()))


@pytest.mark.parametrize(
    "changes",
    [
        {"series_date": ...},
        {"series_date": None},
        {"series_date": "yesterday"},
        {"series_date": CBORTag(0, 5)},
        {"start_time": ...},
        {"start_time": None},
        {"start_time": [1, 0]},
        {"start_time": [1, 2, 3]},
        {"start_time": [1.5, 1]},
        {"start_time": [2**64 - 1, 1]},
        {"series_date": "2" * 100},
        {"series_date": "0001-01-01T00:00:00Z"},
    ],
)
def test_an_unknown_time_loses_no_frame(changes: dict[str, Any]) -> None:
    frame = parse_image(dumps(image_fields(**changes)))
    assert isnan(frame.header.t_detector)
    assert np.array_equal(decode(frame), make_image())


@pytest.mark.parametrize(
    "date", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20.000000+01:00", "2023-11-14T22:13:20"]
)
def test_dates_with_and_without_a_zone(date: str) -> None:
    assert parse_image(dumps(image_fields(series_date=date))).header.t_detector == T0 + 0.5


@pytest.mark.parametrize("unique_id", [..., None, 5])
def test_a_series_without_unique_id(unique_id: Any) -> None:
    assert parse_image(dumps(image_fields(series_unique_id=unique_id))).header.key == SeriesKey(7)


def test_integers_in_any_width() -> None:
    short = dumps(image_fields())
    long = short.replace(b"\x69series_id\x07", b"\x69series_id\x1b\0\0\0\0\0\0\0\x07")
    assert parse_image(long) == parse_image(short)


def test_a_channel_is_chosen_by_name() -> None:
    low, high = make_image(seed=1), make_image(seed=2)
    message = dumps(image_fields(data={"threshold_1": array(low), "threshold_2": array(high)}))
    assert np.array_equal(decode(parse_image(message)), low)
    assert np.array_equal(decode(parse_image(message, "threshold_2")), high)
    with pytest.raises(MissingFieldError, match="no channel 'difference' in the image") as error:
        parse_image(message, "difference")
    assert "there are threshold_1, threshold_2" in str(error.value)
    assert error.value.frame_id == 5


def test_a_channel_is_chosen_where_there_is_one() -> None:
    message = dumps(image_fields())
    assert parse_image(message, "threshold_1") == parse_image(message)
    with pytest.raises(MissingFieldError, match="no channel 'threshold_2' in the image"):
        parse_image(message, "threshold_2")


def test_two_series_with_the_same_layout_stay_apart() -> None:
    parser = DectrisV2Parser("", LIMIT, LIMIT)
    for series, date in (
        (1, "2023-11-14T22:13:20Z"),
        (2, "2023-11-14T22:13:21Z"),
        (1, "2023-11-14T22:13:20Z"),
    ):
        message = dumps(image_fields(series_id=series, series_date=CBORTag(0, date)))
        frame = parser.parse([memoryview(message)])
        assert isinstance(frame, Frame)
        assert (frame.header.key.series_id, frame.header.t_detector) == (series, T0 + series - 0.5)


IMAGE = make_image()
PAYLOAD = encode(IMAGE, Compression.BSLZ4)


def nested(*levels: Any) -> dict[str, Any]:
    """Return a data field of tag 40, dimensions, type tag and pixels."""
    outer, dimensions, kind, pixels = levels
    return {"threshold_1": CBORTag(outer, [dimensions, CBORTag(kind, pixels)])}


def compressed(algorithm: str = "bslz4", item_bytes: Any = 2, payload: Any = PAYLOAD) -> CBORTag:
    return CBORTag(56500, [algorithm, item_bytes, payload])


DAMAGED_IMAGES = [
    ({"data": nested(1040, [13, 24], 69, compressed())}, UnknownEncodingError, "column-major"),
    (
        {"data": nested(41, [13, 24], 69, compressed())},
        UnknownEncodingError,
        "tag 41 for an image, expected 40",
    ),
    (
        {"data": nested(40, [13, 24], 71, compressed())},
        UnknownEncodingError,
        "type tag 71, expected one of 64, 68",
    ),
    ({"data": nested(40, [13, 24], 85, compressed())}, UnknownEncodingError, "type tag 85"),
    ({"data": nested(40, [13, 24], 65, compressed())}, UnknownEncodingError, "type tag 65"),
    ({"data": nested(40, [13, 24, 1], 69, compressed())}, GeometryError, "3 dimensions"),
    ({"data": nested(40, [0, 24], 69, compressed())}, GeometryError, "0 x 24"),
    ({"data": nested(40, [2**62, 2**62], 69, compressed())}, MessageTooLargeError, "limit"),
    ({"data": nested(40, [2**64 - 1, 1], 69, compressed())}, MessageError, "less than 2\\*\\*63"),
    (
        {"data": nested(40, [-13, 24], 69, compressed())},
        MessageError,
        "expected an unsigned integer.*negative",
    ),
    ({"data": nested(40, [13.0, 24], 69, compressed())}, MessageError, "expected an unsigned integer"),
    (
        {"data": nested(40, [24, 24], 69, compressed())},
        PayloadError,
        "declares 624 bytes of pixels, expected 1152",
    ),
    ({"data": nested(40, [13, 24], 69, compressed("bszstd"))}, UnknownEncodingError, "'bszstd'"),
    ({"data": nested(40, [13, 24], 69, compressed("none"))}, UnknownEncodingError, "'none'"),
    (
        {"data": nested(40, [13, 24], 69, compressed(item_bytes=1))},
        UnknownEncodingError,
        "elements of 1 bytes",
    ),
    ({"data": nested(40, [13, 24], 69, compressed(payload=b"short"))}, PayloadError, "5 bytes"),
    ({"data": nested(40, [13, 24], 69, compressed(payload="text"))}, MessageError, "expected a byte string"),
    ({"data": nested(40, [13, 24], 69, CBORTag(56501, b""))}, UnknownEncodingError, "tag 56501"),
    (
        {"data": nested(40, [13, 24], 69, CBORTag(56500, ["bslz4", PAYLOAD]))},
        MessageError,
        "expected 3 items",
    ),
    ({"data": nested(40, [13, 24], 69, bytes(623))}, PayloadError, "623 bytes of pixels, expected 624"),
    ({"data": nested(40, [13, 24], 69, [1, 2])}, MessageError, "expected a byte string.*got an array"),
    ({"data": {}}, MissingFieldError, "without a channel"),
    ({"data": {str(n): 0 for n in range(65)}}, UnknownEncodingError, "65 channels, expected at most 64"),
    ({"data": [1]}, MessageError, "expected a map"),
    ({"data": {5: 1}}, MessageError, "expected a text string"),
    ({"data": ...}, MissingFieldError, "without 'data'"),
    ({"series_id": ...}, MissingFieldError, "without 'series_id'"),
    ({"series_id": 2**63}, MessageError, "expected less than"),
    ({"series_id": "7"}, MessageError, "expected an unsigned integer.*text string"),
]


@pytest.mark.parametrize(("changes", "error", "text"), DAMAGED_IMAGES)
def test_a_damaged_image_is_named(changes: dict[str, Any], error: type[MessageError], text: str) -> None:
    fields = image_fields(**changes)
    fields = {"type": "image", "image_id": fields["image_id"]} | fields
    with pytest.raises(error, match=text) as caught:
        parse(dumps(fields))
    assert caught.value.frame_id == 5


@pytest.mark.parametrize("image_id", [..., None, -1, 2**63, "5"])
def test_an_image_without_a_usable_id(image_id: Any) -> None:
    with pytest.raises(MessageError, match=r"image_id|integer") as caught:
        parse(dumps(image_fields(image_id=image_id)))
    assert caught.value.frame_id is None


def test_a_size_field_that_lies() -> None:
    payload = FILTER_HEADER.pack(2 * IMAGE.nbytes, 8192) + PAYLOAD[12:]
    message = dumps(image_fields(data=nested(40, [13, 24], 69, compressed(payload=payload))))
    with pytest.raises(PayloadError, match="declares 1248 bytes of pixels, expected 624"):
        parse(message)


DAMAGED_MESSAGES = [
    (b"", TruncatedMessageError, "after 0 bytes"),
    (b"\xd9\xd9\xf7", TruncatedMessageError, "after 3 bytes"),
    (b"\xd9\xd9\xf7\xa0", MessageError, "empty"),
    (dumps([1, 2]), MessageError, "expected a map at byte 3, got an array"),
    (b"HTTP/1.1 200 OK\r\n", MessageError, "expected a map at byte 0, got a byte string"),
    (dumps({"series_id": 1, "type": "image"}), MessageError, "first key is 'series_id', expected 'type'"),
    (dumps({"type": "trigger"}), UnknownEncodingError, "type 'trigger', expected start, image or end"),
    (dumps({"type": 1}), MessageError, "expected a text string"),
    (dumps(image_fields()) + b"\0", MessageError, "1 bytes stand after the end"),
    (dumps({"type": "end", "series_id": 1}) + b"\0", MessageError, "1 bytes stand after the end"),
    (dumps(start_fields()) + b"\0", MessageError, "1 bytes stand after the end"),
    (b"\xa3\x64type\x65image\x68image_id\x05", TruncatedMessageError, "ends within the item"),
    (b"\xa3\x64type\x65image\x68image_id\x05\x68image_id\x05", MessageError, "'image_id' comes twice"),
    (b"\xbf\x64type\x65image\xff", UnknownEncodingError, "indefinite-length"),
    (b"\xa2\x64type\x65image\x61a\x9f\x01\xff", UnknownEncodingError, "indefinite-length"),
    (b"\xa2\x64type\x65image\x61a\x9b" + b"\xff" * 8, TruncatedMessageError, "at least"),
    (b"\xa2\x64type\x65image\x61a\x5b" + b"\xff" * 8, TruncatedMessageError, "at least"),
    (b"\xbb" + b"\xff" * 8 + b"\x64type\x65image", UnknownEncodingError, "entries, expected at most"),
    (b"\xa2\x64type\x65image\x62\xff\xff\x01", MessageError, "not UTF-8"),
    (
        b"\xa2\x64type\x65image\x61a" + b"\x81" * 200_000 + b"\x01",
        UnknownEncodingError,
        "more than 100000 items",
    ),
    (
        b"\xa2\x64type\x65start\x61a" + b"\x81" * 5_000 + b"\x01",
        MessageError,
        "not valid CBOR: maximum container",
    ),
]


@pytest.mark.parametrize(("message", "error", "text"), DAMAGED_MESSAGES)
def test_a_damaged_message_is_named(message: bytes, error: type[MessageError], text: str) -> None:
    with pytest.raises(error, match=text):
        parse(message)


def test_several_messages_in_one() -> None:
    """Tickit sends a start and its first image as two parts of one ZeroMQ message."""
    parser = DectrisV2Parser("", LIMIT, LIMIT)
    parts = [memoryview(dumps(start_fields())), memoryview(dumps(image_fields())), memoryview(GOLDEN_END)]
    kinds = [type(parser.parse(piece)) for piece in parser.split(parts)]
    assert kinds == [SeriesStart, Frame, SeriesEnd]
    assert parser.split(parts[:1]) == (parts[:1],)


def test_the_limits() -> None:
    message = dumps(image_fields())
    with pytest.raises(MessageTooLargeError, match="the limit is 100: raise message_limit_bytes"):
        DectrisV2Parser("", 100, LIMIT).parse([memoryview(message)])
    with pytest.raises(MessageTooLargeError, match="the limit is 623: raise frame_limit_bytes") as caught:
        DectrisV2Parser("", LIMIT, 623).parse([memoryview(message)])
    assert caught.value.frame_id == 5
    with pytest.raises(MessageError, match="one part, got 2"):
        DectrisV2Parser("", LIMIT, LIMIT).parse([memoryview(message)] * 2)


@pytest.mark.parametrize("dtype", [..., None, "uint8", "uint16", "uint32"])
def test_the_start_may_leave_the_dtype_open(dtype: Any) -> None:
    start = parse(dumps(start_fields(image_dtype=dtype)))
    assert isinstance(start, SeriesStart)
    assert start.dtype == (np.dtype(dtype) if isinstance(dtype, str) else None)
    assert (start.shape, start.n_frames_planned, start.frame_time_s) == ((13, 24), 100, 0.5)


@pytest.mark.parametrize(
    ("user_data", "expected"),
    [
        ({"pixel_size_A": 0.2}, 0.2),
        (json.dumps({"pixel_size_A": 1}), 1.0),
        ({}, None),
        (None, None),
        ("not JSON", None),
        ("[" * 100_000, None),
        ([1], None),
        ({"pixel_size_A": -1}, None),
        ({"pixel_size_A": float("inf")}, None),
        ({"pixel_size_A": "0.2"}, None),
        ({"pixel_size_A": True}, None),
    ],
)
def test_the_pixel_size_comes_from_the_user_data(user_data: Any, expected: float | None) -> None:
    start = parse(dumps(start_fields(user_data=user_data)))
    assert isinstance(start, SeriesStart)
    assert start.pixel_size_A == expected


def test_a_start_as_full_as_detectors_send_it() -> None:
    mask = CBORTag(40, [[13, 24], CBORTag(70, compressed(item_bytes=4, payload=b"x" * 20))])
    fields = start_fields(
        flatfield=None,
        pixel_mask={"threshold_1": mask},
        threshold_energy={"threshold_1": 6750.1, "other": 1},
        goniometer={"chi": {"increment": 0.0, "start": 30.0}},
        countrate_correction_lookup_table=None,
        arm_date="no date",
        channels=["1"],
        saturation_value=-1,
        user_data="note",
        odd=CBORTag(35, "(a+)+$"),
        shared=CBORTag(28, [CBORTag(29, 0)]),
        when=CBORTag(0, "whenever"),
    )
    start = parse(dumps(fields), "threshold_1")
    assert isinstance(start, SeriesStart)
    assert (start.channel, start.saturation_value) == ("threshold_1", None)
    assert start.extra["threshold_energy"] == {"threshold_1": 6750.1, "other": 1}
    assert start.extra["pixel_mask"] == {}
    assert (start.extra["odd"], start.extra["shared"], start.extra["when"]) == ("(a+)+$", [0], "whenever")
    json.dumps(start.extra)


DAMAGED_STARTS = [
    ({"image_size_x": ...}, MissingFieldError, "start message without 'image_size_x'"),
    ({"series_id": ...}, MissingFieldError, "start message without 'series_id'"),
    ({"image_size_y": 0}, GeometryError, "0 x 24"),
    ({"image_size_y": "13"}, MessageError, "'image_size_y' is '13', expected an unsigned integer"),
    ({"image_size_y": 2**40}, MessageTooLargeError, "limit"),
    ({"image_dtype": "float32"}, UnknownEncodingError, "uint8, uint16 or uint32, got 'float32'"),
    ({"image_dtype": ["uint8"]}, UnknownEncodingError, "uint8, uint16 or uint32"),
    ({"series_id": True}, MessageError, "'series_id' is True"),
]


@pytest.mark.parametrize(("changes", "error", "text"), DAMAGED_STARTS)
def test_a_damaged_start_is_named(changes: dict[str, Any], error: type[MessageError], text: str) -> None:
    with pytest.raises(error, match=text):
        parse(dumps(start_fields(**changes)))


def test_the_head_of_a_large_frame_uses_wider_lengths() -> None:
    image = np.zeros((300, 300), "<u4")
    message = DectrisV2Encoder(T0).encode(make_frame(image, Compression.NONE, 2**40, T0 + 1))[0]
    assert struct.pack(">BI", 0x5A, image.nbytes) in message
    assert parse_image(message).header.frame_id == 2**40
