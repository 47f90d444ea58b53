"""Which of a column's two counts is meant: that of the frame shown, or that of all frames so far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gui.settings import CountsFrom

__all__ = ["Counted", "any_fused", "counted", "fused_or_nan"]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Counts of n columns.

    Attributes
    ----------
    count : numpy.ndarray of intp, shape (n,)
        Atoms; 0: probably no column.
    probability : numpy.ndarray of float64, shape (n,)
        That the count is right.
    known : numpy.ndarray of bool, shape (n,)
        False where the column is not followed, so that it has no fused count.
    """

    count: NDArray[np.intp]
    probability: NDArray[np.float64]
    known: NDArray[np.bool_]


def counted(columns: NDArray[np.void], source: CountsFrom) -> Counted:
    """Take one of the two counts of `columns` (COLUMN_DTYPE)."""
    prefix = "fused_" if source is CountsFrom.FUSED else ""
    count = columns[f"{prefix}count"].astype(np.intp)
    probability = columns[f"{prefix}probability"].astype(np.float64)
    known = np.isfinite(probability) if prefix else np.ones(len(columns), bool)
    return Counted(count, probability, known)


def any_fused(columns: NDArray[np.void]) -> bool:
    """Whether at least one of `columns` has a fused count."""
    return bool(np.isfinite(columns["fused_probability"]).any())


def fused_or_nan(column: np.void) -> tuple[float, float]:
    """Return a column's fused count and its probability; NaN, NaN if it is not followed."""
    probability = float(column["fused_probability"])
    return (float(column["fused_count"]), probability) if probability == probability else (np.nan, np.nan)
