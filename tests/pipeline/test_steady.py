"""Frames held steady: drift in the frame's own pixels, and averages in the newest one's place."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from pipeline.prepare import PreparedFrame, prepare
from pipeline.steady import Steadier
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

from .test_drift import particle

DOSE = 30.0  # electrons a pixel


def frame(rng: np.random.Generator, dy: float, dx: float, series: int = 1) -> PreparedFrame:
    image = rng.poisson(DOSE * (1 + particle(dy, dx))).astype(np.uint16)
    header = FrameHeader(SeriesKey(series), 0, image.shape, image.dtype, Compression.NONE)
    return prepare(Task(Frame(header, memoryview(image.tobytes())), 0.0, 0.2, None), 0.2, 0.2)


def test_without_averaging_a_frame_only_gets_its_drift() -> None:
    rng, steadier = np.random.default_rng(1), Steadier(1)
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


def test_what_comes_into_view_is_no_noisier_than_the_rest() -> None:
    rng, steadier = np.random.default_rng(5), Steadier(16)
    for k in range(40):
        steady = steadier.steady(frame(rng, 0.5 * k, 0))
    image = steady.frame[0]
    new, old = (float(np.diff(image[rows, :24], axis=1).std()) for rows in (slice(0, 4), slice(24, 60)))
    assert new < 1.3 * old, "rows at the top have been in view for less than eight frames"


def test_every_series_begins_anew() -> None:
    rng, steadier = np.random.default_rng(3), Steadier(8)
    for k in range(5):
        steadier.steady(frame(rng, k, 0))
    fresh = frame(rng, 3, 3, series=2)
    steady = steadier.steady(fresh)
    assert steady.drift_px == (0.0, 0.0)
    np.testing.assert_allclose(steady.frame[0], fresh.frame[0], atol=0.05)
