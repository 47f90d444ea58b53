"""The frames before the newest one, laid over it, for a denoiser that sees several."""

from collections import deque
from types import ModuleType

from pipeline.preprocess import Array, with_older

__all__ = ["RecentFrames", "laid_over"]


class RecentFrames:
    """Holds a series' last frames.

    Parameters
    ----------
    frames : int
        How many the denoiser sees, the newest included.
    """

    def __init__(self, frames: int) -> None:
        self._older: deque[tuple[Array, tuple[int, int]]] = deque(maxlen=frames - 1)
        self._n_older = frames - 1

    def with_next(self, frame: Array, contrast: Array, shift: tuple[int, int], xp: ModuleType) -> Array:
        """Return a frame (2, h, w) with those before it, shape (frames + 1, h, w), and remember it.

        Parameters
        ----------
        frame : array
            As `pipeline.preprocess.normalise` returns it.
        contrast : array, shape (h, w)
            The same in units of the vacuum level.
        shift : tuple of int
            How far (y, x) it lies from the series' first frame.
        xp : module
            Array module of both.
        """
        older = [laid_over(contrast, other, _between(shift, there), xp) for other, there in self._older]
        self._older.appendleft((contrast, shift))
        return self._stacked(frame, older or [contrast], xp)

    def alone(self, frame: Array, contrast: Array, xp: ModuleType) -> Array:
        """Return a frame that the others cannot be laid over, as `with_next`; it is not remembered."""
        return self._stacked(frame, [contrast], xp)

    def _stacked(self, frame: Array, older: list[Array], xp: ModuleType) -> Array:
        """Let the oldest frame there is stand for those missing before it."""
        missing = [older[-1]] * (self._n_older - len(older))
        return with_older(frame[None], [image[None] for image in (*older, *missing)], xp)[0]


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
