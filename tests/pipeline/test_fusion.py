"""The forward filter: it stays a probability, settles on a steady stream, and follows a step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.fusion import (
    FusionModel,
    apparent_probabilities,
    beliefs_at_birth,
    count_probabilities,
    predict,
    update_found,
    update_missed,
)

K = 8
RATE = np.array([0.9])
MODEL = FusionModel()


def seen(count: int, certainty: float = 0.5) -> NDArray[np.float64]:
    """What a network says that is fairly sure of a count."""
    distances = np.abs(np.arange(1, K + 1) - count)
    weights = np.exp(-distances / (1.01 - certainty))
    return (weights / weights.sum())[None]


def after(frames: list[int], model: FusionModel = MODEL) -> NDArray[np.float64]:
    """The probabilities of 0 … K after frames that show these counts (0: nothing was found)."""
    beliefs = beliefs_at_birth(K, np.array([0.1]), np.zeros(1), model)
    for count in frames:
        beliefs = predict(beliefs, model)
        beliefs = (
            update_found(beliefs, seen(count), RATE, model) if count else update_missed(beliefs, RATE, model)
        )
    return count_probabilities(beliefs)[0]


models = st.builds(
    FusionModel,
    tempering=st.floats(0.01, 1.0),
    outliers=st.floats(1e-3, 0.5),
    renewal=st.floats(0.0, 0.2),
    change=st.floats(0.0, 0.2),
    jump=st.floats(1e-6, 0.01),
    false_rate=st.floats(1e-3, 0.5),
)


@settings(deadline=None, max_examples=30)
@given(models, st.lists(st.integers(0, K), max_size=30))
def test_beliefs_are_always_probabilities(model: FusionModel, frames: list[int]) -> None:
    counts = after(frames, model)
    assert counts.sum() == pytest.approx(1.0)
    assert (counts >= 0.0).all()


@settings(deadline=None, max_examples=30)
@given(models, st.integers(1, 4))
def test_looking_away_only_makes_less_certain(model: FusionModel, n: int) -> None:
    beliefs = update_found(
        beliefs_at_birth(K, np.full(n, 0.1), np.zeros(n), model),
        np.repeat(seen(3), n, 0),
        np.full(n, 0.9),
        model,
    )
    later = predict(beliefs, model)
    np.testing.assert_allclose(later.sum(axis=(1, 2)), 1.0)
    assert (count_probabilities(later).max(axis=1) <= count_probabilities(beliefs).max(axis=1) + 1e-9).all()


@settings(deadline=None, max_examples=8)
@given(st.integers(2, K - 1))
def test_a_steady_stream_is_believed_as_far_as_the_standing_error_allows(count: int) -> None:
    for frames in (60, 300):
        counts = after([count] * frames)
        assert counts.argmax() == count
        assert (
            0.6 < counts[count] < 0.85
        )  # a standing error is none in 0.7 of all columns, however long it lasts


def test_without_standing_errors_a_steady_stream_is_certain() -> None:
    assert after([5] * 60, FusionModel(errors=(0.0, 1.0, 0.0)))[5] > 0.98


@pytest.mark.parametrize("step", [-1, 1])
def test_a_step_of_one_atom_is_found_and_known_as_well_as_the_count_before(step: int) -> None:
    before, later = after([5] * 60), after([5] * 60 + [5 + step] * 60)
    assert later.argmax() == 5 + step
    assert later[5 + step] == pytest.approx(before[5], abs=0.15)


def born(standing_false: float, frames: list[int], grown: float = 0.3) -> NDArray[np.float64]:
    """The probabilities of 0 … K at a place where something is found late, more likely noise than an atom."""
    model = FusionModel(standing_false=standing_false)
    beliefs = beliefs_at_birth(K, np.array([0.6]), np.array([grown]), model)
    for count in frames:
        beliefs = (
            update_found(beliefs, seen(count, 0.9), RATE, model)
            if count
            else update_missed(beliefs, RATE, model)
        )
        beliefs = predict(beliefs, model)
    return count_probabilities(beliefs)[0]


def test_what_is_found_again_and_again_is_believed_where_false_finds_do_not_stand() -> None:
    assert born(0.01, [1])[0] > 0.2
    assert born(0.01, [1] * 15)[1] > 0.85
    assert born(0.01, [1] * 15)[0] < 0.05 < born(0.5, [1] * 15)[0]


def test_noise_looks_like_one_atom_so_more_are_sooner_believed() -> None:
    assert born(0.01, [4, 4])[0] < 0.5 * born(0.01, [1, 1])[0]


def test_one_strange_frame_changes_nothing() -> None:
    assert after([5] * 30 + [1]).argmax() == 5


def test_a_column_that_is_missed_now_and_then_stays_and_one_that_is_gone_goes() -> None:
    assert after([5, 5, 5, 0] * 10).argmax() == 5
    assert after([5] * 30 + [0] * 60)[0] > 0.8


def test_the_apparent_count_is_the_true_one_and_the_standing_error() -> None:
    beliefs = np.zeros((1, K + 1, 3))
    beliefs[0, 4, 0], beliefs[0, 0, 2] = 0.75, 0.25  # 4 atoms that look like 3; nothing that looks like 1
    np.testing.assert_allclose(apparent_probabilities(beliefs)[0, [1, 3]], [0.25, 0.75])


def test_frames_that_are_averages_say_less_each() -> None:
    model = MODEL.for_average_of(10)
    assert after([5] * 6, model)[5] < after([5] * 6)[5]
