"""Figures of merit from known answers."""

import numpy as np
import pytest

from streamer.records import COLUMN_DTYPE
from training.evaluate import calibration, summary
from training.score import ROW_DTYPE, compare, equal_parts


def found_columns(rows: list[tuple[float, float, int, float]]) -> np.ndarray:
    """Return columns as `find_columns` does, from (y, x, count, probability)."""
    table = np.zeros(len(rows), COLUMN_DTYPE)
    for name, values in zip(("y", "x", "count", "probability"), zip(*rows, strict=True), strict=True):
        table[name] = values
    return table


def test_pairs_misses_and_false_columns_are_told_apart() -> None:
    true = np.array([(10, 10, 4), (30, 30, 5), (60, 60, 6)], [("y", "f4"), ("x", "f4"), ("count", "i2")])
    found = found_columns([(11.0, 10.0, 4, 0.9), (30.0, 30.0, 7, 0.6), (90.0, 90.0, 2, 0.5)])
    rows = compare(found, true, frame=3)
    assert set(rows["frame"]) == {3}
    assert sorted(zip(rows["true_count"], rows["found_count"], strict=True)) == [
        (0, 2),
        (4, 4),
        (5, 7),
        (6, 0),
    ]
    result = summary(rows)
    assert result["columns"] == 3
    assert result["exact"] == pytest.approx(0.5)
    assert result["within_one"] == pytest.approx(0.5)
    assert result["missed"] == pytest.approx(1 / 3)
    assert result["false"] == pytest.approx(1 / 3)
    assert result["position_rms_pm"] == pytest.approx(100 * np.sqrt(0.2**2 / 2), rel=1e-3)


def test_where_nothing_was_found_nothing_was_exact_and_everything_missed() -> None:
    rows = np.zeros(1, ROW_DTYPE)
    rows["true_count"] = 6
    result = summary(rows)
    assert (result["exact"], result["missed"], result["calibration_error"]) == (0.0, 1.0, 0.0)


def test_calibration_error_is_the_gap_between_claimed_and_true() -> None:
    rows = np.zeros(100, ROW_DTYPE)
    rows["true_count"], rows["found_count"], rows["probability"] = 5, 5, 0.9
    rows["found_count"][:40] = 6
    assert calibration(rows)[0] == pytest.approx(0.3, abs=1e-6)


def test_each_value_is_in_one_range_however_many_are_the_same() -> None:
    thickness_nm = np.repeat([0.0, 3.2, 6.4, 7.6, 9.9, 10.0], [4, 5, 9, 6, 8, 4])
    parts = list(equal_parts(thickness_nm))
    assert np.sum([which for _, _, which in parts], axis=0).tolist() == [1] * len(thickness_nm)
    for low, high, which in parts:
        assert low <= thickness_nm[which].min() <= thickness_nm[which].max() <= high
    assert [int(which.sum()) for _, _, which in equal_parts(np.arange(10.0))] == [2] * 5
