"""Time series: curves of bounded length that hide no extreme; columns and regions followed through time."""

import numpy as np
import pytest

from gui.closer_plots import column_plots
from gui.following import ColumnFollower, RegionFollower, chosen_column, find_chosen
from gui.history import SERIES_DTYPE, History
from gui.player import Player
from gui.series import accumulated_dose, decimated, resolve_plots
from gui.settings import Chosen, CountsFrom
from gui.spectrum import spectrum
from tests.gui.publisher import Particle, make_view

PARTICLE = Particle(size=128, n_largest=5)


def rows_of(n: int) -> np.ndarray:
    rows = np.zeros(n, SERIES_DTYPE)
    rows["t"] = 100 + np.arange(n) * 0.1
    rows["total_atoms"] = 500.0
    rows["total_atoms_std"] = 4.0
    rows["fused_atoms"] = rows["fused_atoms_std"] = np.nan
    rows["n_columns"] = 80
    rows["ood_score"] = np.nan
    return rows


def test_a_single_spike_survives_decimation() -> None:
    x = np.arange(100_000.0)
    y = np.zeros_like(x)
    y[54_321] = 7.0
    y[12_345] = -3.0
    few_x, few_y = decimated(x, y, 400)
    assert len(few_x) == len(few_y) <= 400
    assert (few_y.max(), few_y.min()) == (7.0, -3.0)


def test_plots_carry_the_band_the_reading_and_nothing_unknown() -> None:
    rows = rows_of(50)
    rows["total_atoms"][20] = 512.0
    plots = resolve_plots(rows, ("atoms", "unfamiliarity", "columns"), 100.0, 102.0, 0.1, 500)
    assert [plot.name for plot in plots] == ["atoms", "columns"]
    atoms = plots[0].curves[0]
    assert plots[0].reading == "512.0 ± 4.0"
    assert atoms.low is not None
    assert atoms.high is not None
    np.testing.assert_allclose(atoms.high - atoms.low, 8.0)
    assert atoms.x[0] == pytest.approx(0.0)


def test_a_curve_goes_straight_on_over_frames_that_were_not_analysed() -> None:
    rows = rows_of(2000)
    for name in ("total_atoms", "total_atoms_std", "n_columns"):
        rows[name][1::2] = np.nan
    for n_points in (100, 5000):
        atoms, columns = resolve_plots(rows, ("atoms", "columns"), 100.0, None, 0.1, n_points)
        for curve in (atoms.curves[0], columns.curves[0]):
            assert np.isfinite(curve.y).all()
        assert set(columns.curves[0].y) == {80.0}


def test_the_dose_is_counts_an_area_and_its_sum_takes_in_frames_that_were_not_shown() -> None:
    rows = rows_of(4)
    rows["frame_id"] = (0, 1, 5, 6)
    rows["mean_counts"] = (2.0, 2.0, 3.0, 3.0)
    assert accumulated_dose(rows, None, 0.5) == pytest.approx((2 + 2 + 4 * 3 + 3) / 0.25)
    assert accumulated_dose(rows, 100.15, 0.5) == pytest.approx((2 + 2) / 0.25)
    rows["frame_id"] = (0, 2, 1, 3)  # in the order of their arrival
    assert accumulated_dose(rows, None, 0.5) == pytest.approx((2 + 2 * 2 + 3) / 0.25)
    (plot,) = resolve_plots(rows, ("dose",), 100.0, None, 0.5, 500, dose=76_000.0)
    assert plot.reading == "12.0 counts/Å²   Σ 7.60×10⁴"
    np.testing.assert_allclose(plot.curves[0].y, (8, 8, 12, 12))
    assert resolve_plots(rows, ("dose",), 100.0, None, float("nan"), 500) == ()


def test_of_a_files_dose_what_is_known_is_joined() -> None:
    rows = rows_of(5)
    rows["mean_counts"] = (2.0, np.nan, 4.0, np.nan, np.nan)
    (plot,) = resolve_plots(rows, ("dose",), 100.0, 100.4, 1.0, 500)
    np.testing.assert_allclose(plot.curves[0].x, (0.0, 0.2))
    np.testing.assert_allclose(plot.curves[0].y, (2, 4))
    assert plot.reading == "4.0 counts/Å²"


