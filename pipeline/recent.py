"""The frames before the newest one, laid over it, for a denoiser that sees several."""

from collections import deque
from types import ModuleType
from typing import NamedTuple

from pipeline.preprocess import Array, with_older

__all__ = ["RecentFrames", "alike", "laid_over"]

_ANOTHER_EXPOSURE = 2.0
"""Frames whose noise levels differ by more than this factor do not belong together: the beam was blanked."""


class _Seen(NamedTuple):
    """A frame (h, w) in units of its vacuum level, its noise in them, and how far it lies from the first."""

    contrast: Array
    noise: float
    place: tuple[int, int]


class RecentFrames:
    """Holds a series' last frames.

    Parameters
    ----------
    frames : int
        How many the denoiser sees, the newest included.
    """

    def __init__(self, frames: int) -> None:
        self._n_older = frames - 1
        self._older: deque[_Seen] = deque(maxlen=self._n_older)

    def with_next(
        self, frame: Array, contrast: Array, noise: float, place: tuple[int, int] | None, xp: ModuleType
    ) -> Array:
        """Return a frame (2, h, w) with those before it, shape (frames + 1, h, w), and remember it.

        Parameters
        ----------
        frame : array
            As `pipeline.preprocess.normalise` returns it.
        contrast : array, shape (h, w)
            The same in units of the vacuum level.
        noise : float
            Its noise, in these units.
        place : tuple of int or None
            How far (y, x) it lies from the series' first frame. None if nobody knows: then the frame stays
            alone, and is not remembered.
        xp : module
            Array module of the frame.
        """
        older: list[Array] = []
        if place is not None:
            fitting = [seen for seen in self._older if alike(seen.noise, noise)]
            older = [laid_over(contrast, s.contrast, _between(place, s.place), xp) for s in fitting]
            self._older.appendleft(_Seen(contrast, noise, place))
        older = older or [contrast]
        missing = [older[-1]] * (self._n_older - len(older))  # the oldest frame there is stands for them
        return with_older(frame[None], [image[None] for image in (*older, *missing)], xp)[0]


def alike(noise: float, other: float) -> bool:
    """Whether frames of these noise levels are of one exposure."""
    return max(noise, other) <= _ANOTHER_EXPOSURE * min(noise, other)


def laid_over(beneath: Array, image: Array, step: tuple[int, int], xp: ModuleType) -> Array:
    """Return an image (h, w) moved by `step` (y, x); where it does not reach, what is beneath shows."""
    if step == (0, 0):
        return image
    steps = [max(-side, min(side, d)) for d, side in zip(step, image.shape, strict=True)]
    there = tuple(slice(max(0, d), side - max(0, -d)) for d, side in zip(steps, image.shape, strict=True))
    here = tuple(slice(max(0, -d), side - max(0, d)) for d, side in zip(steps, image.shape, strict=True))
    moved = xp.array(beneath)
    moved[there] = image[here]
    return moved


def _between(shift: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return shift[0] - other[0], shift[1] - other[1]
