"""What a column's counts in many frames say together: a hidden Markov model and its forward filter.

A network's errors are not independent from frame to frame: the focus, the neighbours and the column's own
height are the same, and so is much of its error. Multiplying the frames' probabilities would be certain of
a wrong count after a second. So a column's hidden state has two parts, the number of atoms `k`
(0: there is no column) and the network's standing error `e`; what a frame shows is the apparent count
``k + e``, at least 1 where there are atoms (how often a column is missed altogether is a rate of its own), 0
meaning that nothing is to be seen. Atoms come and go one at a time; the standing error is drawn anew
now and then. Where the error stays while the apparent count steps, atoms have come or gone, and that is known
with more certainty than how many there are.

Steps are those of analysed frames, not of time, so that a replay gives the same values to the last bit.
Pure functions on arrays of shape (n, K + 1, E): columns, counts 0 … K, standing errors -r … r (E = 2 r + 1).
The filter is that of Rabiner, Proc. IEEE 77 (1989) 257, section III A; tempering the observations is what
Grünwald & van Ommen, Bayesian Analysis 12 (2017) 1069, do for models that are not quite right.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FusionModel",
    "beliefs_at_birth",
    "count_probabilities",
    "predict",
    "update_found",
    "update_missed",
]

Beliefs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FusionModel:
    """The model's constants at one noise level; `training.calibrate_tracking` measures them.

    Attributes
    ----------
    tempering : float
        Exponent on a frame's distribution over counts: 1 takes frames for independent.
    detection_tempering : float
        The same for whether a column was found at all.
    outliers : float
        Share of frames whose counts say nothing.
    errors : tuple of float
        Probabilities of the standing errors -r … r, an odd number of them.
    renewal, change, jump : float
        Probabilities in one frame that the standing error is drawn anew, that one atom comes or goes, and
        that the count becomes any other.
    false_rate : float
        Share of frames in which something is found where there is nothing, at one place.
    false_finds : float
        Share of the columns found in a frame that are none.
    standing_false : float
        Share of those that are found there again and again.
    decision_odds : float
        How many times as probable as the count decided on another must be to replace it.
    common_error : float
        Error of the total that all columns share, as a share of the total.
    """

    tempering: float = 0.3
    detection_tempering: float = 0.3
    outliers: float = 0.05
    errors: tuple[float, ...] = (0.02, 0.13, 0.7, 0.13, 0.02)
    renewal: float = 0.001
    change: float = 0.002
    jump: float = 0.0002
    false_rate: float = 0.02
    false_finds: float = 0.05
    standing_false: float = 0.05
    decision_odds: float = 3.0
    common_error: float = 0.01

    def for_average_of(self, frames: int) -> "FusionModel":
        """Return the model for frames of which each is the mean of so many: as much less is new in each."""
        return replace(
            self, tempering=self.tempering / frames, detection_tempering=self.detection_tempering / frames
        )


def beliefs_at_birth(
    max_count: int, absent: NDArray[np.float64], grown: NDArray[np.float64], model: FusionModel
) -> Beliefs:
    """Return what is believed of `n` columns that were found for the first time, shape (n, K + 1, E).

    `absent` (n,) is the probability that there is none, `grown` (n,) that there was none before: columns grow
    from one atom, but half of them may have grown further since the frame before. What the network says of
    their counts is not in it yet.
    """
    counts = np.repeat((1.0 - absent - 0.5 * grown)[:, None] / max_count, max_count + 1, axis=1)
    counts[:, 0] = absent
    counts[:, 1] += 0.5 * grown
    return counts[:, :, None] * _drawn_errors(max_count + 1, model)


def predict(beliefs: Beliefs, model: FusionModel) -> Beliefs:
    """Return the beliefs one frame later, before that frame is looked at; same shape."""
    coming = 0.5 * model.change * beliefs[:, :-1]
    going = 0.5 * model.change * beliefs[:, 1:]
    moved = beliefs.copy()
    moved[:, 1:] += coming - going
    moved[:, :-1] += going - coming
    anywhere = moved.mean(axis=1, keepdims=True)
    moved += model.jump * (anywhere - moved)
    anew = moved.sum(axis=2, keepdims=True) * _drawn_errors(beliefs.shape[1], model)
    return np.asarray(moved + model.renewal * (anew - moved))


def update_found(
    beliefs: Beliefs, probabilities: NDArray[np.floating], found_rate: NDArray[np.float64], model: FusionModel
) -> Beliefs:
    """Return the beliefs after a frame in which all `n` columns were found.

    Parameters
    ----------
    beliefs : numpy.ndarray of float64, shape (n, K + 1, E)
    probabilities : numpy.ndarray, shape (n, K)
        The network's distribution over 1 … K atoms.
    found_rate : numpy.ndarray of float64, shape (n,)
        In what share of frames each column is found while it is there.
    model : FusionModel
    """
    max_count = probabilities.shape[1]
    tempered = np.maximum(probabilities.astype(np.float64), 1e-12) ** model.tempering
    tempered /= tempered.sum(axis=1, keepdims=True)
    shown = (1.0 - model.outliers) * tempered + model.outliers / max_count
    likelihood = np.empty((len(beliefs), max_count + 1))
    likelihood[:, 0] = model.false_rate**model.detection_tempering * shown[:, 0]  # noise looks like one atom
    likelihood[:, 1:] = found_rate[:, None] ** model.detection_tempering * shown
    return _multiplied(beliefs, likelihood)


def update_missed(beliefs: Beliefs, found_rate: NDArray[np.float64], model: FusionModel) -> Beliefs:
    """Return the beliefs after a frame in which none of the `n` columns was found."""
    likelihood = np.empty(beliefs.shape[:2])
    likelihood[:, 0] = 1.0 - model.false_rate
    likelihood[:, 1:] = 1.0 - found_rate[:, None]
    return _multiplied(beliefs, likelihood**model.detection_tempering)


def count_probabilities(beliefs: Beliefs) -> NDArray[np.float64]:
    """Return the probabilities (n, K + 1) of 0 … K atoms."""
    return np.asarray(beliefs.sum(axis=2))


def apparent_probabilities(beliefs: Beliefs) -> NDArray[np.float64]:
    """Return the probabilities (n, K + 1) of the apparent counts: 0 is not to be seen."""
    at = _apparent_counts(*beliefs.shape[1:])
    states = (at.ravel()[:, None] == np.arange(at.shape[0])).astype(np.float64)  # (states, K + 1)
    return np.asarray(beliefs.reshape(len(beliefs), at.size) @ states)


def _drawn_errors(n_counts: int, model: FusionModel) -> NDArray[np.float64]:
    """Return the probabilities of the standing errors where there are 0 … K atoms, shape (K + 1, E).

    Where there are none, an error that shows some is rarer: it is a column seen where there is nothing.
    """
    errors = np.array(model.errors)
    shown = np.arange(len(errors)) > len(errors) // 2
    at_nothing = np.where(shown, errors, 0.0)
    at_nothing *= model.standing_false / max(at_nothing.sum(), 1e-12)
    at_nothing[len(errors) // 2] = 1.0 - at_nothing.sum()
    rows = np.tile(errors, (n_counts, 1))
    rows[0] = at_nothing
    return rows


def _multiplied(beliefs: Beliefs, likelihood: NDArray[np.float64]) -> Beliefs:
    """Return the normalised product with the likelihood (n, K + 1) of each apparent count."""
    product = beliefs * likelihood[:, _apparent_counts(*beliefs.shape[1:])]
    return np.asarray(product / product.sum(axis=(1, 2), keepdims=True))


@lru_cache
def _apparent_counts(n_counts: int, n_errors: int) -> NDArray[np.intp]:
    """Return the apparent count of every state, shape (K + 1, E)."""
    apparent = np.arange(n_counts)[:, None] + np.arange(n_errors) - n_errors // 2
    least = np.minimum(np.arange(n_counts), 1)[:, None]
    return np.clip(apparent, least, n_counts - 1)
