"""The shipped states of one particle."""

from itertools import pairwise

import numpy as np
import pytest

from simulator.demo_states import load_states
from simulator.optics import Optics, image_intensity


def test_states_change_by_single_atoms_of_few_columns() -> None:
    states = load_states()
    assert states.waves.shape[0] >= 16
    counts = [dict(zip(c["column_id"], c["count"], strict=True)) for c in map(states.columns_of, range(16))]
    for before, after in pairwise(counts):
        changes = [int(after.get(i, 0)) - int(before.get(i, 0)) for i in before.keys() | after.keys()]
        changed = [change for change in changes if change]
        assert 1 <= len(changed) <= 6
        assert sum(map(abs, changed)) <= 6


def test_columns_are_bright_at_their_places_and_the_border_is_vacuum() -> None:
    states = load_states()
    image = image_intensity(states.waves[0], states.pixel_size_A, Optics(), np)
    columns = states.columns_of(0)
    y, x = (np.rint(columns[name] / states.pixel_size_A).astype(int) for name in ("y_A", "x_A"))
    assert np.median(image[y, x]) > 1.5
    assert image[:4].mean() == pytest.approx(1.0, abs=0.02)
    assert image.mean() == pytest.approx(1.0, abs=0.02)
