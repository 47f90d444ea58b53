"""Payloads: pixels come back bit for bit, other programs read them, and damage never passes for a frame."""

import io
import random
import struct
from collections.abc import Iterator
from contextlib import suppress

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import compression as module
from streamer.compression import FILTER_HEADER, check_payload, decode, decoder_name, encode
from streamer.errors import (
    GeometryError,
    MessageTooLargeError,
    PayloadError,
    UnknownEncodingError,
    UsageError,
)
from streamer.pixels import checked_shape, nodata_mask, nodata_value, pixel_dtype
from streamer.records import Compression, Frame
from tests.streamer.frames import frames, make_frame, make_image

COMPRESSED = [Compression.BSLZ4, Compression.LZ4]
FILTERS = {
    Compression.BSLZ4: hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
    Compression.LZ4: hdf5plugin.LZ4(),
}


@pytest.fixture(autouse=True, scope="module", params=["dectris-compression", "hdf5plugin"])
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test with each of the two decoders."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "hdf5plugin":
            patch.setattr(module, "dectris_decompress", None)
        elif module.dectris_decompress is None:
            pytest.skip("dectris-compression is not installed")
        yield request.param


def test_the_decoder_tells_its_name(decoder: str) -> None:
    assert decoder_name().split()[0] == decoder
    assert decoder_name().split()[1][0].isdecimal()


def with_payload(frame: Frame, payload: bytes) -> Frame:
    return Frame(frame.header, memoryview(payload))


@given(frames())
def test_pixels_come_back(frame: Frame) -> None:
    image = decode(frame)
    assert image.shape == frame.header.shape
    assert image.dtype == frame.header.dtype
    assert encode(image, frame.header.compression) == frame.payload
    check_payload(frame.header, frame.payload)


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_every_dtype_and_compression(dtype: str, compression: Compression) -> None:
    image = make_image((257, 129), dtype)
    frame = make_frame(image, compression)
    decoded = decode(frame)
    assert np.array_equal(decoded, image)
    assert decoded.dtype == image.dtype
    assert not decoded.flags.writeable


def test_big_endian_and_strided_images_are_sent_as_they_look() -> None:
    image = make_image((20, 30))
    assert encode(image.astype(">u2"), Compression.BSLZ4) == encode(image, Compression.BSLZ4)
    assert encode(image[::2, ::3], Compression.NONE) == image[::2, ::3].tobytes()


@pytest.mark.parametrize("dtype", ["<u2", "<u4", "f4"])
def test_decoding_into_a_buffer_converts(dtype: str) -> None:
    image = make_image((20, 30))
    batch = np.zeros((2, 20, 30), dtype)
    assert decode(make_frame(image), batch[1]).base is batch
    assert np.array_equal(batch[1], image)
    assert not batch[0].any()


def test_a_buffer_must_fit() -> None:
    frame = make_frame(make_image((20, 30)))
    with pytest.raises(ValueError, match="shape"):
        decode(frame, np.zeros((2, 20, 30), "<u2"))
    with pytest.raises(TypeError):
        decode(frame, np.zeros((20, 30), "u1"))


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_a_payload_is_an_hdf5_chunk(dtype: str, compression: Compression) -> None:
    image = make_image((100, 200), dtype)
    with h5py.File(io.BytesIO(), "w") as file:
        shape = (1, *image.shape)
        dataset = file.create_dataset("d", shape, dtype, chunks=shape, **FILTERS[compression])
        dataset.id.write_direct_chunk((0, 0, 0), encode(image, compression))
        assert np.array_equal(dataset[0], image)