def test_both_totals_are_shown_and_the_chosen_one_carries_the_band() -> None:
    rows = rows_of(50)
    rows["fused_atoms"], rows["fused_atoms_std"] = 490.0, 2.0
    for counts, banded in ((CountsFrom.SINGLE, 0), (CountsFrom.FUSED, 1)):
        (plot,) = resolve_plots(rows, ("atoms",), 100.0, None, 0.1, 500, counts)
        assert plot.reading == "single 500.0 ± 4.0  fused 490.0 ± 2.0"
        assert [curve.low is not None for curve in plot.curves] == [k == banded for k in (0, 1)]
        band = plot.curves[banded]
        assert band.low is not None
        assert band.high is not None
        np.testing.assert_allclose(band.high - band.low, (8.0, 4.0)[banded])


def test_long_series_are_averaged_with_their_band() -> None:
    plot = resolve_plots(rows_of(10_000), ("atoms",), 100.0, None, 0.1, 300)[0]
    assert len(plot.curves[0].x) <= 300
    np.testing.assert_allclose(plot.curves[0].y, 500.0)


def test_drift_is_shown_in_nm() -> None:
    rows = rows_of(5)
    rows["drift_y_px"] = 10.0
    plot = resolve_plots(rows, ("drift",), 100.0, None, 0.2, 300)[0]
    assert plot.curves[0].y[0] == pytest.approx(0.2)
    assert plot.reading.endswith("nm")


def history_of(n: int) -> History:
    history = History()
    for k in range(n):
        history.add(make_view(PARTICLE, k, size=128, t=100.0 + k))
    return history


def test_a_column_is_followed_by_its_track() -> None:
    history = history_of(30)
    view = history.at(None)
    assert view is not None
    column = view.columns[4]
    rows = ColumnFollower().follow(chosen_column(view.header, column), history)
    expected = [
        next((c["count"] for c in PARTICLE.columns(k) if c["track_id"] == column["track_id"]), 0)
        for k in range(30)
    ]
    assert rows[:, 1].tolist() == expected
    there = rows[:, 1] > 0
    assert (rows[there, 3] == column["fused_count"]).all()
    np.testing.assert_allclose(rows[there, 4], column["fused_probability"])
    assert np.isnan(rows[~there, 3:]).all()


def test_a_column_has_both_series_and_only_one_where_it_is_not_followed() -> None:
    rows = np.array([[100.0, 3.0, 0.8, 4.0, 0.95], [101.0, 0.0, np.nan, np.nan, np.nan]])
    span = (100.0, 101.0)
    count, probability = column_plots(rows, span, 100.0, 100.0, 300)
    assert count.reading == "single 3 atoms  fused 4 atoms"
    assert probability.reading == "single 0.80  fused 0.95"
    assert column_plots(rows, span, 100.0, 101.0, 300)[0].reading == "single gone  fused –"
    rows[:, 3:] = np.nan
    assert [plot.reading for plot in column_plots(rows, span, 100.0, 100.0, 300)] == ["3 atoms", "0.80"]


def test_a_long_series_of_a_column_is_short_on_screen_and_hides_no_change() -> None:
    rows = np.zeros((50_000, 5))
    rows[:, 0] = 100 + 0.04 * np.arange(len(rows))
    rows[:, 1], rows[:, 2], rows[:, 3:] = 7.0, 0.9, np.nan
    rows[30_123, 1] = 5.0
    count, probability = column_plots(rows, (100.0, 2100.0), 100.0, None, 400)
    assert len(count.curves[0].x) <= 2 * 400
    assert len(probability.curves[0].x) <= 400
    assert count.curves[0].y.min() == 5.0
    near, _ = column_plots(rows, (1304.0, 1306.0), 100.0, None, 400)
    assert len(near.curves[0].x) < 200
    assert near.curves[0].y.min() == 5.0


