"""Drift of a particle with a lattice comes back to a fraction of a pixel."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.drift import DriftMeter

SHAPE = (192, 256)
SPACING_PX = 14.0


def particle(dy: float = 0.0, dx: float = 0.0, sign: float = 1.0) -> NDArray[np.float32]:
    """A round crystal of Gaussian atoms, shifted."""
    image = np.ones(SHAPE)
    rows, places = np.arange(SHAPE[0])[:, None], np.arange(SHAPE[1])[:, None]
    nodes = SPACING_PX * np.stack(np.meshgrid(range(-4, 5), range(-4, 5)), -1).reshape(-1, 2)
    nodes = nodes[np.hypot(*nodes.T) < 3.5 * SPACING_PX]
    y, x = nodes.T + np.array([[SHAPE[0] / 2 + dy], [SHAPE[1] / 2 + dx]])
    image += sign * 0.5 * np.exp(-((rows - y) ** 2) / 18) @ np.exp(-((places - x) ** 2) / 18).T
    return image.astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(st.floats(-25, 25), st.floats(-25, 25), st.integers(0, 2**32 - 1))
def test_a_shift_comes_back(dy: float, dx: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.05, (2, *SHAPE)).astype(np.float32)
    meter = DriftMeter()
    assert meter.shift_px(particle() + noise[0]) == (0.0, 0.0)
    found = meter.shift_px(particle(dy, dx) + noise[1])
    assert found == pytest.approx((dy, dx), abs=0.5)


def test_the_sign_of_the_contrast_does_not_matter() -> None:
    """A change of focus may turn bright atoms dark."""
    meter = DriftMeter()
    meter.shift_px(particle())
    assert meter.shift_px(particle(5.3, -8.6, sign=-1.0)) == pytest.approx((5.3, -8.6), abs=0.3)


def test_a_frame_of_another_shape_has_no_drift() -> None:
    meter = DriftMeter()
    meter.shift_px(particle())
    assert all(isnan(shift) for shift in meter.shift_px(particle()[:-2]))
