"""What the networks are compared with does what it says on frames that are easy to read."""

import numpy as np

from streamer.records import COLUMN_DTYPE
from training.baselines import at_surface, fit_counter


def lattice() -> np.ndarray:
    """Return 5 × 5 columns 16 px apart."""
    y, x = np.meshgrid(np.arange(5) * 16.0 + 32, np.arange(5) * 16.0 + 32, indexing="ij")
    table = np.zeros(25, COLUMN_DTYPE)
    table["y"], table["x"], table["count"] = y.ravel(), x.ravel(), 1 + np.arange(25) % 6
    return table


def test_the_surface_is_the_rim() -> None:
    rim = at_surface(lattice(), 5.6).reshape(5, 5)
    assert rim.sum() == 16
    assert not rim[1:-1, 1:-1].any()


def test_the_counter_of_peaks_reads_what_is_linear_in_the_count() -> None:
    table = lattice()
    pixel = np.arange(128.0)
    frame = np.ones((128, 128))
    for y, x, count in zip(table["y"], table["x"], table["count"], strict=True):
        frame += 0.3 * count * np.exp(-((pixel[:, None] - y) ** 2 + (pixel - x) ** 2) / 18.0)
    counter = fit_counter(frame[None].astype(np.float32), [table])
    found = counter.columns(frame.astype(np.float32))
    assert len(found) == 25
    assert np.array_equal(np.sort(found["count"]), np.sort(table["count"]))
