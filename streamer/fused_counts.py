"""What following has decided of each column so far, for rules that watch fused counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.records import TRACKS_OF_AN_ANALYSER, FrameResult, SeriesKey

__all__ = ["Decided", "FusedCounts"]

_KNOWN_LATE = -1  # `before` of a column that is counted for the first time, and may always have been there


@dataclass(frozen=True, slots=True)
class Decided:
    """The columns that there are, by the count that was decided on last.

    Attributes
    ----------
    track_id : numpy.ndarray of int64, shape (n,)
    place : numpy.ndarray of float64, shape (n, 2)
        (y, x) [px] in the first frame, where the count was decided on.
    count : numpy.ndarray of int64, shape (n,)
        Never 0.
    """

    track_id: NDArray[np.int64]
    place: NDArray[np.float64]
    count: NDArray[np.int64]

    def after(self, changes: NDArray[np.void], drift_px: NDArray[np.float64]) -> "Decided":
        """Return what holds after `changes`, of CHANGE_DTYPE."""
        kept, there = ~np.isin(self.track_id, changes["track_id"]), changes["after"] > 0
        place = np.stack([changes["y"], changes["x"]], axis=1).astype(np.float64) - drift_px
        return Decided(
            np.concatenate([self.track_id[kept], changes["track_id"][there]]),
            np.concatenate([self.place[kept], place[there]]),
            np.concatenate([self.count[kept], changes["after"][there].astype(np.int64)]),
        )

    def within(self, region: tuple[float, float, float, float]) -> float:
        """Return the atoms of all columns within (y0, x0, y1, x1) [px]."""
        inside = ((self.place >= region[:2]) & (self.place <= region[2:])).all(axis=1)
        return float(self.count[inside].sum())

    def nearest(self, at: tuple[float, float], radius_px: float) -> float:
        """Return the count of the column nearest to (y, x) [px] within `radius_px`; 0 where there is none."""
        distance = np.hypot(*(self.place - at).T)
        if not len(distance) or distance.min() > radius_px:
            return 0.0
        return float(self.count[distance.argmin()])


_NOTHING = Decided(np.empty(0, np.int64), np.empty((0, 2)), np.empty(0, np.int64))


class FusedCounts:
    """Keeps up with the decisions of one series after the other.

    Attributes
    ----------
    now : Decided
        After the newest result; nothing where its columns were not followed.
    supposed, before : Decided
        What held before that result: with and without the columns that were counted in it for the first time
        and may always have been there. Their difference is no change.
    anew : bool
        Whether following began anew with the newest result, so that it cannot be compared with what was.
    """

    def __init__(self) -> None:
        self.now = self.supposed = self.before = _NOTHING
        self.anew = True
        self._of: tuple[SeriesKey, int] | None = None

    def take(self, result: FrameResult) -> None:
        """Take in the next result."""
        changes = result.changes
        drift = np.nan_to_num(np.array(result.drift_px))
        self.anew = self._begins_anew(result.key, changes)
        self.before = _NOTHING if self.anew else self.now
        self.supposed = self.before.after(changes[changes["before"] == _KNOWN_LATE], drift)
        self.now = self.supposed.after(changes[changes["before"] != _KNOWN_LATE], drift)

    def _begins_anew(self, key: SeriesKey, changes: NDArray[np.void]) -> bool:
        """Whether this is another series, or whoever follows now is another, with tracks of its own."""
        number = int(changes["track_id"].max()) // TRACKS_OF_AN_ANALYSER if len(changes) else None
        known = self._of
        if known is not None and known[0] == key and number in (None, known[1]):
            return False
        self._of = key, number or 0
        return True
