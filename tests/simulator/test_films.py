"""Carbon films: what they do to a wave, how they are laid, and their split."""

import numpy as np
import pytest

from simulator.films import film_wave, laid, split_of_films
from simulator.multislice import MultisliceSettings

GRID = MultisliceSettings(pixels=96, oversampling=1.0, slice_thickness_A=3.0)


def test_a_film_scatters_more_the_thicker_it_is_and_keeps_the_mean_intensity() -> None:
    thin, thick = (film_wave(thickness_A, 3, GRID) for thickness_A in (8.0, 16.0))
    assert thin.shape == (96, 96)
    for wave in (thin, thick):
        assert np.mean(np.abs(wave) ** 2) == pytest.approx(1.0, abs=0.02)
    scattered = [np.std(wave) for wave in (thin, thick)]
    assert 1.2 < scattered[1] / scattered[0] < 1.8  # √2 for weak, independent scattering


def test_a_laid_film_has_the_same_pixels_in_other_places() -> None:
    wave = np.arange(36.0).reshape(6, 6).astype(np.complex64)
    ways = [laid(wave, np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.array_equal(np.sort(way.real, axis=None), np.arange(36.0)) for way in ways)
    assert len({way.tobytes() for way in ways}) > 15


def test_films_are_split_and_more_films_leave_the_split_of_the_first() -> None:
    split = split_of_films(44)
    assert np.bincount(split).tolist() == [32, 4, 8]
    assert np.array_equal(split[:20], split_of_films(20))
