"""Follows columns through a series: who is whom, and how many atoms each has by all frames so far.

One frame after another, in the order in which they were handed on. A frame's columns are laid over those
that are followed (`pipeline.registration`), pairs within `REACH_A` are the same column, and what the network
says of each goes into its beliefs (`pipeline.fusion`). A column that is not found keeps its track until it is
certainly gone for long; what lies where nothing was followed begins a new one. A track is a place: if a
column vanishes and another grows in its place soon, that is the same track.

The count of a track is decided anew when another count has become `decision_odds` times as probable as the
one decided on, so that it does not flicker; a decision is a change, with the frame in which it was made.

Memory: `MOST_TRACKS` tracks of half a kilobyte. When there are so many, those out of view are forgotten.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.fusion import (
    FusionModel,
    apparent_probabilities,
    beliefs_at_birth,
    count_probabilities,
    predict,
    update_found,
    update_missed,
)
from pipeline.registration import find_shift, pairs_within
from pipeline.tracks import UNKNOWN_COUNT, Tracks, born_tracks, no_tracks
from streamer.records import CHANGE_DTYPE

__all__ = ["Followed", "Follower"]

REACH_A = 1.0
"""How far from its track a column may be found: a third of the distance of neighbours."""
APART_A = 1.3
"""Nothing nearer than this to a counted column begins a track of its own."""
MOST_TRACKS = 4096

_CERTAIN = 0.95  # that there is a column: then its count is decided on
_GONE = 0.99  # that there is nothing to be seen
_FORGET_FRAMES = 300  # after which a place without a column is no longer followed
_DOUBTFUL_FRAMES = 20  # the same for what has never been certain
_MEMORY_FRAMES = 300  # of the rate at which a column is found
_PRIOR_FRAMES = 4.0  # weight of the mean rate in a column's own
_USUAL_RATE = 0.8
_PLACE_MEMORY = 50.0  # frames over which a track's place is averaged
_BLIND = 0.25  # a frame that shows less than this share of what it should is taken to show nothing
_MANY = 3.0  # columns: that fewer are missed together is no wonder
_EDGE_PX = 4.0
_RIM_PX = 1.0  # no column is found nearer to the frame's edge
_VIEWS = 100  # last frames of which is known where they lay; in fewer a column is as good as surely found
_NEW_COLUMN = 0.05  # probability below which a late find cannot have been overlooked so far


@dataclass(frozen=True, slots=True)
class Followed:
    """What following adds to a frame's result.

    Attributes
    ----------
    track_id : numpy.ndarray of int64, shape (n,)
        One for each of the frame's columns; −1: too near to another.
    count, probability : numpy.ndarray, shape (n,)
        Fused count (0: probably no column) and the probability that it is right.
    drift_px : tuple of float
        (y, x), refined.
    atoms, atoms_std : float
        Expected number of atoms in all followed columns, and its standard deviation.
    changes : numpy.ndarray of CHANGE_DTYPE, shape (m,)
    """

    track_id: NDArray[np.int64]
    count: NDArray[np.int64]
    probability: NDArray[np.float64]
    drift_px: tuple[float, float]
    atoms: float
    atoms_std: float
    changes: NDArray[np.void] = field(default_factory=lambda: np.empty(0, CHANGE_DTYPE))


class Follower:
    """Follows the columns of one series.

    Parameters
    ----------
    max_count : int
        K, the largest number of atoms the network tells apart.
    pixel_size_A : float
    first_id : int
        Of the first track.
    after_frames : int
        Frames that are not followed yet, because the average of frames is not full.
    """

    def __init__(self, max_count: int, pixel_size_A: float, first_id: int = 0, after_frames: int = 0) -> None:
        self._after_frames = after_frames
        self.tracks: Tracks | None = None
        self._views: deque[tuple[float, ...]] = deque(maxlen=_VIEWS)  # drift (y, x) and shape (h, w) [px]
        self._max_count = max_count
        self._pixel_size_A = pixel_size_A
        self._next_id = first_id
        self._drift_px = np.zeros(2)
        self._mean_rate = _USUAL_RATE

    @property
    def places(self) -> NDArray[np.float64]:
        """Where all followed columns are, (y, x) in pixels of the first frame, shape (n, 2)."""
        return self.tracks.place if self.tracks is not None else np.empty((0, 2))

    @property
    def counts(self) -> NDArray[np.float64]:
        """Their probabilities of 0 … K atoms, shape (n, K + 1)."""
        if self.tracks is None:
            return np.empty((0, self._max_count + 1))
        return count_probabilities(self.tracks.beliefs)

    @property
    def fused(self) -> NDArray[np.int64]:
        """Their fused counts, shape (n,)."""
        return _fused(self.tracks, self.counts) if self.tracks is not None else np.empty(0, np.int64)

    def follow(
        self,
        columns: NDArray[np.void],
        probabilities: NDArray[np.floating],
        measured_px: tuple[float, float],
        shape: tuple[int, int],
        model: FusionModel,
    ) -> Followed:
        """Take in the next frame.

        Parameters
        ----------
        columns : numpy.ndarray of COLUMN_DTYPE, shape (n,)
        probabilities : numpy.ndarray, shape (n, K)
            Their distributions over 1 … K atoms.
        measured_px : tuple of float
            Drift (y, x) by other means, NaN if unknown.
        shape : tuple of int
            (height, width) of the frame [px].
        model : FusionModel
            Its `errors` must have the same length in all frames.
        """
        if self._after_frames:
            self._after_frames -= 1
            return _not_followed(len(columns), measured_px)
        tracks = self.tracks if self.tracks is not None else no_tracks(self._max_count, len(model.errors))
        found = np.stack([columns["y"], columns["x"]], axis=-1).astype(np.float64)
        tracks = tracks.updated(beliefs=predict(tracks.beliefs, model))
        self._drift_px, i, j = self._registered(found, tracks, measured_px)
        tracks = self._looked_at(tracks, found - self._drift_px, probabilities, i, j, shape, model)
        row = np.full(len(columns), -1)
        row[i] = j
        tracks = self._with_born(tracks, found - self._drift_px, probabilities, row, model)
        tracks, changes = self._decided(tracks, model.decision_odds)
        followed = self._answer(tracks, row, changes, model)
        self.tracks = self._remembered(tracks, shape)
        self._views.append((*self._drift_px.tolist(), *shape))
        return followed

    def pass_over(self, n_columns: int, measured_px: tuple[float, float], model: FusionModel) -> Followed:
        """Leave out a frame that says nothing, whatever was found in it: all stays as it was.

        Parameters and what is returned are as of `follow`.
        """
        none = np.empty(0, CHANGE_DTYPE)
        tracks = self.tracks if self.tracks is not None else no_tracks(self._max_count, len(model.errors))
        return replace(self._answer(tracks, np.full(n_columns, -1), none, model), drift_px=measured_px)

    def _registered(
        self, found: NDArray[np.float64], tracks: Tracks, measured_px: tuple[float, float]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
        """Return the drift, and which found column (i) is which track (j)."""
        reach_px = REACH_A / self._pixel_size_A
        measured = np.array(measured_px)
        guesses = [measured, self._drift_px] if np.isfinite(measured).all() else [self._drift_px]
        if not len(tracks):
            return guesses[0], np.empty(0, np.intp), np.empty(0, np.intp)
        weights = _present(tracks) * self._rates(tracks)
        drift, _ = find_shift(found, tracks.place, weights, guesses, reach_px)
        return drift, *pairs_within(found - drift, tracks.place, reach_px)

    def _looked_at(
        self,
        tracks: Tracks,
        places: NDArray[np.float64],
        probabilities: NDArray[np.floating],
        i: NDArray[np.intp],
        j: NDArray[np.intp],
        shape: tuple[int, int],
        model: FusionModel,
    ) -> Tracks:
        """Return the tracks after the frame's finds and misses."""
        rates, present = self._rates(tracks), _present(tracks)
        beliefs, place = tracks.beliefs.copy(), tracks.place.copy()
        beliefs[j] = update_found(beliefs[j], probabilities[i], rates[j], model)
        missed = self._in_frame(tracks, shape)
        if _blind(np.where(missed & (tracks.count > 0), rates * present, 0.0), j):
            missed[:] = False
        missed[j] = False
        beliefs[missed] = update_missed(beliefs[missed], rates[missed], model)
        seen = missed.copy()
        seen[j] = True
        tracks = tracks.updated(beliefs=beliefs)
        weight = np.where(seen, _visible(tracks), 0.0)
        kept = np.where(seen, 1.0 - 1.0 / _MEMORY_FRAMES, 1.0)
        was_found = np.zeros(len(tracks), dtype=bool)
        was_found[j] = True
        hits = kept * tracks.found + np.where(was_found, weight, 0.0)
        gain = 1.0 / np.minimum(tracks.found[j] + 1.0, _PLACE_MEMORY)
        place[j] += gain[:, None] * (places[i] - place[j])
        return tracks.updated(
            place=place,
            found=hits,
            looked=kept * tracks.looked + weight,
            since_found=np.where(was_found, 0, tracks.since_found + (seen | (tracks.count == UNKNOWN_COUNT))),
        )

    def _with_born(
        self,
        tracks: Tracks,
        places: NDArray[np.float64],
        probabilities: NDArray[np.floating],
        row: NDArray[np.int64],
        model: FusionModel,
    ) -> Tracks:
        """Return the tracks with new ones for what was found elsewhere; their rows are entered in `row`."""
        new = np.flatnonzero(row < 0)
        certain = tracks.place[tracks.count > 0]
        near, _ = pairs_near(places[new], certain, APART_A / self._pixel_size_A)
        new = np.delete(new, near)[: max(0, MOST_TRACKS - len(tracks))]
        if not len(new):
            return tracks
        looked = self._looked_for(places[new])
        beliefs = beliefs_at_birth(self._max_count, *self._at_birth(looked, model), model)
        beliefs = update_found(beliefs, probabilities[new], np.full(len(new), self._mean_rate), model)
        born = born_tracks(self._next_id, places[new], beliefs, looked)
        weight = _visible(born)
        row[new] = len(tracks) + np.arange(len(new))
        self._next_id += len(new)
        return tracks.joined(born.updated(found=weight, looked=weight))

    def _looked_for(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return in how many frames before, of those that are remembered, each place (n, 2) was in view."""
        views = np.array(self._views).reshape(-1, 4)
        at = places[:, None] + views[:, :2]  # (n, frames, 2)
        inside = (at >= _RIM_PX) & (at <= views[:, 2:] - 1 - _RIM_PX)
        return np.asarray(inside.all(axis=2).sum(axis=1))

    def _at_birth(
        self, looked: NDArray[np.int64], model: FusionModel
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the probabilities (n,) that what is found for the first time is no column, and a new one.

        The share of false finds is the same in all frames; most columns have been found in the first ones
        that their places were in view in, and after that atoms come to a place at the surface as often as to
        a column.
        """
        overlooked = (1.0 - 0.5 * self._mean_rate) ** looked
        grown = np.where(looked > 0, 0.5 * model.change, 0.0)
        there = (1.0 - model.false_finds) * overlooked
        whole = model.false_finds + grown + there
        return model.false_finds / whole, grown / whole

    def _decided(self, tracks: Tracks, decision_odds: float) -> tuple[Tracks, NDArray[np.void]]:
        """Decide on counts anew where another has become much more probable."""
        counts = count_probabilities(tracks.beliefs)
        best = counts.argmax(axis=1)
        rows = np.arange(len(tracks))
        unknown = tracks.count == UNKNOWN_COUNT
        held = counts[rows, np.maximum(tracks.count, 0)]
        anew = np.where(unknown, counts[:, 0] < 1 - _CERTAIN, counts[rows, best] > decision_odds * held)
        anew &= (best != tracks.count) & ~(unknown & (best == 0))
        changed = np.flatnonzero(anew)
        changes = np.zeros(len(changed), CHANGE_DTYPE)
        changes["track_id"] = tracks.track_id[changed]
        for axis, name in enumerate("yx"):
            changes[name] = tracks.place[changed, axis] + self._drift_px[axis]
        changes["before"] = np.where(
            unknown[changed] & self._newly_there(tracks)[changed], 0, tracks.count[changed]
        )
        changes["after"] = best[changed]
        changes["probability"] = counts[changed, best[changed]]
        return tracks.updated(count=np.where(anew, best, tracks.count)), changes

    def _newly_there(self, tracks: Tracks) -> NDArray[np.bool_]:
        """Whether a column can hardly have been overlooked in all frames before it was found first."""
        overlooked = (1.0 - 0.5 * self._mean_rate) ** tracks.born_after
        return np.asarray(overlooked < _NEW_COLUMN)

    def _answer(
        self, tracks: Tracks, row: NDArray[np.int64], changes: NDArray[np.void], model: FusionModel
    ) -> Followed:
        counts = count_probabilities(tracks.beliefs)
        fused = _fused(tracks, counts)
        atoms = np.arange(counts.shape[1])
        mean = counts @ atoms
        there = counts[:, 0] < 0.5  # what is probably none adds nothing, however many of them there are
        variance = float((counts @ atoms**2 - mean**2)[there].sum())
        total = float(mean[there].sum())
        followed = row >= 0
        track_id, count = np.full(len(row), -1), np.zeros(len(row), np.int64)
        probability = np.full(len(row), nan)
        track_id[followed] = tracks.track_id[row[followed]]
        count[followed] = fused[row[followed]]
        probability[followed] = counts[row[followed], fused[row[followed]]]
        y, x = self._drift_px.tolist()
        std = float(np.hypot(np.sqrt(max(variance, 0.0)), model.common_error * total))
        return Followed(track_id, count, probability, (y, x), total, std, changes)

    def _remembered(self, tracks: Tracks, shape: tuple[int, int]) -> Tracks:
        """Let go of what is certainly not there, and for want of room of what is out of view."""
        present = tracks.count > 0
        if present.any():
            self._mean_rate = float(self._rates(tracks)[present].mean())
        forgotten = (tracks.since_found > _FORGET_FRAMES) & (_visible(tracks) < 1.0 - _GONE)
        doubtful = tracks.count == UNKNOWN_COUNT
        forgotten |= doubtful & (tracks.since_found > _DOUBTFUL_FRAMES)
        if len(tracks) >= MOST_TRACKS:
            forgotten |= ~self._in_frame(tracks, shape)
        return tracks.kept(~forgotten)

    def _rates(self, tracks: Tracks) -> NDArray[np.float64]:
        """Return in what share of frames each column is found while it is there."""
        rates = (tracks.found + _PRIOR_FRAMES * self._mean_rate) / (tracks.looked + _PRIOR_FRAMES)
        return np.clip(rates, 0.05, 0.98)

    def _in_frame(self, tracks: Tracks, shape: tuple[int, int]) -> NDArray[np.bool_]:
        place = tracks.place + self._drift_px
        inside = (place > _EDGE_PX) & (place < np.array(shape) - 1 - _EDGE_PX)
        return np.asarray(inside.all(axis=1))


def _blind(expected: NDArray[np.float64], found: NDArray[np.intp]) -> bool:
    """Whether so few of the columns that are `expected` (n,) are `found` (rows) that the beam must be off."""
    whole = float(expected.sum())
    return whole >= _MANY and bool(_BLIND * whole > np.count_nonzero(expected[found]))


def _not_followed(n: int, measured_px: tuple[float, float]) -> Followed:
    return Followed(np.full(n, -1), np.zeros(n, np.int64), np.full(n, nan), measured_px, nan, nan)


def pairs_near(
    places: NDArray[np.float64], others: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which of `places` lie within `reach` of any of the `others`, and of which."""
    if not len(places) or not len(others):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distance, nearest = cKDTree(others).query(places)
    near = np.flatnonzero(distance < reach)
    return near, np.asarray(nearest)[near]


def _fused(tracks: Tracks, counts: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(tracks.count == UNKNOWN_COUNT, counts.argmax(axis=1), tracks.count)


def _present(tracks: Tracks) -> NDArray[np.float64]:
    return np.asarray(1.0 - count_probabilities(tracks.beliefs)[:, 0])


def _visible(tracks: Tracks) -> NDArray[np.float64]:
    """Return the probability that each column's apparent count is not 0."""
    return np.asarray(1.0 - apparent_probabilities(tracks.beliefs)[:, 0])
