"""Particles as they are drawn: an outline, and what shape it is with which probability. Pure."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.records import UNSURE

__all__ = ["ParticleMark", "mean_size_nm", "resolve_particles", "sound_particles"]

_MOST = 256


@dataclass(frozen=True, slots=True)
class ParticleMark:
    """One particle.

    Attributes
    ----------
    outline : tuple of (float, float)
        Corners (y, x) in recorded pixels.
    text : str
        Shape, probability and size, one line.
    sure : bool
        Whether a shape was said; else the outline is dashed, and the text names the likeliest as a guess.
    """

    outline: tuple[tuple[float, float], ...]
    text: str
    sure: bool


def resolve_particles(particles: NDArray[np.void], shapes: tuple[str, ...]) -> tuple[ParticleMark, ...]:
    """Decide how a frame's particles are drawn.

    Parameters
    ----------
    particles : numpy.ndarray of PARTICLE_DTYPE, shape (n,)
    shapes : tuple of str
        Names of the classes, by number.
    """
    return tuple(_mark(particle, shapes) for particle in particles)


def sound_particles(particles: NDArray[np.void]) -> NDArray[np.void]:
    """Leave out what cannot be drawn: outlines that are no numbers, and more than anybody could look at."""
    good = np.isfinite(particles["outline"]).all(axis=(1, 2)) & np.isfinite(particles["size"])
    return particles[:_MOST] if good[:_MOST].all() else particles[good][:_MOST]


def mean_size_nm(particles: NDArray[np.void]) -> float:
    """Return the mean diameter [nm] of those that the frame's edge does not cut; NaN if there are none."""
    whole = particles["size"][particles["touches_border"] == 0]
    return float(whole.mean()) if len(whole) else math.nan


def _mark(particle: np.void, shapes: tuple[str, ...]) -> ParticleMark:
    probabilities = np.nan_to_num(particle["shape_probabilities"][: max(len(shapes), 1)])
    likeliest = int(probabilities.argmax())
    sure = bool(particle["shape"] >= 0)
    name = shapes[likeliest] if likeliest < len(shapes) else f"shape {likeliest}"
    said = f"{name} {100 * float(probabilities[likeliest]):.0f} %"
    cut = ", cut by the edge" if particle["touches_border"] else ""
    text = f"{said if sure else f'{UNSURE} ({said}?)'}, {float(particle['size']):.1f} nm{cut}"
    return ParticleMark(tuple(map(tuple, particle["outline"].tolist())), text, sure)
