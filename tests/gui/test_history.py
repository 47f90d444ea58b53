"""What a window remembers: in order, within bounds, one series at a time."""

import msgspec
import numpy as np
import pytest

from gui.history import History, Limits
from streamer.window_link import View
from tests.gui.publisher import Particle, make_view

PARTICLE = Particle(size=64, n_largest=3)


def view(k: int, *, series_id: int = 1, t: float | None = None) -> View:
    return make_view(PARTICLE, k, size=64, series_id=series_id, t=100.0 + k if t is None else t)


def filled(n: int, limits: Limits | None = None) -> History:
    history = History(limits)
    for k in range(n):
        history.add(view(k))
    return history


def test_rows_hold_every_frames_numbers() -> None:
    history = filled(5)
    np.testing.assert_array_equal(history.rows["frame_id"], range(5))
    assert history.rows["n_columns"][3] == len(PARTICLE.columns(3))
    assert history.t_first == pytest.approx(99.99)


def test_frames_that_arrive_late_are_put_in_their_place() -> None:
    history = History()
    for k in (0, 2, 1, 4, 3):
        history.add(view(k))
    np.testing.assert_array_equal(history.rows["frame_id"], range(5))
    assert history.newest is not None
    assert history.newest.header.frame_id == 4


def test_a_past_frame_is_found_by_its_time() -> None:
    history = filled(10)
    found = history.at(103.2)
    assert found is not None
    assert found.header.frame_id == 3
    assert history.at(None) is history.newest
    assert history.step(found.header.t_received, 2) == pytest.approx(104.99)
    assert history.step(found.header.t_received, -50) == pytest.approx(99.99)
    assert [v.header.frame_id for v in history.recent(found, 3)] == [1, 2, 3]


def test_an_empty_history_has_nothing_to_show() -> None:
    history = History()
    assert history.at(None) is None
    assert history.at(5.0) is None
    assert len(history.rows) == 0


def test_memory_is_bounded_and_the_beginning_is_kept() -> None:
    one = 2 * 64 * 64
    history = filled(300, Limits(rows=100, column_bytes=20_000, picture_bytes=20 * one))
    assert history.picture_bytes <= 20 * one
    assert len(history.rows) <= 100
    assert history.rows["frame_id"][-1] == 299
    assert history.rows["frame_id"][0] == 0, "the past thins out with age but keeps its beginning"
    first, last = history.at(0.0), history.at(1e9)
    assert first is not None
    assert last is not None
    assert (first.header.frame_id, last.header.frame_id) == (0, 299)
    assert sum(c.nbytes for _, c in history.columns()) <= 20_000


def test_a_picture_that_is_held_stays_while_those_around_it_are_forgotten() -> None:
    one = 2 * 64 * 64
    history = filled(20, Limits(picture_bytes=20 * one))
    held = history.at(history.step(107.99, 0))
    assert held is not None
    for k in range(20, 400):
        history.add(view(k))
        assert history.at(held.header.t_received) is held
    assert history.recent(held, 4)[-1] is held
    assert history.at(held.header.t_received + 1e-3) is not held
    assert history.add(view(0, series_id=2, t=1000.0))
    assert history.at(held.header.t_received) is not held


def test_a_run_that_was_started_again_starts_anew_whatever_its_numbers() -> None:
    history = filled(20)
    history.run_started = 150.0
    assert history.add(view(0, t=151.0))
    assert history.newest is not None
    assert (history.newest.header.frame_id, len(history.rows)) == (0, 1)
    assert not history.add(view(1, t=152.0))


def test_another_series_starts_anew_but_a_late_frame_of_the_old_one_does_not() -> None:
    history = filled(5)
    assert history.add(view(0, series_id=2, t=200.0))
    assert len(history.rows) == 1
    assert not history.add(view(5, series_id=1, t=105.0))
    assert len(history.rows) == 1


def test_a_new_run_that_counts_from_zero_again_starts_anew() -> None:
    history = History()
    history.add(view(5000, t=100.0))
    assert history.add(view(0, t=101.0))
    assert history.rows["frame_id"].tolist() == [0]


def test_the_largest_count_is_remembered() -> None:
    history = filled(3)
    columns = PARTICLE.columns(3)
    columns["count"][0] = 14
    last = view(3)
    history.add(msgspec.structs.replace(last, columns=columns))
    history.add(view(4))
    assert history.largest_count == 14
