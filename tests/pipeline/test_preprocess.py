"""The preprocessing: what must not matter to the networks, and what must come through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.preprocess import (
    CLIP,
    PIXEL_SIZE_A,
    normalise,
    pad_to_multiple,
    resample_to,
)


def vacuum(electrons: float, n: int = 1, size: int = 128, seed: int = 0) -> NDArray[np.float32]:
    """Return frames (n, size, size) of Poisson noise."""
    return np.random.default_rng(seed).poisson(electrons, (n, size, size)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 1000.0), electrons=st.floats(0.5, 100.0))
def test_a_gain_changes_nothing_but_the_level(gain: float, electrons: float) -> None:
    frames = vacuum(electrons)
    plain, scaled = normalise(frames), normalise(frames * np.float32(gain))
    assert scaled.frames == pytest.approx(plain.frames, abs=2e-4)
    assert scaled.level_counts == pytest.approx(gain * plain.level_counts, rel=1e-4)


@pytest.mark.parametrize("electrons", [0.05, 1.0, 12.0, 120.0])
def test_level_and_noise_are_those_of_the_frame(electrons: float) -> None:
    prepared = normalise(vacuum(electrons, size=256))
    assert prepared.level_counts[0] == pytest.approx(electrons, rel=0.05)
    assert prepared.noise[0] == pytest.approx(electrons**-0.5, rel=0.05 if electrons >= 1 else 0.5)
    assert prepared.frames[0, 1] == pytest.approx(np.log(prepared.noise[0]))


def test_channel_0_gives_the_contrast_back() -> None:
    frames = vacuum(50.0)
    prepared = normalise(frames)
    scale = np.sqrt(np.exp(prepared.frames[0, 1]) ** 2 + 0.3**2)
    contrast = prepared.frames[0, 0] * scale
    assert (contrast + 1) * prepared.level_counts[0] == pytest.approx(frames[0], rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 65535.0])
def test_bad_pixels_change_nothing_elsewhere(bad: float) -> None:
    frames = vacuum(12.0)
    spoiled = frames.copy()
    spoiled[0, ::40, ::50] = bad
    good = np.ones(frames.shape[1:], bool)
    good[::40, ::50] = False
    plain, prepared = normalise(frames).frames, normalise(spoiled).frames
    assert np.isfinite(prepared).all()
    assert np.abs(prepared).max() <= CLIP
    assert prepared[0, 0][good] == pytest.approx(plain[0, 0][good], rel=0.02, abs=0.02)


def test_masked_pixels_become_vacuum() -> None:
    frames = vacuum(12.0).astype(np.uint16)
    valid = np.ones((128, 128), bool)
    valid[:, 60:64] = False
    valid[100:] = False
    frames[0][~valid] = 65535
    prepared = normalise(frames, valid)
    assert np.all(prepared.frames[0, 0][~valid] == 0)
    assert prepared.level_counts[0] == pytest.approx(12.0, rel=0.02)
    assert prepared.noise[0] == pytest.approx(12.0**-0.5, rel=0.1)


@pytest.mark.parametrize("hidden", [np.s_[:, :80], np.s_[:80], np.s_[::2, ::2], np.s_[::9, ::7]])
def test_level_and_noise_are_those_of_the_pixels_with_data(hidden: tuple[slice, ...]) -> None:
    """A module that is switched off, or many dead pixels, are not taken for a higher dose."""
    frames = vacuum(12.0).astype(np.uint16)
    valid = np.ones((128, 128), bool)
    valid[hidden] = False
    frames[0][~valid] = 65535
    prepared = normalise(frames, valid)
    assert prepared.level_counts[0] == pytest.approx(12.0, rel=0.02)
    assert prepared.noise[0] == pytest.approx(12.0**-0.5, rel=0.05)
    assert {a.dtype for a in (prepared.level_counts, prepared.noise)} == {np.dtype(np.float32)}


def test_a_frame_without_signal_has_level_0_and_stays_finite() -> None:
    dark = normalise(np.zeros((1, 32, 32), np.uint8))
    assert dark.level_counts[0] == 0
    assert np.isfinite(dark.frames).all()
    hidden = normalise(np.full((1, 32, 32), 7, np.uint8), np.zeros((32, 32), bool))
    assert hidden.level_counts[0] == 0
    assert np.all(hidden.frames[0, 0] == 0)


def test_frames_of_a_batch_do_not_see_each_other() -> None:
    frames = np.concatenate([vacuum(1.0), vacuum(30.0, seed=1)])
    together = normalise(frames).frames
    for i in range(2):
        assert np.array_equal(together[i], normalise(frames[i : i + 1]).frames[0])


@pytest.mark.parametrize(("pixel_A", "shape"), [(0.1, (30, 45)), (0.4, (120, 180)), (0.25, (75, 112))])
def test_resampling_keeps_a_smooth_image(pixel_A: float, shape: tuple[int, int]) -> None:
    """Cosines of few periods, sampled at the new pixels, are what a band-limited resampling must give."""
    y, x = np.arange(60) / 60, np.arange(90) / 90
    smooth = (2 + np.cos(2 * np.pi * 3 * y))[:, None] * (2 + np.sin(2 * np.pi * 5 * x))
    resampled = resample_to(smooth[None], pixel_A)
    assert resampled.shape == (1, *shape)
    y, x = np.arange(shape[0]) / shape[0], np.arange(shape[1]) / shape[1]
    expected = (2 + np.cos(2 * np.pi * 3 * y))[:, None] * (2 + np.sin(2 * np.pi * 5 * x))
    assert resampled[0] == pytest.approx(expected, abs=1e-4)


def test_the_right_pixel_size_is_left_alone() -> None:
    frames = vacuum(3.0)
    assert resample_to(frames, PIXEL_SIZE_A * 1.01) is frames


@settings(max_examples=20, deadline=None)
@given(height=st.integers(20, 60), width=st.integers(20, 60))
def test_padding_goes_to_a_multiple_and_back(height: int, width: int) -> None:
    frames = np.random.default_rng(0).random((1, 2, height, width), np.float32)
    padded = pad_to_multiple(frames)
    assert padded.shape[-2] % 16 == 0
    assert padded.shape[-1] % 16 == 0
    assert np.array_equal(padded[..., :height, :width], frames)
