"""What a window knows of its own delays."""

from math import isnan, nan

import pytest

from gui.session import Delays


def test_delays_have_percentiles_and_what_can_be_none_is_left_out() -> None:
    delays = Delays()
    assert all(isnan(value) for value in delays.percentiles_ms)
    assert [delays.add(delay_s) for delay_s in (0.010, nan, -0.5, 3600.0, 0.030)] == [
        True, False, False, False, True,
    ]  # fmt: skip
    assert delays.percentiles_ms == pytest.approx((20.0, 29.8))