def test_an_independent_decoder_agrees() -> None:
    image = make_image((300, 200), "<u4")
    payload = encode(image, Compression.BSLZ4)
    bitshuffle = pytest.importorskip("bitshuffle", reason="it has no wheels here")
    blocks = np.frombuffer(payload, np.uint8, offset=12)
    assert np.array_equal(bitshuffle.decompress_lz4(blocks, image.shape, image.dtype, 2048), image)


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("declared", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_size_that_lies(declared: int, compression: Compression) -> None:
    image = make_image((100, 200))
    payload = FILTER_HEADER.pack(declared, 8192) + encode(image, compression)[12:]
    frame = with_payload(make_frame(image, compression), payload)
    with pytest.raises(
        PayloadError, match=f"declares {declared} bytes of pixels, expected 40000 for 100 x 200"
    ):
        check_payload(frame.header, frame.payload)
    if compression is Compression.BSLZ4:
        assert np.array_equal(decode(frame), image)
    else:
        with pytest.raises(PayloadError, match=f"declaring {declared}"):
            decode(frame)


def test_a_header_of_zeros_is_read_by_the_shape() -> None:
    image = np.full((512, 512), 3, "<u2")
    payload = bytes(12) + encode(image, Compression.BSLZ4)[12:]
    assert np.array_equal(decode(with_payload(make_frame(image), payload)), image)


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 100, -1])
def test_a_short_payload(length: int, compression: Compression) -> None:
    frame = make_frame(make_image((100, 200)), compression, frame_id=9)
    with pytest.raises(PayloadError, match=r"frame 9: the .* does not decode to the 40000 bytes") as error:
        decode(with_payload(frame, bytes(frame.payload)[:length]))
    assert error.value.frame_id == 9


def test_a_short_payload_with_a_size_that_lies_low() -> None:
    """A decoder that believes the size field returns half a frame without an error."""
    image = make_image((128, 128))
    payload = FILTER_HEADER.pack(image.nbytes // 2, 8192) + encode(image[:64], Compression.BSLZ4)[12:]
    with pytest.raises(PayloadError):
        decode(with_payload(make_frame(image), payload))


@pytest.mark.parametrize("length", [0, 623, 625])
def test_uncompressed_pixels_of_the_wrong_length(length: int) -> None:
    frame = with_payload(make_frame(make_image(), Compression.NONE, frame_id=4), bytes(length))
    for check in (lambda: decode(frame), lambda: check_payload(frame.header, frame.payload)):
        with pytest.raises(PayloadError, match=f"{length} bytes of pixels, expected 624") as error:
            check()
        assert error.value.frame_id == 4


@pytest.mark.parametrize("compression", COMPRESSED)
def test_random_damage_raises_nothing_else(compression: Compression) -> None:
    rng = random.Random(2)
    frame = make_frame(make_image((100, 200)), compression)
    for _ in range(1000):
        payload = bytearray(frame.payload)
        for _ in range(rng.randint(1, 6)):
            payload[rng.randrange(rng.choice((16, len(payload))))] = rng.randrange(256)
        if rng.random() < 0.3:
            del payload[rng.randrange(len(payload)) :]
        with suppress(PayloadError):
            assert decode(with_payload(frame, bytes(payload))).shape == (100, 200)


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    frame = make_frame(make_image((100, 200)))
    for head in (b"", FILTER_HEADER.pack(40000, 8192), struct.pack(">QII", 40000, 8192, 50)):
        with pytest.raises(PayloadError):
            decode(with_payload(frame, head + garbage))


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2), "i2"), np.zeros((2, 2), "f4"), np.zeros((2, 2), "u8"), np.zeros(4, "u1"),
              np.zeros((0, 4), "u1")]
)  # fmt: skip
def test_what_is_no_frame_is_not_encoded(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="frames are images of uint8, uint16 or uint32"):
        encode(image, Compression.BSLZ4)


@pytest.mark.parametrize(("dtype", "value"), [("u1", 255), ("<u2", 65535), ("<u4", 4294967295)])
def test_pixels_without_data(dtype: str, value: int) -> None:
    image = make_image((5, 6), dtype)
    assert nodata_value(image.dtype) == value
    assert np.argwhere(nodata_mask(image)).tolist() == [[4, 0]]


def test_pixel_types_and_shapes() -> None:
    assert pixel_dtype("uint16") == pixel_dtype("<u2") == np.dtype("<u2")
    for name in ("int16", ">u2", "uint64", "", None, ["u1"]):
        with pytest.raises(UnknownEncodingError):
            pixel_dtype(name)
    assert checked_shape(10, 20, 2, 400) == (10, 20)
    with pytest.raises(MessageTooLargeError, match="takes 400 bytes, the limit is 399"):
        checked_shape(10, 20, 2, 399)
    with pytest.raises(GeometryError):
        checked_shape(10, 0, 2, 399)
