"""The lens: analytic contrast of a thin phase object, and what no lens may change."""

import abtem
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.demo_states import load_states
from simulator.optics import (
    WAVELENGTH_300KEV_A,
    Optics,
    aberration_phase,
    frequencies,
    image_intensity,
    transfer,
)

PIXEL_A = 0.2
SIZE = 64
CYCLES = 8
G = CYCLES / (SIZE * PIXEL_A)  # spatial frequency of the grating [1/Å]


def grating(strength: float) -> NDArray[np.complex64]:
    """Return the exit wave 1 + iε cos(2π g x) of a thin phase grating, shape (1, 64, 64)."""
    wave = 1 + 1j * strength * np.cos(2 * np.pi * CYCLES * np.arange(SIZE) / SIZE)
    return np.broadcast_to(wave, (1, SIZE, SIZE)).astype(np.complex64)


def contrast(optics: Optics, focal_points: int = 1) -> float:
    """Return the amplitude of cos(2π g x) in the image of a grating, divided by ε."""
    strength = 1e-3
    image = image_intensity(grating(strength), PIXEL_A, optics, np, focal_points)
    wave = np.cos(2 * np.pi * CYCLES * np.arange(SIZE) / SIZE)
    return float(2 * ((image - 1.0) * wave).mean() / strength)


def chi(overfocus_A: float, cs_A: float) -> float:
    """Return the lens's phase at g, from the textbook formula."""
    wavelength = WAVELENGTH_300KEV_A
    return np.pi * wavelength * overfocus_A * G**2 + 0.5 * np.pi * wavelength**3 * cs_A * G**4


@settings(max_examples=20, deadline=None)
@given(overfocus_A=st.floats(-150, 150), cs_A=st.floats(-2e5, 2e5))
def test_thin_phase_object_has_the_contrast_2_sin_chi(overfocus_A: float, cs_A: float) -> None:
    optics = Optics(overfocus_A, cs_A, focal_spread_A=0.0, convergence_mrad=0.0)
    assert contrast(optics) == pytest.approx(2 * np.sin(chi(overfocus_A, cs_A)), abs=2e-3)


def test_contrast_vanishes_where_chi_is_pi() -> None:
    overfocus_A = 1 / (WAVELENGTH_300KEV_A * G**2)
    assert contrast(Optics(overfocus_A, 0.0, focal_spread_A=0.0, convergence_mrad=0.0)) == pytest.approx(
        0, abs=2e-3
    )


@pytest.mark.parametrize("focal_spread_A", [20.0, 40.0])
def test_focal_spread_damps_by_the_gaussian_envelope(focal_spread_A: float) -> None:
    sharp = contrast(Optics(60.0, -1e5, focal_spread_A=0.0, convergence_mrad=0.0))
    optics = Optics(60.0, -1e5, focal_spread_A=focal_spread_A, convergence_mrad=0.0)
    blurred = contrast(optics, focal_points=9)
    envelope = np.exp(-0.5 * (np.pi * WAVELENGTH_300KEV_A * focal_spread_A * G**2) ** 2)
    assert blurred / sharp == pytest.approx(envelope, rel=0.012)  # the sum ends at 2.5 spreads


def test_phase_and_sign_agree_with_abtem() -> None:
    """The defocus of abTEM is our overfocus with the other sign; its transfer function is exp(-iχ) too."""
    ctf = abtem.CTF(energy=300e3, defocus=-70.0, Cs=-1.2e5)
    angles = np.array([[0.005, 0.01, 0.015]])
    theirs = ctf._evaluate_from_angular_grid(angles, np.zeros_like(angles))
    gx = angles / WAVELENGTH_300KEV_A
    ours = transfer(np.zeros_like(gx), gx, Optics(70.0, -1.2e5, convergence_mrad=0.0), np)
    assert np.allclose(ours, theirs, atol=2e-3)


def test_astigmatism_adds_focus_along_its_axis_and_takes_it_away_across() -> None:
    gy, gx = frequencies(SIZE, SIZE, PIXEL_A, np)
    along = Optics(50.0, 0.0, astigmatism_A=20.0, astigmatism_angle_rad=0.0)
    phase = aberration_phase(gy, gx, along, np)
    assert phase[0, CYCLES] == pytest.approx(chi(70.0, 0.0), rel=1e-5)
    assert phase[CYCLES, 0] == pytest.approx(chi(30.0, 0.0), rel=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), overfocus_A=st.floats(-150, 150))
def test_a_lens_removes_no_electrons(seed: int, overfocus_A: float) -> None:
    rng = np.random.default_rng(seed)
    wave = rng.normal(size=(2, 32, 32)) + 1j * rng.normal(size=(2, 32, 32))
    image = image_intensity(wave, PIXEL_A, Optics(overfocus_A, convergence_mrad=0.0), np)
    assert image.mean() == pytest.approx((np.abs(wave) ** 2).mean(), rel=1e-5)


def summed(focal_spread_A: float, most: float, apart: float) -> NDArray[np.float32]:
    """A picture of ceria, its focal spread summed over foci so many spreads apart, up to ± most spreads."""
    states, offsets = load_states(), np.arange(-most, most + 0.01, apart)
    weights = np.exp(-0.5 * offsets**2) / np.exp(-0.5 * offsets**2).sum()
    foci = [Optics(overfocus_A=60.0 + o * focal_spread_A, focal_spread_A=0.0) for o in offsets]
    images = [image_intensity(states.waves[:1], states.pixel_size_A, focus, np, 1) for focus in foci]
    return np.asarray(np.tensordot(weights, np.stack(images), 1), np.float32)


@pytest.mark.parametrize(("focal_spread_A", "off"), [(20.0, 0.005), (30.0, 0.012), (40.0, 0.073)])
def test_the_sum_over_foci_is_off_by_what_its_docstring_says(focal_spread_A: float, off: float) -> None:
    states = load_states()
    fine = summed(focal_spread_A, 3.5, 0.25)
    optics = Optics(overfocus_A=60.0, focal_spread_A=focal_spread_A)
    image = image_intensity(states.waves[:1], states.pixel_size_A, optics, np)
    assert (image - fine).std() / fine.std() == pytest.approx(off, abs=0.005)


def test_vacuum_stays_at_one() -> None:
    image = image_intensity(np.ones((2, 32, 48), np.complex64), PIXEL_A, Optics(), np)
    assert image == pytest.approx(1.0, abs=1e-5)


def test_torch_gives_what_numpy_gives_and_takes_a_state_for_each_image() -> None:
    rng = np.random.default_rng(0)
    waves = (1 + 0.3 * rng.normal(size=(2, 2, 32, 32)) + 0.3j * rng.normal(size=(2, 2, 32, 32))).astype(
        np.complex64
    )
    foci = [30.0, 80.0]
    batch = Optics(
        overfocus_A=torch.tensor(foci).reshape(2, 1, 1), astigmatism_A=15.0, astigmatism_angle_rad=0.4
    )
    together = image_intensity(torch.from_numpy(waves), PIXEL_A, batch, torch).numpy()
    for wave, focus, image in zip(waves, foci, together, strict=True):
        optics = Optics(overfocus_A=focus, astigmatism_A=15.0, astigmatism_angle_rad=0.4)
        assert image == pytest.approx(image_intensity(wave, PIXEL_A, optics, np), abs=2e-4)
