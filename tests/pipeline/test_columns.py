"""Columns planted at known places with known counts come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.columns import count_distributions, find_columns, find_peaks, measure_columns

SHAPE = (96, 128)
CLASSES = 12
GRID_PX = 16.0
SIGMA_PX = 2.0  # of the networks' training target

Planted = list[tuple[float, float, int, float]]
"""y, x, count and height of each peak."""


@st.composite
def planted_columns(draw: st.DrawFn) -> Planted:
    """Some nodes of a grid, each displaced by up to 3 px."""
    nodes = [
        (y, x) for y in np.arange(12, SHAPE[0] - 8, GRID_PX) for x in np.arange(12, SHAPE[1] - 8, GRID_PX)
    ]
    chosen = draw(st.lists(st.sampled_from(nodes), unique=True, max_size=len(nodes)))
    off = st.floats(-3, 3)
    count = st.integers(1, CLASSES)
    height = st.floats(0.6, 1.0)
    return [(y + draw(off), x + draw(off), draw(count), draw(height)) for y, x in sorted(chosen)]


def bump(y: float, x: float, sigma_px: float = SIGMA_PX) -> NDArray[np.float32]:
    rows, places = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.exp(-((rows - y) ** 2 + (places - x) ** 2) / (2 * sigma_px**2)).astype(np.float32)


def draw_maps(columns: Planted, step: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The maps a perfect network would give; logits favour the nearest column's count by 4."""
    probability = np.zeros(SHAPE, np.float32)
    for y, x, _, height in columns:
        probability = np.maximum(probability, np.float32(height) * bump(y, x))
    coarse = (SHAPE[0] // step, SHAPE[1] // step)
    rows, places = (step * (np.indices(coarse) + 0.5) - 0.5).astype(np.float32)
    distance = np.array([(rows - y) ** 2 + (places - x) ** 2 for y, x, _, _ in columns])
    counts = np.array([count for _, _, count, _ in columns])
    logits = np.zeros((CLASSES, *coarse), np.float32)
    if columns:
        np.put_along_axis(logits, counts[distance.argmin(0)][np.newaxis] - 1, 4.0, axis=0)
    return probability, logits


@settings(deadline=None, max_examples=60)
@given(planted_columns(), st.sampled_from([1, 2]))
def test_planted_columns_come_back(columns: Planted, step: int) -> None:
    found = find_columns(*draw_maps(columns, step), threshold=0.5, min_distance_px=6.0)
    assert len(found) == len(columns)
    for y, x, count, height in columns:
        nearest = found[np.hypot(found["y"] - y, found["x"] - x).argmin()]
        assert np.hypot(nearest["y"] - y, nearest["x"] - x) < 0.05
        assert nearest["count"] == count
        assert nearest["probability"] == pytest.approx(np.exp(4) / (np.exp(4) + CLASSES - 1), abs=1e-3)
        assert 0.9 * height < nearest["detection"] <= height + 1e-6
        assert nearest["track_id"] == -1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_places_stay_accurate_in_eight_bits_and_noise(seed: int) -> None:
    """What bf16 and a network's own noise do to a map: 0.1 px are 0.02 Å."""
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(20, 60, 2)
    noisy = 0.95 * bump(y, x) + rng.normal(0, 0.004, SHAPE)
    image = (np.rint(noisy * 256) / 256).astype(np.float32)
    found_y, found_x, _ = find_peaks(image, 0.5, 6.0)
    assert len(found_y) == 1
    assert np.hypot(found_y[0] - y, found_x[0] - x) < 0.25


def test_a_flat_top_gives_one_column_at_its_centre() -> None:
    image = np.minimum(bump(40.0, 50.0), np.float32(0.7))
    y, x, value = find_peaks(image, 0.5, 6.0)
    assert value.tolist() == pytest.approx([0.7])
    assert np.hypot(y[0] - 40, x[0] - 50) < 1.2  # the top is 3.4 px wide


def test_nothing_is_found_in_nothing() -> None:
    found = measure_columns(np.zeros(SHAPE, np.float32), np.zeros((CLASSES, *SHAPE), np.float32), 0.5, 6.0)
    assert len(found.table) == 0
    assert found.total_atoms == found.total_atoms_std == 0.0


def test_a_peak_is_not_lost_on_the_slope_of_a_higher_one() -> None:
    """Only peaks suppress peaks: 8 px apart both stay, though the slope of one is near the other."""
    image = np.maximum(bump(40, 50), 0.6 * bump(40, 58))
    _, x, _ = find_peaks(image, 0.5, 7.5)
    assert sorted(np.rint(x)) == [50, 58]


def test_of_two_close_peaks_the_higher_stays() -> None:
    image = np.maximum(0.8 * bump(40, 50), 0.9 * bump(40, 56))
    _, x, value = find_peaks(image.astype(np.float32), 0.5, 7.0)
    assert np.rint(x).tolist() == [56]
    assert value.tolist() == pytest.approx([0.9])


def test_of_two_equal_close_peaks_one_stays() -> None:
    image = np.maximum(bump(40, 50), bump(40, 55))
    assert len(find_peaks(image, 0.5, 7.0)[0]) == 1


def test_peaks_below_the_threshold_are_left_out() -> None:
    image = np.maximum(0.49 * bump(20, 30), 0.51 * bump(60, 70)).astype(np.float32)
    assert np.rint(find_peaks(image, 0.5, 6.0)[0]).tolist() == [60]


def test_a_maximum_on_the_edge_is_none() -> None:
    assert len(find_peaks(bump(0.0, 50.0), 0.5, 6.0)[0]) == 0
    assert len(find_peaks(bump(40.0, SHAPE[1] - 1.0), 0.5, 6.0)[0]) == 0


def test_probabilities_are_the_softmax_of_interpolated_logits() -> None:
    logits = np.zeros((2, 4, 4), np.float32)
    logits[0, 1, 2] = 4.0
    got = count_distributions(logits, np.array([1.0, 1.5]), np.array([2.0, 2.25]))
    halfway = 4.0 * 0.5 * 0.75
    expected = [[np.exp(v) / (np.exp(v) + 1), 1 / (np.exp(v) + 1)] for v in (4.0, halfway)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_totals_follow_the_distributions() -> None:
    probability, logits = draw_maps([(30, 40, 3, 0.9), (60, 80, 5, 0.9)])
    p = np.exp(4) / (np.exp(4) + CLASSES - 1)
    classes = np.arange(1, CLASSES + 1)
    distributions = [np.where(classes == k, p, (1 - p) / (CLASSES - 1)) for k in (3, 5)]
    mean = [d @ classes for d in distributions]
    variance = [d @ classes**2 - m**2 for d, m in zip(distributions, mean, strict=True)]
    found = measure_columns(probability, logits, 0.5, 6.0)
    assert found.total_atoms == pytest.approx(sum(mean), rel=1e-4)
    assert found.total_atoms_std == pytest.approx(np.sqrt(sum(variance)), rel=1e-4)
