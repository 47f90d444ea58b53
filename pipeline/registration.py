"""How a frame's columns lie over the columns that are followed: the shift between them, and who is whom.

A shift is found in two steps. Guesses (the frame before, the correlation of the images, and, where neither
fits, the most frequent differences of all pairs) are compared by how many columns they bring to lie on a
followed one; a guess wrong by a lattice vector loses at the particle's outline. The best is then refined by
the mean residual of the pairs: a hundred columns found to within 15 pm give the drift to within 2 pm.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["find_shift", "pairs_within"]

_FEW_PAIRS = 60_000  # all distances are faster to have than two trees
_PASSES = 2
_SQUARES = 6  # of the most frequent differences that are tried
_POOR = 0.5
_FEWEST = 4  # pairs, and of more columns half, and two: fewer come together by chance
_MOST_DIFFERENCES = 2_000_000
_BETTER = 1.1  # by this factor another guess must fit better than the first

Places = NDArray[np.float64]


def pairs_within(found: Places, known: Places, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the places (n, 2), (m, 2) that are each other's nearest within `reach`."""
    if not len(found) or not len(known):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distance, nearest_known, nearest_found = _nearest(found, known)
    i = np.flatnonzero((distance <= reach) & (nearest_found[nearest_known] == np.arange(len(found))))
    return i, nearest_known[i]


def _nearest(found: Places, known: Places) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return distance and index of the nearest known place, and for each known one the nearest found."""
    if len(found) * len(known) <= _FEW_PAIRS:
        squared = np.subtract.outer(found[:, 0], known[:, 0]) ** 2
        squared += np.subtract.outer(found[:, 1], known[:, 1]) ** 2
        nearest = squared.argmin(axis=1)
        return np.sqrt(squared[np.arange(len(found)), nearest]), nearest, squared.argmin(axis=0)
    distance, nearest = cKDTree(known).query(found)
    return np.asarray(distance), np.asarray(nearest), np.asarray(cKDTree(found).query(known)[1])


def find_shift(
    found: Places, known: Places, weights: NDArray[np.float64], guesses: Sequence[Places], reach: float
) -> tuple[Places, float]:
    """Find how far a frame's columns are shifted against the followed ones.

    Parameters
    ----------
    found, known : numpy.ndarray of float64, shapes (n, 2) and (m, 2)
        Places (y, x), in any one unit.
    weights : numpy.ndarray of float64, shape (m,)
        How much each followed column counts.
    guesses : sequence of numpy.ndarray, shape (2,)
        Where to begin; the first is preferred where others are not clearly better. At least one.
    reach : float
        Largest distance of a pair.

    Returns
    -------
    shift : numpy.ndarray of float64, shape (2,)
        ``found - shift`` lies over ``known``; the first guess where nothing fits, or no more than by chance.
    share : float
        Weight of the followed columns that have a partner, of all.
    """
    whole = float(weights.sum())
    if not len(found) or whole <= 0.0:
        return guesses[0], 0.0
    best, share = _best_of(found, known, weights / whole, guesses, reach)
    possible = min(1.0, len(found) / len(known))
    if share < _POOR * possible and min(len(found), len(known)) >= _FEWEST:
        frequent = _most_frequent_differences(found, known, weights, reach)
        likeliest, _ = _best_of(found, known, weights / whole, frequent, reach, better=1.0)
        n_pairs = len(pairs_within(found - likeliest, known, reach)[0])
        if n_pairs >= _FEWEST // 2 + min(len(found), len(known)) / 2:
            best, share = _best_of(found, known, weights / whole, [best, likeliest], reach)
    for _ in range(_PASSES):
        i, j = pairs_within(found - best, known, reach)
        if weights[j].sum() > 0.0:
            best = best + np.average(found[i] - best - known[j], axis=0, weights=weights[j])
            share = float(weights[j].sum()) / whole
    return best, share


def _best_of(
    found: Places,
    known: Places,
    weights: NDArray[np.float64],
    guesses: Sequence[Places],
    reach: float,
    better: float = _BETTER,
) -> tuple[Places, float]:
    """Return the guess with which most weight has a partner, and that share; a later one must be better."""
    best, most = guesses[0], -1.0
    for guess in guesses:
        _, j = pairs_within(found - guess, known, reach)
        share = float(weights[j].sum())
        if share > better * most:
            best, most = guess, share
    return best, most


def _most_frequent_differences(
    found: Places, known: Places, weights: NDArray[np.float64], reach: float
) -> list[Places]:
    """Return the mean differences in the fullest squares of side `reach`, the fullest first.

    Squares overlap by half, so that one of them holds all of a peak. They are several, because a lattice's
    wrong differences are nearly as frequent as the right one.
    """
    found = found[:: -(-len(found) * len(known) // _MOST_DIFFERENCES)]
    differences = (found[:, None] - known[None]).reshape(-1, 2)
    cells = ((differences - differences.min(axis=0)) // (reach / 2)).astype(np.int64)
    shape = tuple(cells.max(axis=0) + 1)
    each = np.tile(weights, len(found))
    votes, *sums = (
        _of_squares(np.bincount(np.ravel_multi_index(tuple(cells.T), shape), values, np.prod(shape)), shape)
        for values in (each, *(each * along for along in differences.T))
    )
    fullest = np.argsort(-votes, axis=None, kind="stable")[:_SQUARES]
    return [np.array([total.flat[i] / votes.flat[i] for total in sums]) for i in fullest if votes.flat[i] > 0]


def _of_squares(cells: NDArray[np.number], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Add up the values of cells, flat, in all squares of 2 x 2 of them."""
    padded = np.pad(cells.reshape(shape), 1)
    rows = padded[1:] + padded[:-1]
    return np.asarray(rows[:, 1:] + rows[:, :-1])
