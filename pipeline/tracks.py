"""The columns that are followed, as arrays with one row a column."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.fusion import Beliefs

__all__ = ["UNKNOWN_COUNT", "Tracks", "no_tracks"]

UNKNOWN_COUNT = -1


@dataclass(frozen=True, slots=True)
class Tracks:
    """What is known of n columns; the arrays are replaced, not changed.

    Attributes
    ----------
    track_id : numpy.ndarray of int64, shape (n,)
    place : numpy.ndarray of float64, shape (n, 2)
        Mean (y, x) in pixels of the first frame.
    beliefs : numpy.ndarray of float64, shape (n, K + 1, E)
        See `pipeline.fusion`.
    count : numpy.ndarray of int64, shape (n,)
        The count that was last decided on; `UNKNOWN_COUNT` as long as the column may be none.
    found, looked : numpy.ndarray of float64, shape (n,)
        In how many of the last frames it was found, and of how many, each frame weighted by the probability
        that it was there.
    since_found : numpy.ndarray of int64, shape (n,)
        Frames since it was last found.
    born_after : numpy.ndarray of int64, shape (n,)
        Frames in which its place had been looked at, and nothing found, before it was found first.
    """

    track_id: NDArray[np.int64]
    place: NDArray[np.float64]
    beliefs: Beliefs
    count: NDArray[np.int64]
    found: NDArray[np.float64]
    looked: NDArray[np.float64]
    since_found: NDArray[np.int64]
    born_after: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track_id)

    def kept(self, keep: NDArray[np.bool_]) -> "Tracks":
        """Return the rows where `keep` is true."""
        return Tracks(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    def joined(self, others: "Tracks") -> "Tracks":
        """Return these rows, then the others'."""
        names = [f.name for f in fields(self)]
        return Tracks(**{n: np.concatenate([getattr(self, n), getattr(others, n)]) for n in names})

    def updated(self, **arrays: Any) -> "Tracks":
        """Return the same columns with some arrays replaced."""
        return replace(self, **arrays)


def no_tracks(max_count: int, n_errors: int) -> Tracks:
    """Return the table without rows."""
    return born_tracks(0, np.empty((0, 2)), np.empty((0, max_count + 1, n_errors)), np.empty(0, np.int64))


def born_tracks(
    first_id: int, places: NDArray[np.float64], beliefs: Beliefs, looked: NDArray[np.int64]
) -> Tracks:
    """Return new rows, found for the first time after so many frames in which each was looked for."""
    n = len(places)
    return Tracks(
        track_id=np.arange(first_id, first_id + n),
        place=places,
        beliefs=beliefs,
        count=np.full(n, UNKNOWN_COUNT),
        found=np.zeros(n),
        looked=np.zeros(n),
        since_found=np.zeros(n, np.int64),
        born_after=looked,
    )