def test_following_for_days_keeps_within_its_bounds_and_its_beginning() -> None:
    follower = RegionFollower()
    history = history_of(2)
    corners = ((0.0, 0.0), (0.0, 9.0), (9.0, 9.0))
    follower.follow(corners, history)
    for k in range(400_000):
        follower._add((200.0 + k, float(k), 0.0, 0.0))
    rows = follower.follow(corners, history)
    assert len(rows) <= 131_072
    assert rows[0, 0] == pytest.approx(99.99)
    assert rows[-1, 1] == 399_999.0
    assert (np.diff(rows[:, 0]) > 0).all()


def test_following_takes_its_time_and_goes_on_where_it_was() -> None:
    history = history_of(40)
    view = history.at(None)
    assert view is not None
    chosen = chosen_column(view.header, view.columns[4])
    hasty, whole = ColumnFollower(), ColumnFollower().follow(chosen, history)
    lengths = [len(hasty.follow(chosen, history, budget_s=0.0)) for _ in range(40)]
    assert lengths == list(range(1, 41))
    np.testing.assert_array_equal(hasty.follow(chosen, history), whole)


def test_without_tracks_a_column_is_found_by_place_and_drift() -> None:
    view = make_view(PARTICLE, 0, size=128)
    columns = view.columns.copy()
    columns["track_id"] = -1
    chosen = Chosen(float(columns["y"][6]) - 5, float(columns["x"][6]), -1, view.header.drift_y_px - 5, 0.0)
    assert find_chosen(chosen, view.header, columns) == 6
    gone = Chosen(float(columns["y"][6]) - 25, float(columns["x"][6]) + 13, -1, np.nan, np.nan)
    assert find_chosen(gone, view.header, columns) is None


def test_followers_only_look_at_new_frames_and_start_anew_for_another_choice() -> None:
    history = history_of(3)
    view = history.at(None)
    assert view is not None
    follower = ColumnFollower()
    first = chosen_column(view.header, view.columns[0])
    assert len(follower.follow(first, history)) == 3
    history.add(make_view(PARTICLE, 3, size=128, t=103.0))
    assert len(follower.follow(first, history)) == 4
    second = chosen_column(view.header, view.columns[1])
    assert follower.follow(second, history)[0, 1] == PARTICLE.columns(0)["count"][1]
    assert len(follower.follow(None, history)) == 0


def test_a_region_of_everything_holds_all_atoms() -> None:
    history = history_of(4)
    corners = ((-1.0, -1.0), (-1.0, 200.0), (200.0, 200.0), (200.0, -1.0))
    rows = RegionFollower().follow(corners, history)
    assert rows[:, 1].tolist() == [PARTICLE.columns(k)["count"].sum() for k in range(4)]
    assert rows[:, 2].tolist() == [len(PARTICLE.columns(k)) for k in range(4)]
    assert rows[:, 3].tolist() == [PARTICLE.columns(k)["fused_count"].sum() for k in range(4)]


def test_the_spectrum_finds_a_lattice_spacing() -> None:
    n, period_px, pixel_size_A = 256, 8.0, 0.5
    wave = 127 + 100 * np.cos(2 * np.pi * np.arange(n) / period_px)
    shown = spectrum(np.tile(wave, (n, 1)).astype(np.uint8), pixel_size_A)
    picture = shown.pixels.copy()
    picture[:, n // 2 - 3 : n // 2 + 4] = 0
    y, x = np.unravel_index(picture.argmax(), picture.shape)
    assert shown.spacing_nm(float(y), float(x)) == pytest.approx(period_px * pixel_size_A / 10, rel=0.02)


def test_playing_runs_at_its_speed_and_stops_at_the_end() -> None:
    player = Player()
    player.choose_speed(2.0)
    assert player.advance(5.0, 10.0, 100.0) == 5.0
    player.toggle(10.0)
    assert player.advance(5.0, 10.1, 100.0) == pytest.approx(5.2)
    assert player.advance(5.2, 99.0, 100.0) == pytest.approx(5.7)
    assert player.advance(99.9, 99.2, 100.0) == 100.0
    assert not player.playing
