"""From exit waves to images: the objective lens and the partial coherence of the illumination.

**Sign of the defocus, stated once**: ``overfocus_A`` is the coefficient C10 of the aberration function in the
notation of Krivanek et al. (Ultramicroscopy 78 (1999) 1), positive for overfocus; abTEM's ``defocus`` is
-C10. With a negative spherical aberration, positive C10 makes atom columns bright (negative-Cs imaging, Jia
et al., Science 299 (2003) 870), which is what the networks are trained for.

The phase of the lens is χ(g) = π λ C10 g² + ½ π λ³ Cs g⁴ + π λ A1 g² cos 2(φ - φ_A1), and the wave's spectrum
is multiplied by exp(-iχ).

Temporal coherence is a sum of intensities over a Gaussian spread of foci; unlike an envelope on the wave this
keeps the mean intensity, to which the preprocessing refers. Spatial coherence is the usual envelope on the
wave, which at these defoci takes away less than a percent.

One implementation serves NumPy and torch: the array module comes in as ``xp``. Every field of :class:`Optics`
may be a number or an array that broadcasts against (…, h, w), e.g. shape (N, 1, 1) for a batch.
"""

from dataclasses import dataclass, replace
from math import exp
from typing import Any

Array = Any
"""An array of the module handed in as ``xp`` (NumPy, CuPy or torch)."""

WAVELENGTH_300KEV_A = 0.0196875
"""Relativistic electron wavelength at 300 keV [Å]."""
FOCI_APART = 0.625
"""Distance of the foci that stand for the focal spread, in units of it."""


@dataclass(frozen=True, slots=True)
class Optics:
    """State of the objective lens and the illumination.

    ``overfocus_A`` is C10 (positive = overfocus, see the module), ``cs_A`` the spherical aberration,
    ``astigmatism_A`` and ``astigmatism_angle_rad`` the twofold astigmatism, ``focal_spread_A`` the standard
    deviation of the focus, ``convergence_mrad`` the standard deviation of the illumination's angle.
    """

    overfocus_A: Array = 50.0
    cs_A: Array = -1.0e5
    astigmatism_A: Array = 0.0
    astigmatism_angle_rad: Array = 0.0
    focal_spread_A: Array = 30.0
    convergence_mrad: Array = 0.15


def frequencies(height: int, width: int, pixel_size_A: float, xp: Any) -> tuple[Array, Array]:
    """Return the spatial frequencies gy (h, 1) and gx (1, w) [1/Å] in the order of the FFT."""
    gy = xp.asarray(xp.fft.fftfreq(height, d=pixel_size_A), dtype=xp.float32)
    gx = xp.asarray(xp.fft.fftfreq(width, d=pixel_size_A), dtype=xp.float32)
    return gy[:, None], gx[None, :]


def aberration_phase(gy: Array, gx: Array, optics: Optics, xp: Any) -> Array:
    """Return χ [rad] at the spatial frequencies."""
    wavelength = WAVELENGTH_300KEV_A
    g2 = gy**2 + gx**2
    double_angle = 2.0 * xp.asarray(optics.astigmatism_angle_rad, dtype=xp.float32)
    stigma = xp.cos(double_angle) * (gx**2 - gy**2) + xp.sin(double_angle) * 2.0 * gx * gy
    focus = optics.overfocus_A * g2 + optics.astigmatism_A * stigma
    return xp.pi * wavelength * (focus + 0.5 * wavelength**2 * optics.cs_A * g2**2)


def spatial_envelope(gy: Array, gx: Array, optics: Optics, xp: Any) -> Array:
    """Return the damping by the illumination's convergence.

    exp(-½ σ² |∇χ|² / (2π)² · (2π/λ)²) with σ the angle's standard deviation and ∇χ/2π = λ C10 g + λ³ Cs g³;
    Williams & Carter, Transmission Electron Microscopy, 2nd ed., eq. 28.38, written for a standard deviation.
    """
    wavelength = WAVELENGTH_300KEV_A
    g2 = gy**2 + gx**2
    slope2 = g2 * (optics.overfocus_A + wavelength**2 * optics.cs_A * g2) ** 2
    return xp.exp(-2.0 * (xp.pi * optics.convergence_mrad * 1e-3) ** 2 * slope2)


def transfer(gy: Array, gx: Array, optics: Optics, xp: Any) -> Array:
    """Return the complex transfer function of one focus."""
    chi = aberration_phase(gy, gx, optics, xp)
    return spatial_envelope(gy, gx, optics, xp) * (xp.cos(chi) - 1j * xp.sin(chi))  # exp(-iχ), but faster


def focal_offsets(points: int, apart: float) -> tuple[list[float], list[float]]:
    """Return foci in units of the focal spread, so far apart and centred, and their Gaussian weights.

    Foci hΔ apart sum a Gaussian of standard deviation Δ well, until the lens' phases at two of them differ by
    2π: around g = √(2 / λhΔ), 2.3 1/Å at a spread of 3 nm. With nine of them, `FOCI_APART`, pictures of
    ceria are off by 0.5, 1 and 7 % of their contrast at 2, 3 and 4 nm (``tests/simulator/test_optics.py``).
    """
    offsets = [apart * (k - (points - 1) / 2) for k in range(points)]
    weights = [exp(-0.5 * offset**2) for offset in offsets]
    return offsets, [weight / sum(weights) for weight in weights]


def image_intensity(
    waves: Array,
    pixel_size_A: float,
    optics: Optics,
    xp: Any,
    focal_points: int = 9,
    foci_apart: float = FOCI_APART,
) -> Array:
    """Form the images of exit waves.

    Parameters
    ----------
    waves
        Complex (…, P, h, w): P frozen-phonon configurations, incident wave 1.
    pixel_size_A
        Pixel of the waves [Å].
    optics
        Fields are numbers, or arrays of shape (…, 1, 1) for the leading axes of ``waves``.
    xp
        Module of ``waves``: numpy, cupy or torch.
    focal_points
        Number of foci that stand for the focal spread; 1 ignores it.
    foci_apart
        Their distance, in units of the focal spread.

    Returns
    -------
    Intensity (…, h, w), real, 1 in vacuum: mean over P of the intensities, with the focal spread summed.
    """
    gy, gx = frequencies(waves.shape[-2], waves.shape[-1], pixel_size_A, xp)
    spectra = xp.fft.fft2(waves)
    intensity = 0.0
    for offset, weight in zip(*focal_offsets(focal_points, foci_apart), strict=True):
        focus = replace(optics, overfocus_A=optics.overfocus_A + offset * optics.focal_spread_A)
        lens = transfer(gy, gx, focus, xp)[..., None, :, :]  # (…, 1, h, w)
        intensity = intensity + weight * (abs(xp.fft.ifft2(spectra * lens)) ** 2).mean(-3)
    return intensity
