r"""A particle on a membrane, from the exit waves of both computed apart.

In the projection approximation the wave behind two thin objects is the product of what each does to the
incident wave. Amorphous carbon scatters weakly and in all directions alike, and each of the slightly inclined
waves that it makes passes the particle as the straight one does. So one particle goes with any number of
membranes, at the price of a product instead of a multislice.

What the product must not forget is the distance between the two: carbon's grain is as fine as 2 Å, and over
6 nm the focus changes it. All waves are referred to the particle's exit surface, from which defocus counts:

- the membrane comes first: its exit wave travels on through the particle's thickness;
- the particle comes first: the membrane lies behind that surface, so its exit wave is taken back by its own
  thickness, to the plane at which the particle's wave enters it.

Compared with the multislice through both (the first row is ``tests/simulator/test_support.py``; error and
carbon's share relative to the standard deviation of the picture, overfocus 2 to 9 nm, Cs -10 µm):

=============================  ============  ==================  =====================
\                              this product  without the travel  carbon's share
=============================  ============  ==================  =====================
2.7 nm particle, 2 nm carbon   0.06 to 0.11  0.27 to 0.62        0.3 to 0.8
5.3 nm particle, 6 nm carbon   0.09 to 0.12  0.29 to 0.54        0.2 to 0.5
=============================  ============  ==================  =====================
"""

from typing import Any

from simulator.optics import WAVELENGTH_300KEV_A, frequencies

Array = Any
"""An array of the module handed in as ``xp`` (NumPy or torch)."""


def propagated(waves: Array, distance_A: Array, pixel_size_A: float, xp: Any) -> Array:
    """Let waves (…, h, w) travel along the beam [Å] (a number or (…, 1, 1); negative: back).

    The Fresnel propagator, exp(-iπ λ d g²), as in multislice.
    """
    gy, gx = frequencies(waves.shape[-2], waves.shape[-1], pixel_size_A, xp)
    phase = xp.pi * WAVELENGTH_300KEV_A * distance_A * (gy**2 + gx**2)
    return xp.fft.ifft2(xp.fft.fft2(waves) * (xp.cos(phase) - 1j * xp.sin(phase)))


def membrane_distance_A(carbon_first: bool, particle_A: float, carbon_A: float) -> float:
    """Return how far a membrane's exit wave has to travel to the particle's exit surface [Å].

    ``particle_A`` is the particle's extent along the beam and ``carbon_A`` the membrane's thickness.
    """
    return particle_A if carbon_first else -carbon_A


def supported(particle: Array, carbon: Array, distance_A: Array, pixel_size_A: float, xp: Any) -> Array:
    """Return the waves at the exit surface of particles (…, h, w), with membranes (…, h, w) at a distance."""
    return particle * propagated(carbon, distance_A, pixel_size_A, xp)
