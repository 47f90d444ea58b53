"""Tabulated Poisson counts against the distribution itself."""

import numpy as np
import pytest
from scipy.stats import chisquare, poisson

from simulator.counting import draw_counts, make_table


@pytest.mark.parametrize("electrons", [0.4, 12.0, 80.0])
@pytest.mark.parametrize("intensity", [0.25, 1.0, 3.5])
def test_counts_follow_the_poisson_distribution(electrons: float, intensity: float) -> None:
    field = np.full((512, 512), intensity, np.float32)
    counts = draw_counts(field, make_table(4.0, electrons), np.random.default_rng(7)).ravel()
    mean = electrons * intensity
    low, high = poisson.ppf([1e-3, 1 - 1e-3], mean).astype(int)
    inside = np.clip(counts.astype(int), low, high)
    seen = np.bincount(inside - low, minlength=high - low + 1)
    edges = np.concatenate([[0.0], poisson.cdf(np.arange(low, high), mean), [1.0]])
    assert chisquare(seen, np.diff(edges) * counts.size).pvalue > 1e-4


def test_an_empty_pixel_stays_empty_and_a_negative_one_counts_as_empty() -> None:
    table = make_table(2.0, 30.0)
    counts = draw_counts(np.array([[0.0, -0.3]]), table, np.random.default_rng(1))
    assert counts.tolist() == [[0, 0]]


def test_counts_above_a_byte_are_not_cut() -> None:
    counts = draw_counts(np.full((64, 64), 4.0), make_table(4.0, 200.0), np.random.default_rng(1))
    assert counts.dtype == np.uint16
    assert counts.mean() == pytest.approx(800.0, rel=0.01)
