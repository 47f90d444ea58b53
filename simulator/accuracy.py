"""How well counts agree with a known truth: columns found, missed and invented, and their atoms."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["MATCH_RADIUS_A", "Accuracy", "compare_frame", "match", "total"]

MATCH_RADIUS_A = 0.8
"""How far a column may be found from its true place; half the distance of the closest columns is 1.35 Å."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Sums over frames; the shares follow from them.

    A matched column is exact where its count is the true one. `atoms_error` is the sum over frames of the
    difference in total atoms, without its sign; `probability` the sum of what the network said of its
    own counts.
    """

    frames: int = 0
    true_columns: int = 0
    found_columns: int = 0
    matched: int = 0
    exact: int = 0
    within_one: int = 0
    true_atoms: int = 0
    atoms_error: int = 0
    squared_distance_A2: float = 0.0
    probability: float = 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def summary(self) -> dict[str, float]:
        """Return the figures a user reads: shares from 0 to 1, the error of the position in Å."""
        return {
            "frames": self.frames,
            "true_columns": self.true_columns,
            "found_columns": self.found_columns,
            "exact_share": _share(self.exact, self.matched),
            "within_one_share": _share(self.within_one, self.matched),
            "mean_probability": _share(self.probability, self.matched),
            "missed_share": _share(self.true_columns - self.matched, self.true_columns),
            "false_share": _share(self.found_columns - self.matched, self.true_columns),
            "total_atoms_error_share": _share(self.atoms_error, self.true_atoms),
            "position_rms_A": _share(self.squared_distance_A2, self.matched) ** 0.5,
        }


def compare_frame(found: NDArray[np.void], true: NDArray[np.void], pixel_size_A: float) -> Accuracy:
    """Compare one frame's columns with the truth.

    Parameters
    ----------
    found : numpy.ndarray with fields y, x [px], count, probability, shape (n,)
    true : numpy.ndarray with fields y, x [px] and count, shape (m,)
    pixel_size_A : float
    """
    i, j = match(_places_A(found, pixel_size_A), _places_A(true, pixel_size_A), MATCH_RADIUS_A)
    error = found["count"][i].astype(int) - true["count"][j].astype(int)
    apart_A = (_places_A(found, pixel_size_A)[i] - _places_A(true, pixel_size_A)[j]).astype(float)
    return Accuracy(
        frames=1,
        true_columns=len(true),
        found_columns=len(found),
        matched=len(i),
        exact=int((error == 0).sum()),
        within_one=int((abs(error) <= 1).sum()),
        true_atoms=int(true["count"].sum(dtype=int)),
        atoms_error=abs(int(found["count"].sum(dtype=int)) - int(true["count"].sum(dtype=int))),
        squared_distance_A2=float((apart_A**2).sum()),
        probability=float(found["probability"][i].sum(dtype=float)),
    )


def match(
    found: NDArray[np.floating], true: NDArray[np.floating], radius: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the pairs of places (n, 2), (m, 2) that are each other's nearest in `radius`."""
    if not len(found) or not len(true):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distance, nearest_true = cKDTree(true).query(found)
    _, nearest_found = cKDTree(found).query(true)
    partner, back = np.asarray(nearest_true), np.asarray(nearest_found)
    i = np.flatnonzero((np.asarray(distance) <= radius) & (back[partner] == np.arange(len(found))))
    return i, partner[i]


def total(frames: Iterable[Accuracy]) -> Accuracy:
    """Add up the comparisons of many frames."""
    return sum(frames, Accuracy())


def _places_A(columns: NDArray[np.void], pixel_size_A: float) -> NDArray[np.floating]:
    return np.stack([columns["y"], columns["x"]], axis=-1) * pixel_size_A


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
