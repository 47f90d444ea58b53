"""Whatever happens to a Stream V2 message's bytes, it is a record or a MessageError, soon and cheaply."""

import random
import tracemalloc
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.cbor_envelope import MAP, read_expected, read_text
from streamer.dectris_v2 import DectrisV2Parser
from streamer.dectris_v2_encode import DectrisV2Encoder
from streamer.dectris_v2_image import read_image
from streamer.dectris_v2_usual import read_usual_image
from streamer.errors import MessageError, TruncatedMessageError
from streamer.records import Frame, SeriesStart, StreamMessage
from tests.streamer.frames import LIMIT, make_frame, make_image, messages, same

T0 = 1_700_000_000.0
PARSER = DectrisV2Parser("", LIMIT, LIMIT)
USUAL = DectrisV2Encoder(T0).encode(make_frame(make_image(), t=T0 + 0.5))[0]


def parse(message: bytes) -> StreamMessage:
    return PARSER.parse([memoryview(message)])


def parse_generally(message: bytes) -> Frame:
    """Read an image without the short cut for the usual layout."""
    view = memoryview(message)
    entries, at = read_expected(view, 3, MAP)
    for _ in range(2):
        _, at = read_text(view, at)
    return read_image(view, at, entries - 1, "", LIMIT)


@given(messages)
def test_what_is_encoded_comes_back(message: StreamMessage) -> None:
    encoded = DectrisV2Encoder(T0).encode(message)[0]
    parsed = parse(encoded)
    if isinstance(message, SeriesStart):
        assert isinstance(parsed, SeriesStart)
        assert parsed.header == encoded
        message = SeriesStart(
            message.key, message.n_frames_planned, message.shape, message.dtype, message.channel,
            message.pixel_size_A, message.frame_time_s, message.saturation_value, encoded, parsed.extra,
        )  # fmt: skip
    assert same(parsed, message)


@given(st.data(), messages)
def test_a_truncated_message_is_refused(data: st.DataObject, message: StreamMessage) -> None:
    encoded = DectrisV2Encoder(T0).encode(message)[0]
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(TruncatedMessageError):
        parse(encoded[:cut])


@settings(max_examples=500)
@given(st.data(), messages)
def test_flipped_bits_raise_nothing_else(data: st.DataObject, message: StreamMessage) -> None:
    encoded = bytearray(DectrisV2Encoder(T0).encode(message)[0])
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, min(len(encoded) - 1, 400)))] ^= data.draw(st.integers(1, 255))
    with suppress(MessageError):
        assert isinstance(parse(bytes(encoded)), StreamMessage)


def test_every_flip_of_the_envelope_reads_the_same_with_and_without_the_short_cut() -> None:
    taken = 0
    for at in range(3, len(USUAL) - len(make_frame(make_image()).payload) + 12):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(USUAL)
            damaged[at] ^= flip
            usual = read_usual_image(memoryview(damaged), "", LIMIT)
            if usual is not None:
                taken += 1
                assert same(usual, parse_generally(bytes(damaged)))
    assert taken > 100


def test_random_damage_raises_nothing_else() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        damaged = bytearray(USUAL)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(min(len(damaged), 300))] = rng.randrange(256)
        if rng.random() < 0.5:
            at = rng.randrange(len(damaged))
            damaged[at:at] = rng.randbytes(rng.randint(1, 9))
        with suppress(MessageError):
            assert isinstance(parse(bytes(damaged)), StreamMessage)


@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    for head in (
        b"",
        b"\xd9\xd9\xf7",
        b"\xa3\x64type\x65image",
        b"\xa3\x64type\x65start",
        b"\xa3\x64type\x63end",
    ):
        with pytest.raises(MessageError):
            parse(head + garbage)


scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats()


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    tagged = st.builds(cbor2.CBORTag, st.integers(0, 2**64 - 1), inner)
    return st.lists(inner) | st.dictionaries(st.text(), inner) | tagged


@given(st.recursive(scalars, nested, max_leaves=20))
def test_any_unknown_field_is_skipped(value: object) -> None:
    fields = dict(cbor2.loads(USUAL, tag_hook=lambda tag, immutable: tag))
    odd = {"type": fields.pop("type"), "unknown": value, **fields}
    frame = parse(cbor2.dumps(odd, string_referencing=False))
    assert isinstance(frame, Frame)
    assert frame.payload == make_frame(make_image()).payload


LYING_LENGTHS = [
    b"\xa2\x64type\x65image\x64data\xa1\x61a\xd8\x28\x82\x82\x1a\x7f\xff\xff\xff\x1a\x7f\xff\xff\xff\xd8\x45\x40",
    b"\xa2\x64type\x65image\x64data\x5b\0\0\0\xff\xff\xff\xff\xff",
    b"\xa2\x64type\x65image\x64data\xbb\0\0\0\xff\xff\xff\xff\xff",
    b"\xa2\x64type\x65start\x64data\x9b\0\0\0\xff\xff\xff\xff\xff",
    b"\xba\xff\xff\xff\xff\x64type\x65start",
    b"\xba\xff\xff\xff\xff\x64type\x63end",
]


@pytest.mark.parametrize("message", LYING_LENGTHS)
def test_a_lying_length_costs_no_memory(message: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(MessageError):
        parse(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
