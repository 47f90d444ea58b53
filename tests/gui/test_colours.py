"""One colour a count, told apart by everybody: colour blindness is simulated, not assumed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gui.colours import count_colours, count_scale_length, lookup_table, text_on
from gui.settings import COLOUR_MAPS

# Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency",
# IEEE TVCG 15 (2009) 1291, severity 1.0; applied to linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab_of(srgb: NDArray[np.uint8], vision: object) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of colours as a person with that vision sees them."""
    value = srgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.asarray(vision).T).clip(0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = seen @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("n", [8, 12])
def test_neighbouring_counts_differ_visibly(n: int, vision: str) -> None:
    steps = np.linalg.norm(np.diff(lab_of(count_colours(n), VISION[vision]), axis=0), axis=1)
    assert steps.min() > 4.5  # 2.3 is just noticeable


@pytest.mark.parametrize("vision", VISION)
def test_more_atoms_are_always_lighter(vision: str) -> None:
    assert (np.diff(lab_of(count_colours(12), VISION[vision])[:, 0]) > 0).all()


def test_numbers_in_discs_are_legible() -> None:
    def luminance(srgb: NDArray[np.uint8]) -> float:
        value = srgb / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for colour in count_colours(12):
        text = 1.0 if text_on(colour) == "#ffffff" else 0.0
        high, low = max(luminance(colour), text), min(luminance(colour), text)
        assert (high + 0.05) / (low + 0.05) > 3.0  # WCAG 2, large or bold text


def test_the_scale_grows_in_steps() -> None:
    assert [count_scale_length(n) for n in (0, 1, 12, 13, 16, 17)] == [12, 12, 12, 16, 16, 20]


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_lookup_tables_have_the_length_that_draws_fast(name: str) -> None:
    table = lookup_table(name)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert len(np.unique(table, axis=0)) > 100
