"""Found columns against true ones."""

import numpy as np
import pytest

from simulator.accuracy import Accuracy, compare_frame, match, total
from simulator.movie import TRUE_COLUMN_DTYPE
from streamer.records import COLUMN_DTYPE

PIXEL_A = 0.2


def columns(dtype: np.dtype, rows: list[tuple[float, float, int]]) -> np.ndarray:
    made = np.zeros(len(rows), dtype)
    for made_row, (y, x, count) in zip(made, rows, strict=True):
        made_row["y"], made_row["x"], made_row["count"] = y, x, count
    return made


def compare(found: list[tuple[float, float, int]], true: list[tuple[float, float, int]]) -> Accuracy:
    rows = columns(COLUMN_DTYPE, found)
    rows["probability"] = 0.75
    return compare_frame(rows, columns(TRUE_COLUMN_DTYPE, true), PIXEL_A)


def test_every_kind_of_column_is_counted_once() -> None:
    true = [(10.0, 10.0, 5), (10.0, 30.0, 6), (30.0, 10.0, 7), (30.0, 30.0, 8)]
    found = [(11.0, 10.0, 5), (10.0, 30.0, 7), (30.0, 10.0, 4), (60.0, 60.0, 2)]  # the last is invented
    accuracy = compare(found, true)
    assert (accuracy.matched, accuracy.exact, accuracy.within_one) == (3, 1, 2)
    summary = accuracy.summary()
    assert summary["missed_share"] == 0.25
    assert summary["false_share"] == 0.25
    assert summary["exact_share"] == pytest.approx(1 / 3)
    assert summary["mean_probability"] == 0.75
    assert summary["total_atoms_error_share"] == pytest.approx(8 / 26)
    assert summary["position_rms_A"] == pytest.approx((0.2**2 / 3) ** 0.5)


def test_a_column_further_off_than_the_radius_is_both_missed_and_false() -> None:
    accuracy = compare([(10.0, 14.1, 3)], [(10.0, 10.0, 3)])  # 0.82 Å
    assert accuracy.matched == 0
    assert compare([(10.0, 13.9, 3)], [(10.0, 10.0, 3)]).matched == 1  # 0.78 Å


def test_two_found_columns_cannot_claim_the_same_true_one() -> None:
    i, j = match(np.array([[0.0, 0.2], [0.0, -0.1]]), np.array([[0.0, 0.0]]), 0.8)
    assert (i.tolist(), j.tolist()) == ([1], [0])


@pytest.mark.parametrize(("found", "true"), [([], [(1.0, 1.0, 1)]), ([(1.0, 1.0, 1)], []), ([], [])])
def test_empty_frames_are_compared_too(
    found: list[tuple[float, float, int]], true: list[tuple[float, float, int]]
) -> None:
    accuracy = compare(found, true)
    assert accuracy.frames == 1
    assert (accuracy.found_columns, accuracy.true_columns) == (len(found), len(true))
    assert np.isnan(accuracy.summary()["exact_share"])


def test_frames_add_up() -> None:
    one = compare([(1.0, 1.0, 2)], [(1.0, 1.0, 2)])
    other = compare([(1.0, 1.0, 2)], [(1.0, 1.0, 3)])
    assert total([one, other]).summary()["exact_share"] == 0.5
    assert total([one, other]).frames == 2
