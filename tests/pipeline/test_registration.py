"""The shift between two sets of columns comes back, also over more than a lattice vector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import registration
from pipeline.registration import find_shift, pairs_within

REACH = 5.0


def lattice(rng: np.random.Generator, sites: int = 9) -> NDArray[np.float64]:
    """A round crystal with a few columns missing at its edge."""
    nodes = 14.0 * np.stack(np.meshgrid(range(sites), range(sites)), -1).reshape(-1, 2)
    inside = np.hypot(*(nodes - nodes.mean(axis=0)).T) < 7.0 * sites
    return nodes[inside][rng.random(int(inside.sum())) > 0.05]


@settings(deadline=None, max_examples=25)
@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_a_small_shift_comes_back_with_columns_missed_and_invented(dy: float, dx: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = lattice(rng)
    found = known[rng.random(len(known)) > 0.3] + np.array([dy, dx])
    found = np.concatenate([found + rng.normal(0, 0.3, found.shape), rng.uniform(0, 120, (6, 2))])
    shift, share = find_shift(found, known, np.ones(len(known)), [np.zeros(2)], REACH)
    assert shift == pytest.approx((dy, dx), abs=0.4)
    assert share > 0.4


def test_a_jump_is_found_by_the_most_frequent_difference() -> None:
    rng = np.random.default_rng(3)
    known = lattice(rng)
    found = known + np.array([-37.3, 21.4]) + rng.normal(0, 0.3, known.shape)
    shift, _ = find_shift(found, known, np.ones(len(known)), [np.zeros(2)], REACH)
    assert shift == pytest.approx((-37.3, 21.4), abs=0.3)


def test_nothing_found_leaves_the_guess() -> None:
    guess = np.array([1.0, 2.0])
    shift, share = find_shift(np.empty((0, 2)), np.ones((3, 2)), np.ones(3), [guess], REACH)
    assert shift is guess
    assert share == 0.0


@pytest.mark.parametrize(("n_found", "n_known"), [(1, 1), (2, 3), (5, 30), (9, 190), (120, 110)])
def test_places_that_have_nothing_to_do_with_each_other_leave_the_guess(n_found: int, n_known: int) -> None:
    """False finds in vacuum, or of a blanked beam, do not overrule what the images say."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found, known = rng.uniform(0, 512, (n_found, 2)), rng.uniform(0, 512, (n_known, 2))
        shift, _ = find_shift(found, known, np.ones(n_known), [np.zeros(2)], REACH)
        assert np.hypot(*shift) < REACH


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_pairs_are_mutual_by_either_way_of_looking(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, known = rng.uniform(0, 30, (n, 2)), rng.uniform(0, 30, (m, 2))
    few = pairs_within(found, known, REACH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "_FEW_PAIRS", 0)
        many = pairs_within(found, known, REACH)
    np.testing.assert_array_equal(few, many)
    assert len(set(few[0])) == len(few[0])
    assert len(set(few[1])) == len(few[1])
