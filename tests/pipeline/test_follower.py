"""Columns of a known movie keep their ids under drift and misses; births, deaths and steps are found."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import follower as module
from pipeline.follower import Followed, Follower
from pipeline.fusion import FusionModel
from streamer.records import COLUMN_DTYPE

K = 8
PIXEL_A = 0.2
SHAPE = (220, 220)
MODEL = FusionModel()
NAN = (float("nan"), float("nan"))

Counts = NDArray[np.int64]


def sites() -> NDArray[np.float64]:
    return 40.0 + 16.5 * np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2)


class Film:
    """A crystal of 64 sites: `counts(frame)` atoms on each, seen with errors, and followed."""

    def __init__(self, counts: Callable[[int], Counts], seed: int = 1, missed: float = 0.1) -> None:
        self.follower = Follower(K, PIXEL_A)
        self._counts, self._missed = counts, missed
        self._rng = np.random.default_rng(seed)

    def show(self, frame: int, drift: tuple[float, float], measured: tuple[float, float] = NAN) -> Followed:
        """Follow a frame; `site` is then which site each found column is on, −1 for those invented."""
        rng, counts = self._rng, self._counts(frame)
        in_view = ((sites() + drift > 1) & (sites() + drift < np.array(SHAPE) - 2)).all(axis=1)
        self.site = np.flatnonzero(in_view & (counts > 0) & (rng.random(64) > self._missed))
        places = sites()[self.site] + drift + rng.normal(0, 0.5, (len(self.site), 2))
        wrong = rng.choice([-1, 0, 1], len(self.site), p=[0.15, 0.7, 0.15])
        looks = np.clip(counts[self.site] + wrong, 1, K)
        places = np.concatenate([places, rng.uniform(5, 210, (2, 2))])
        looks, self.site = np.append(looks, [1, 1]), np.append(self.site, [-1, -1])
        columns = np.zeros(len(places), COLUMN_DTYPE)
        columns["y"], columns["x"] = places.T
        probabilities = np.exp(-1.5 * np.abs(np.arange(1, K + 1) - looks[:, None]))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return self.follower.follow(columns, probabilities, measured, SHAPE, MODEL)

    def ids(self, followed: Followed) -> dict[int, int]:
        """Track id by site."""
        real = self.site >= 0
        return dict(zip(self.site[real].tolist(), followed.track_id[real].tolist(), strict=True))


def steady(frame: int) -> Counts:
    return 3 + np.arange(64) % 4


def drift_of(frame: int) -> tuple[float, float]:
    return 0.6 * frame, -8 * np.sin(frame / 9)


def test_ids_stay_and_counts_settle_under_drift() -> None:
    film = Film(steady)
    first: dict[int, int] = {}
    for frame in range(60):
        followed = film.show(frame, drift_of(frame))
        for site, track_id in film.ids(followed).items():
            assert first.setdefault(site, track_id) == track_id
    real = film.site >= 0
    assert np.mean(followed.count[real] == steady(0)[film.site[real]]) == 1.0
    assert len(set(first.values())) == 64
    offset = np.subtract(followed.drift_px, drift_of(59))
    assert np.abs(offset).max() < 0.3  # the first frame's own errors, averaged over its columns
    assert followed.atoms == pytest.approx(steady(0).sum(), abs=2 * followed.atoms_std)


def test_columns_are_followed_through_a_jump_of_the_stage() -> None:
    film = Film(steady)
    ids = [film.ids(film.show(frame, (0.0, 0.0) if frame < 10 else (-21.0, 30.0))) for frame in range(20)]
    common = ids[9].keys() & ids[19].keys()
    assert len(common) > 40
    assert all(ids[9][site] == ids[19][site] for site in common)


def test_a_step_a_birth_and_a_death_are_changes_of_the_right_columns() -> None:
    def counts(frame: int) -> Counts:
        atoms = steady(frame)
        atoms[10] += frame >= 60  # one atom comes
        atoms[20] = 0 if frame >= 60 else atoms[20]  # a column goes
        atoms[30] = 4 if frame >= 60 else 0  # one appears
        return atoms

    film, changes, ids = Film(counts), [], {}
    for frame in range(130):
        followed = film.show(frame, drift_of(frame))
        ids |= film.ids(followed)
        changes += [(frame, *row) for row in followed.changes.tolist() if row[3] >= 0]
    by_track = {row[1]: row for row in changes}
    assert set(by_track) >= {ids[10], ids[20], ids[30]}
    assert by_track[ids[10]][4:6] == (int(steady(0)[10]), int(steady(0)[10]) + 1)
    assert by_track[ids[20]][4:6] == (int(steady(0)[20]), 0)
    assert by_track[ids[30]][4:6] == (0, 4)
    assert all(60 <= by_track[ids[site]][0] < 110 for site in (10, 20, 30))


def test_a_column_missed_for_some_frames_keeps_its_id_and_count() -> None:
    hidden = range(30, 40)
    film = Film(
        lambda frame: np.where((np.arange(64) == 5) & (frame in hidden), 0, steady(frame)), missed=0.0
    )
    ids = [film.ids(film.show(frame, (0.0, 0.0))) for frame in range(60)]
    assert 5 not in ids[35]
    assert ids[29][5] == ids[59][5]


def test_a_frame_without_anything_says_nothing_about_the_columns() -> None:
    """The beam was blanked: no column is believed to be gone."""
    film = Film(steady, missed=0.0)
    for frame in range(20):
        before = film.show(frame, (0.0, 0.0))
    empty = np.zeros(0, COLUMN_DTYPE)
    for _ in range(50):
        blank = film.follower.follow(empty, np.empty((0, K)), NAN, SHAPE, MODEL)
    assert blank.atoms == pytest.approx(before.atoms, rel=0.05)
    assert not len(blank.changes)


def test_false_columns_do_not_become_atoms() -> None:
    film = Film(steady)
    for frame in range(80):
        followed = film.show(frame, (0.0, 0.0))
    assert len(film.follower.places) < 64 + 3 * 30  # doubtful ones are forgotten
    assert followed.atoms == pytest.approx(steady(0).sum(), rel=0.03)


def test_a_frame_that_came_late_is_followed_when_it_comes() -> None:
    order = [0, 1, 2, 5, 3, 4, 6, 8, 7, *range(9, 30)]
    film, first = Film(steady, missed=0.0), {}
    for frame in order:
        for site, track_id in film.ids(film.show(frame, drift_of(frame))).items():
            assert first.setdefault(site, track_id) == track_id


def test_the_same_frames_give_the_same_values_to_the_last_bit() -> None:
    runs = []
    for _ in range(2):
        film = Film(steady)
        runs.append([film.show(frame, drift_of(frame)) for frame in range(15)])
    for one, other in zip(*runs, strict=True):
        assert (one.atoms, one.drift_px) == (other.atoms, other.drift_px)
        np.testing.assert_array_equal(one.probability, other.probability)


def test_a_series_that_begins_with_vacuum_is_followed_from_its_first_column_on() -> None:
    film = Film(steady, missed=0.0)
    empty = np.zeros(0, COLUMN_DTYPE)
    for _ in range(3):
        vacuum = film.follower.follow(empty, np.empty((0, K)), NAN, SHAPE, MODEL)
        assert (vacuum.atoms, len(vacuum.track_id)) == (0.0, 0)
    assert (film.show(0, (0.0, 0.0)).track_id >= 0).all()


def test_frames_before_the_average_is_full_are_not_followed() -> None:
    film = Film(steady)
    film.follower = Follower(K, PIXEL_A, after_frames=2)
    followed = [film.show(frame, (0.0, 0.0), (1.5, 2.5)) for frame in range(4)]
    assert [bool((f.track_id >= 0).any()) for f in followed] == [False, False, True, True]
    assert followed[0].drift_px == (1.5, 2.5)
    assert np.isnan([f.atoms for f in followed[:2]]).all()


def test_columns_that_drift_into_view_have_not_grown() -> None:
    """A place is looked for only while it is in the frame: what comes in may always have been there."""
    film, appeared = Film(steady, missed=0.0), 0
    for frame in range(110):
        drift = (0.0, -170.0 + 2.0 * min(frame, 85))
        followed = film.show(frame, drift, drift)
        appeared += int((followed.changes["before"] == 0).sum())
    assert appeared <= 2  # of what is invented
    assert followed.atoms == pytest.approx(steady(0).sum(), rel=0.03)


def shown(follower: Follower, places: list[tuple[float, float]]) -> Followed:
    """Show columns of four atoms in a frame that has not moved."""
    columns = np.zeros(len(places), COLUMN_DTYPE)
    columns["y"], columns["x"] = np.array(places, float).reshape(-1, 2).T
    probabilities = np.full((len(places), K), 0.01)
    probabilities[:, 3] = 1.0 - 0.01 * (K - 1)
    return follower.follow(columns, probabilities, (0.0, 0.0), SHAPE, MODEL)


def test_the_only_column_may_go() -> None:
    """One that is missed is no sign of a blanked beam."""
    follower = Follower(K, PIXEL_A)
    for _ in range(20):
        before = shown(follower, [(100.0, 100.0)])
    for _ in range(80):
        gone = shown(follower, [])
    assert before.atoms == pytest.approx(4.0, abs=0.2)
    assert gone.atoms == 0.0


def test_false_columns_in_vacuum_do_not_add_up() -> None:
    follower, rng = Follower(K, PIXEL_A), np.random.default_rng(1)
    for _ in range(400):
        shown(follower, [tuple(place) for place in rng.uniform(5, 210, (rng.poisson(0.2), 2))])
    assert len(follower.places) < 10


def test_what_comes_into_view_is_followed_however_much_has_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRACKS", 200)
    follower, film = Follower(K, PIXEL_A), np.stack(np.meshgrid(range(13), range(80)), -1).reshape(-1, 2)
    for frame in range(250):
        places = (16.5 * film)[:, ::-1] + 5.0 - [4.0 * frame, 0.0]
        in_view = ((places > 1) & (places < np.array(SHAPE) - 2)).all(axis=1)
        columns = np.zeros(int(in_view.sum()), COLUMN_DTYPE)
        columns["y"], columns["x"] = places[in_view].T
        probabilities = np.full((len(columns), K), 1 / K)
        followed = follower.follow(columns, probabilities, (-4.0 * frame, 0.0), SHAPE, MODEL)
    assert np.mean(followed.track_id >= 0) > 0.9
    assert followed.drift_px == pytest.approx((-4.0 * 249, 0.0), abs=0.1)
