"""A frame on its way to the networks: masked, resampled, padded."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.prepare import prepare, valid_pixels
from pipeline.preprocess import normalise
from streamer.compression import encode
from streamer.errors import GeometryError, PayloadError
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

TARGET_A = 0.2


def task(
    image: NDArray[np.unsignedinteger],
    saturation_value: int | None = None,
    payload: bytes | None = None,
) -> Task:
    header = FrameHeader(SeriesKey(1), 7, image.shape, image.dtype, Compression.BSLZ4)  # type: ignore[arg-type]
    payload = encode(image, Compression.BSLZ4) if payload is None else payload
    return Task(Frame(header, memoryview(payload)), 12.5, None, saturation_value)


def noise(shape: tuple[int, int] = (64, 96), mean: float = 12.0) -> NDArray[np.uint16]:
    return np.random.default_rng(1).poisson(mean, shape).astype(np.uint16)


def test_the_networks_input_is_the_shared_preprocessing() -> None:
    image = noise()
    prepared = prepare(task(image), 0.2, TARGET_A)
    expected = normalise(image[np.newaxis])
    np.testing.assert_array_equal(prepared.frame, expected.frames[0])
    np.testing.assert_array_equal(prepared.image, image)
    assert prepared.level_counts == expected.level_counts[0]
    assert prepared.noise == expected.noise[0]
    assert prepared.scale == (1.0, 1.0)
    assert prepared.t_received == 12.5
    assert prepared.valid is None


def test_a_frame_is_padded_to_the_networks_multiple() -> None:
    prepared = prepare(task(noise((50, 71))), 0.2, TARGET_A)
    assert prepared.frame.shape == (2, 64, 80)
    assert prepared.network_shape == (50, 71)


def test_another_pixel_size_is_resampled() -> None:
    prepared = prepare(task(noise((64, 96))), 0.3, TARGET_A)
    assert prepared.network_shape == (96, 144)
    assert prepared.frame.shape == (2, 96, 144)
    assert prepared.scale == pytest.approx((2 / 3, 2 / 3))


@pytest.mark.parametrize("hidden", [0, 40])
@pytest.mark.parametrize("pixel_size_A", [0.1, 0.15, 0.3, 0.4])
def test_a_resampled_frame_has_the_noise_of_its_electrons(pixel_size_A: float, hidden: int) -> None:
    """Interpolated pixels have no noise of their own: between them it looks like a hundred times the dose."""
    image = noise((256, 256), mean=12.0)
    image[:, :hidden] = 65535
    expected = 12.0**-0.5 * min(1.0, pixel_size_A / TARGET_A)
    prepared = prepare(task(image), pixel_size_A, TARGET_A)
    assert prepared.noise == pytest.approx(expected, rel=0.06)
    assert prepared.levels.dtype == np.float32


def test_pixels_without_data_or_saturated_do_not_count() -> None:
    image = noise()
    image[3, 4], image[5, 6], image[7, 8] = 65535, 300, 301
    assert valid_pixels(noise(), None) is None
    by_dtype, by_detector = valid_pixels(image, None), valid_pixels(image, 300)
    assert by_dtype is not None
    assert by_detector is not None
    assert np.argwhere(~by_dtype).tolist() == [[3, 4]]
    assert np.argwhere(~by_detector).tolist() == [[3, 4], [5, 6], [7, 8]]


@pytest.mark.parametrize("pixel_size_A", [0.2, 0.25])
def test_masked_pixels_become_vacuum(pixel_size_A: float) -> None:
    """A dead stripe must not shift the level, nor ring when the frame is resampled."""
    image = noise((96, 96), mean=100.0)
    image[:, 40:60] = 65535
    prepared = prepare(task(image), pixel_size_A, TARGET_A)
    assert prepared.level_counts == pytest.approx(100, rel=0.02)
    assert np.abs(prepared.frame[0]).max() < 4
    assert prepared.valid is not None


def test_a_damaged_payload_is_a_message_error() -> None:
    with pytest.raises(PayloadError, match="frame 7"):
        prepare(task(noise(), payload=b"\x00" * 40), 0.2, TARGET_A)


@pytest.mark.parametrize(
    ("shape", "pixel_size_A"), [((16, 200), 0.2), ((64, 64), 0.05), ((256, 256), 2e-11), ((256, 256), 0.0)]
)
def test_a_frame_too_small_to_analyse_is_named(shape: tuple[int, int], pixel_size_A: float) -> None:
    with pytest.raises(GeometryError, match="too small to analyse"):
        prepare(task(noise(shape)), pixel_size_A, TARGET_A)


@pytest.mark.parametrize("pixel_size_A", [20.0, 1e4])
def test_pixels_given_in_a_smaller_unit_are_named_before_there_is_room_made_for_them(
    pixel_size_A: float,
) -> None:
    with pytest.raises(GeometryError, match=r"pixels of .* Å are too large to analyse, at most 3.2 Å"):
        prepare(task(noise()), pixel_size_A, TARGET_A)


def test_a_frame_without_any_data_is_prepared_all_the_same() -> None:
    prepared = prepare(task(np.full((64, 64), 65535, np.uint16)), 0.2, TARGET_A)
    assert np.isfinite(prepared.frame).all()
