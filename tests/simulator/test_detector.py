"""The detector: dose, noise and correlations come out as they went in."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.detector import (
    COUNTING,
    INTEGRATING,
    DetectorSettings,
    deposited_signal,
    gain_map,
    read_out,
    single_frame,
    spread,
)

VACUUM = np.ones((256, 256))


@settings(max_examples=12, deadline=None)
@given(dose=st.floats(5.0, 3000.0), gain=st.floats(1.0, 50.0), gain_spread=st.floats(0.0, 0.5))
def test_mean_is_the_dose_and_variance_that_of_counted_electrons(
    dose: float, gain: float, gain_spread: float
) -> None:
    """The variance of n random signals is gain² n (1 + gain_spread²), a little less when cut at zero."""
    detector = DetectorSettings(dose_e_per_A2=dose, gain_counts=gain, gain_spread=gain_spread)
    signal = deposited_signal(VACUUM, detector, np.random.default_rng(3))
    electrons = detector.electrons_per_pixel
    assert electrons == pytest.approx(dose * 0.04)
    assert signal.mean() == pytest.approx(gain * electrons, rel=0.02)
    assert signal.var() == pytest.approx(gain**2 * electrons * (1 + gain_spread**2), rel=0.05)


def test_twice_the_intensity_gives_twice_the_electrons() -> None:
    frame = single_frame(2.0 * VACUUM, COUNTING, np.random.default_rng(0))
    assert frame.dtype == np.uint16
    assert frame.mean() == pytest.approx(2 * COUNTING.electrons_per_pixel, rel=0.01)


def test_integrating_camera_has_the_correlations_of_real_vacuum_frames() -> None:
    """0.24 with the nearest pixel, 0.37 with the frame before, none with the one before that."""
    detector, rng = replace(INTEGRATING, dose_e_per_A2=15.0, fixed_pattern=0.0), np.random.default_rng(1)
    gains = gain_map((256, 256), detector, rng)
    signals = [deposited_signal(VACUUM, detector, rng) for _ in range(7)]
    frames = np.array([read_out(b, a, gains, detector, rng) for a, b in pairwise(signals)])
    noise = frames - frames.mean(axis=(1, 2), keepdims=True)
    variance = (noise**2).mean()
    assert (noise[:, :, 1:] * noise[:, :, :-1]).mean() / variance == pytest.approx(0.24, abs=0.05)
    assert (noise[1:] * noise[:-1]).mean() / variance == pytest.approx(0.37, abs=0.05)
    assert (noise[2:] * noise[:-2]).mean() / variance == pytest.approx(0.0, abs=0.02)


def test_fixed_pattern_is_the_same_in_every_frame() -> None:
    detector = replace(COUNTING, dose_e_per_A2=1e5, fixed_pattern=0.05)
    rng = np.random.default_rng(2)
    gains = gain_map((64, 64), detector, rng)
    frames = [
        read_out(deposited_signal(np.ones((64, 64)), detector, rng), None, gains, detector, rng) for _ in "ab"
    ]
    assert np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1] > 0.8


def test_spreading_keeps_the_sum() -> None:
    image = np.zeros((9, 9), np.float32)
    image[4, 4] = 1.0
    blurred = spread(image, 0.1)
    assert blurred.sum() == pytest.approx(1.0)
    assert blurred[4, 3] == pytest.approx(0.1 * 0.8)


def test_values_are_cut_at_the_output_type() -> None:
    detector = replace(COUNTING, gain_counts=1000.0, dtype=np.uint8)
    frame = single_frame(VACUUM, detector, np.random.default_rng(0))
    assert frame.dtype == np.uint8
    assert frame.max() == 255
