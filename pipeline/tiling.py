"""Cutting frames that are too large for the networks' memory into overlapping tiles.

Vacuum level and noise are measured on the whole frame before. What a convolution says about a pixel depends
on its surroundings alone: with tiles that begin on multiples of 16 and overlap by more than the networks
look, the tiles' cores put together are the answer to the whole frame. A network with normalisation layers
looks at the whole tile, so its counts may differ between tiles; docs/analysis.md says by how much.
"""

from dataclasses import dataclass
from itertools import pairwise, product

from pipeline.preprocess import SIZE_MULTIPLE

__all__ = ["MARGIN_PX", "MAX_SIDE_PX", "Span", "Tile", "cut", "tile_shape", "tiles_of"]

MAX_SIDE_PX = 1280
"""A longer side is cut. Both networks take about 1 kB of memory a pixel: 1.6 GB for a tile of this size."""

MARGIN_PX = 128
"""How far a core stays from its tile's inner edges: what is farther off changes no answer by over 0.02."""


@dataclass(frozen=True, slots=True)
class Span:
    """A tile's extent along one axis, and within it the core that is taken from this tile [px]."""

    start: int
    stop: int
    core_start: int
    core_stop: int


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a frame."""

    y: Span
    x: Span

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) [px]."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start


def tiles_of(
    shape: tuple[int, int], max_side_px: int = MAX_SIDE_PX, margin_px: int = MARGIN_PX
) -> list[Tile]:
    """Cut a padded frame of `shape` into tiles of equal size; a frame within the limit is one tile."""
    return [Tile(y, x) for y, x in product(*(cut(side, max_side_px, margin_px) for side in shape))]


def tile_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of the tiles of a frame (height, width) in the networks' pixels, padded or not."""
    return tiles_of((_up(shape[0]), _up(shape[1])))[0].shape


def cut(side: int, max_side_px: int, margin_px: int) -> list[Span]:
    """Cut one side, a multiple of 16, into the fewest spans of equal length.

    Spans begin and end on multiples of 16; their cores are adjacent and cover the side; a core is at least
    `margin_px` away from an end of its span that is not an end of the side.
    """
    if side <= max_side_px:
        return [Span(0, side, 0, side)]
    n = -(-(side - 2 * margin_px) // (max_side_px - 2 * margin_px - SIZE_MULTIPLE))
    length = _up(-(-(side + (n - 1) * (2 * margin_px + SIZE_MULTIPLE)) // n))
    starts = [(side - length) * i // (n - 1) // SIZE_MULTIPLE * SIZE_MULTIPLE for i in range(n)]
    seams = [(a + length + b) // 2 for a, b in pairwise(starts)]
    edges = [0, *seams, side]
    return [Span(s, s + length, *core) for s, core in zip(starts, pairwise(edges), strict=True)]


def _up(side: int) -> int:
    return -(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE
