"""Drift of a particle with a lattice comes back to a fraction of a pixel."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.drift import DriftMeter
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy

SHAPE = (192, 256)
SPACING_PX = 14.0
NOISE = 0.05


def particle(dy: float = 0.0, dx: float = 0.0, sign: float = 1.0) -> NDArray[np.float32]:
    """A round crystal of Gaussian atoms, shifted."""
    image = np.zeros(SHAPE)
    rows, places = np.arange(SHAPE[0])[:, None], np.arange(SHAPE[1])[:, None]
    nodes = SPACING_PX * np.stack(np.meshgrid(range(-4, 5), range(-4, 5)), -1).reshape(-1, 2)
    nodes = nodes[np.hypot(*nodes.T) < 3.5 * SPACING_PX]
    y, x = nodes.T + np.array([[SHAPE[0] / 2 + dy], [SHAPE[1] / 2 + dx]])
    image += sign * 0.5 * np.exp(-((rows - y) ** 2) / 18) @ np.exp(-((places - x) ** 2) / 18).T
    return image.astype(np.float32)


@settings(deadline=None, max_examples=15)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_steps_add_up(dy: float, dx: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    meter = DriftMeter()
    for frame in range(5):
        noise = rng.normal(0, NOISE, SHAPE).astype(np.float32)
        found = meter.shift_px(particle(frame * dy, frame * dx) + noise)
        assert found == pytest.approx((frame * dy, frame * dx), abs=0.25)


def test_the_sign_of_the_contrast_does_not_matter() -> None:
    """A change of focus may turn bright atoms dark."""
    meter = DriftMeter()
    meter.shift_px(particle())
    assert meter.shift_px(particle(2.3, -1.6, sign=-1.0)) == pytest.approx((2.3, -1.6), abs=0.1)


def test_frames_that_show_nothing_leave_the_particle_where_it_was() -> None:
    """With the beam blanked a peak of noise is no place; a few such steps make up half a lattice spacing."""
    rng, meter = np.random.default_rng(1), DriftMeter()
    for _ in range(20):
        meter.shift_px(particle() + rng.normal(0, NOISE, SHAPE).astype(np.float32))
    blank = [meter.shift_px(rng.normal(0, 0.2, SHAPE).astype(np.float32)) for _ in range(15)]
    assert np.abs(blank).max() < 0.5
    assert meter.shift_px(particle(0.5, 0.0)) == pytest.approx((0.5, 0.0), abs=0.25)


def test_a_frame_of_another_shape_has_no_drift() -> None:
    meter = DriftMeter()
    meter.shift_px(particle())
    assert all(isnan(shift) for shift in meter.shift_px(particle()[:-2]))


def test_a_particle_lost_in_noise_is_followed_by_the_average_of_the_frames_before() -> None:
    """One frame shows nothing to go by: noise more than twice the contrast."""
    rng = np.random.default_rng(1)
    meter, errors = DriftMeter(), []
    for frame in range(80):
        true = 0.1 * frame, -0.07 * frame
        noisy = particle(*true) + rng.normal(0, 1.2, SHAPE).astype(np.float32)
        errors.append(np.subtract(meter.shift_px(noisy), true))
    late = np.array(errors[30:])
    assert np.sqrt(((late - np.median(late, axis=0)) ** 2).mean()) < 0.5


@pytest.mark.parametrize("noise", [0.05, 1.2])
def test_on_a_device_the_shifts_are_the_same_and_none_is_looked_at(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are queued without waiting: not a value reaches the host before the end."""
    cuda = CudaDouble(seed=3)
    cupy = make_cupy(cuda)
    rng = np.random.default_rng(4)
    true = [(0.4 * k, -0.3 * k, -1.0 if k == 5 else 1.0) for k in range(12)]
    frames = [particle(*t) + rng.normal(0, noise, SHAPE).astype(np.float32) for t in true]
    there = [cupy.asarray(frame) for frame in frames]
    here, meter = DriftMeter(), DriftMeter()
    looks: list[str] = []
    for look in ("get", "__bool__", "__float__", "__int__", "tolist", "item"):
        monkeypatch.setattr(cupy.ndarray, look, lambda *_, look=look: looks.append(look), raising=False)
    shifts = [meter.shift(frame, cupy) for frame in there]
    assert looks == []
    monkeypatch.undo()
    for frame, shift in zip(frames, shifts, strict=True):
        assert cupy.asnumpy(shift) == pytest.approx(here.shift_px(frame), abs=1e-5)
    assert np.isnan(cupy.asnumpy(meter.shift(there[0][:-2], cupy))).all()
