"""Frames held steady: drift in the frame's own pixels, and averages in the newest one's place."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.prepare import PreparedFrame, prepare
from pipeline.recent import RecentFrames, laid_over
from pipeline.steady import Steadier
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

from .test_drift import particle

DOSE = 30.0  # electrons a pixel


def frame(
    rng: np.random.Generator,
    dy: float,
    dx: float,
    series: int = 1,
    dose: float = DOSE,
    rows: int = 1000,
) -> PreparedFrame:
    return prepared_of(rng.poisson(dose * (1 + particle(dy, dx)))[:rows], 0.2, series)


def prepared_of(counts: NDArray[np.int64], pixel_size_A: float, series: int = 1) -> PreparedFrame:
    image = counts.astype(np.uint16)
    header = FrameHeader(SeriesKey(series), 0, image.shape, image.dtype, Compression.NONE)
    return prepare(
        Task(Frame(header, memoryview(image.tobytes())), 0.0, pixel_size_A, None), pixel_size_A, 0.2
    )


def test_without_averaging_a_frame_only_gets_its_drift() -> None:
    rng, steadier = np.random.default_rng(1), Steadier()
    assert all(isnan(shift) for shift in frame(rng, 0, 0).drift_px)
    steadier.steady(frame(rng, 0, 0))
    moved = frame(rng, 2.5, -1.5)
    steady = steadier.steady(moved)
    assert steady.drift_px == pytest.approx((2.5, -1.5), abs=0.2)
    assert steady.frame is moved.frame
    assert replace(steady, drift=moved.drift) == moved


def test_the_average_lies_over_the_newest_frame_and_has_less_noise() -> None:
    rng, steadier = np.random.default_rng(2), Steadier(16)
    for k in range(40):
        single = frame(rng, 0.5 * k, -0.25 * k)
        steady = steadier.steady(single)
    assert steady.noise == pytest.approx(single.noise / 4, rel=0.25)
    clean = particle(0.5 * 39, -0.25 * 39)

    def likeness(prepared: PreparedFrame) -> float:
        return float(np.corrcoef(prepared.frame[0][:192, :256].ravel(), clean.ravel())[0, 1])

    assert likeness(steady) > 0.6 > 1.5 * likeness(single)


def vacuum(rng: np.random.Generator, dose: float) -> PreparedFrame:
    return prepared_of(rng.poisson(dose, (128, 128)), 0.2)


@pytest.mark.parametrize("dark", [0.0, 0.02])
def test_frames_with_the_beam_off_are_in_no_average(dark: float) -> None:
    rng, steadier = np.random.default_rng(8), Steadier(average_frames=5)
    before = [steadier.steady(vacuum(rng, 10.0)) for _ in range(10)][-1]
    for _ in range(3):
        single = vacuum(rng, dark)
        np.testing.assert_array_equal(steadier.steady(single).frame, single.frame)
    assert steadier.steady(vacuum(rng, 10.0)).noise == pytest.approx(before.noise, rel=0.05)


@pytest.mark.parametrize("later", [1.0, 100.0])
def test_another_dose_begins_another_average(later: float) -> None:
    rng, steadier = np.random.default_rng(8), Steadier(average_frames=5)
    for _ in range(8):
        steadier.steady(vacuum(rng, 10.0))
    for _ in range(16):
        steady = steadier.steady(single := vacuum(rng, later))
    assert steady.noise == pytest.approx(single.noise / np.sqrt(5), rel=0.15)


def test_what_comes_into_view_is_no_noisier_than_the_rest() -> None:
    rng, steadier = np.random.default_rng(5), Steadier(16)
    for k in range(40):
        steady = steadier.steady(frame(rng, 0.5 * k, 0))
    image = steady.frame[0]
    new, old = (float(np.diff(image[rows, :24], axis=1).std()) for rows in (slice(0, 4), slice(24, 60)))
    assert new < 1.3 * old, "rows at the top have been in view for less than eight frames"


def test_an_average_of_resampled_frames_has_the_noise_of_its_electrons() -> None:
    rng, steadier = np.random.default_rng(5), Steadier(average_frames=4)
    for _ in range(12):
        averaged = steadier.steady(prepared_of(rng.poisson(12.0, (128, 128)), 0.4))
    assert averaged.noise == pytest.approx((4 * 12.0) ** -0.5, rel=0.1)


def test_every_series_begins_anew() -> None:
    rng, steadier = np.random.default_rng(3), Steadier(8)
    for k in range(5):
        steadier.steady(frame(rng, k, 0))
    fresh = frame(rng, 3, 3, series=2)
    steady = steadier.steady(fresh)
    assert steady.drift_px == (0.0, 0.0)
    np.testing.assert_allclose(steady.frame[0], fresh.frame[0], atol=0.05)


def test_older_frames_come_along_laid_over_the_newest() -> None:
    rng, steadier = np.random.default_rng(7), Steadier(denoise_frames=5)
    for k in range(8):
        single = frame(rng, 3.0 * k, -2.0 * k)
        steady = steadier.steady(single)
    assert steady.frame.shape == (6, *single.frame.shape[1:])
    np.testing.assert_array_equal(steady.frame[:2], single.frame)
    assert steady.noise == single.noise
    clean = particle(3.0 * 7, -2.0 * 7)[20:-20, 20:-20]

    def likeness(image: np.ndarray) -> float:  # type: ignore[type-arg]
        inner = image[: clean.shape[0] + 40, : clean.shape[1] + 40][20:-20, 20:-20]
        return float(np.corrcoef(inner.ravel(), clean.ravel())[0, 1])

    alone = likeness(steady.frame[0])
    assert [likeness(older) for older in steady.frame[2:]] == pytest.approx([alone] * 4, abs=0.1)
    assert likeness(steady.frame[[0, 2, 3, 4, 5]].mean(0)) > 1.4 * alone


def test_at_the_start_the_oldest_frame_stands_for_the_missing_ones() -> None:
    rng, steadier = np.random.default_rng(8), Steadier(denoise_frames=5)
    first = steadier.steady(frame(rng, 0, 0)).frame
    for older in first[2:]:
        np.testing.assert_allclose(older, first[0], rtol=1e-5)
    second = steadier.steady(frame(rng, 0, 0)).frame
    assert not np.allclose(second[2], second[0])
    for older in second[3:]:
        np.testing.assert_array_equal(older, second[2])


def test_older_frames_do_not_bring_their_mirrored_edges_along() -> None:
    """180 rows are padded to 192: what lies beyond the frame must not move into it."""
    rng, steadier = np.random.default_rng(9), Steadier(denoise_frames=2)
    for k in range(2):
        single = frame(rng, -6.0 * k, 0, rows=180)
        steady = steadier.steady(single)
    assert single.frame.shape[1:] == (192, 256)
    newest, older = steady.frame[0], steady.frame[2]
    np.testing.assert_allclose(older[174:180], newest[174:180], rtol=1e-5)  # not in view before
    assert not np.allclose(older[168:174], newest[168:174])
    np.testing.assert_array_equal(older[180:192], older[167:179][::-1])


def test_a_frame_with_the_beam_off_joins_no_other() -> None:
    rng, steadier = np.random.default_rng(10), Steadier(denoise_frames=5)
    before = steadier.steady(frame(rng, 0, 0))
    for dose in (0.0, 0.02):
        dark = steadier.steady(frame(rng, 0, 0, dose=dose))
        for older in dark.frame[2:]:
            np.testing.assert_allclose(older, dark.frame[0], rtol=1e-5)
    after = steadier.steady(frame(rng, 0, 0))
    assert np.abs(after.frame[2:]).max() < 32.0, "what the dark frames hold reaches the clip"
    np.testing.assert_allclose(after.frame[2], after.frame[3], rtol=1e-5)
    assert np.corrcoef(after.frame[2].ravel(), before.frame[0].ravel())[0, 1] > 0.999


def test_a_series_begins_without_the_frames_of_the_one_before() -> None:
    rng, steadier = np.random.default_rng(11), Steadier(denoise_frames=3)
    steadier.steady(frame(rng, 0, 0))
    fresh = steadier.steady(frame(rng, 0, 0, series=2))
    for older in fresh.frame[2:]:
        np.testing.assert_allclose(older, fresh.frame[0], rtol=1e-5)


def test_a_frame_without_a_place_stays_alone() -> None:
    image = np.random.default_rng(12).normal(size=(2, 16, 16)).astype(np.float32)
    recent = RecentFrames(3)
    recent.with_next(image, image[0], 0.3, (0, 0), np)
    other = image[:, ::-1].copy()
    alone = recent.with_next(other, other[0], 0.3, None, np)
    np.testing.assert_array_equal(alone[2], alone[3])
    after = recent.with_next(image, image[0], 0.3, (0, 0), np)
    np.testing.assert_array_equal(after[2], after[3])


def test_what_comes_into_view_is_the_newest_frames() -> None:
    beneath, image = np.zeros((4, 6)), np.arange(24.0).reshape(4, 6) + 1
    moved = laid_over(beneath, image, (1, -2), np)
    np.testing.assert_array_equal(moved[1:, :4], image[:3, 2:])
    assert not moved[0].any()
    assert not moved[:, 4:].any()
    assert not laid_over(beneath, image, (9, 0), np).any()
    assert not beneath.any()
