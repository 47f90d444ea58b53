"""A recorded run against the truth saved beside it."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from simulator.accuracy import Accuracy, compare_frame, total
from simulator.truth import Truth, read_truth

__all__ = ["MAX_FRAMES", "judge"]

MAX_FRAMES = 5000
"""Of a longer run, this many frames are compared, evenly spread: a few seconds' work."""

_FOUND_FIELDS = ("y", "x", "count", "probability")


def judge(recording: Path, truth: Path) -> Accuracy:
    """Compare a run's columns with the truth.

    Parameters
    ----------
    recording : pathlib.Path
        The result file of a run on a simulated movie; it must be closed.
    truth : pathlib.Path
        The movie's truth, from `simulator.truth.truth_path`.
    """
    known = read_truth(truth)
    with h5py.File(recording, "r") as file:
        return total(_comparisons(file, known))


def _comparisons(file: h5py.File, truth: Truth) -> Iterator[Accuracy]:
    columns, summary = file["entry/columns"], file["entry/summary"]
    frame_ids, first_rows, lengths = summary["frame_id"][:], columns["first_row"][:], summary["n_columns"][:]
    for i in _evenly_spread(len(frame_ids), MAX_FRAMES):
        true = truth.columns_of(int(frame_ids[i]))
        if true is not None:
            rows = slice(int(first_rows[i]), int(first_rows[i]) + int(lengths[i]))
            yield compare_frame(_found(columns, rows), true, truth.pixel_size_A)


def _evenly_spread(count: int, at_most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).astype(np.intp))


def _found(columns: h5py.Group, rows: slice) -> NDArray[np.void]:
    parts = {name: columns[name][rows] for name in _FOUND_FIELDS}
    found = np.zeros(rows.stop - rows.start, [(name, part.dtype) for name, part in parts.items()])
    for name, part in parts.items():
        found[name] = part
    return found
