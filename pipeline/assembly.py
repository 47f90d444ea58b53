"""A frame while its tiles come back from the networks, and what they add up to."""

from math import nan
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from pipeline.backends import NetworkOutput
from pipeline.columns import ColumnHeights, measure_batch
from pipeline.familiarity import PeakSums
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import Array
from pipeline.tiling import Tile, tiles_of

__all__ = ["MIN_COLUMN_DISTANCE_A", "FrameAssembly", "find_in_batch"]

MIN_COLUMN_DISTANCE_A = 1.6
"""Closer peaks are one column. Columns of cerium are 2.7 Å apart along [100] and 3.3 Å along [110], of gold
2.0 and 2.5 Å."""


def find_in_batch(
    output: NetworkOutput, n_slots: int, network_pixel_A: float, threshold: float, xp: ModuleType
) -> list[ColumnHeights]:
    """Find the columns in the first `n_slots` places of a batch, while `output` may still be read.

    Parameters
    ----------
    network_pixel_A : float
        Pixel size of the networks' maps [Å].
    threshold : float
        Lowest detection that counts as a column.
    xp : module
        Array module of `output`.
    """
    maps = output.column_probability[:n_slots], output.count_logits[:n_slots]
    return measure_batch(*maps, threshold, MIN_COLUMN_DISTANCE_A / network_pixel_A, xp)


class FrameAssembly:
    """Collects the networks' answers to one frame.

    Parameters
    ----------
    prepared : PreparedFrame

    Attributes
    ----------
    tiles : list of Tile
        What has to be computed: one tile for all but very large frames.
    peaks : PeakSums
        Sums over the column map, for `pipeline.familiarity`.
    t_decoded, t_batched, t_computed : float
        When the frame was prepared, when its last tile was handed to the engine, and when the answer to that
        was there [Unix s on the run's clock]; set by the analyser.
    failed : bool
        Whether the frame was given up; answers to its other tiles are then ignored.
    published : bool
        Whether its result was sent.
    """

    def __init__(self, prepared: PreparedFrame) -> None:
        _, height, width = prepared.frame.shape
        self.prepared = prepared
        self.tiles = tiles_of((height, width))
        self.peaks = PeakSums()
        self.failed = self.published = False
        self.t_decoded = self.t_batched = self.t_computed = nan
        self._n_in = 0
        self._parts: list[ColumnHeights] = []
        self._denoised: Array | None = None

    def input_of(self, tile: Tile) -> Array:
        """Return the networks' input of one tile, shape (C, height, width), a view."""
        return self.prepared.frame[:, tile.y.start : tile.y.stop, tile.x.start : tile.x.stop]

    def put(self, tile: Tile, output: NetworkOutput, slot: int, found: ColumnHeights | None) -> bool:
        """Take in the answer at place `slot` of a batch, and the columns found in it, if any are looked for.

        Returns whether the frame is complete. Of a frame of one tile, `denoised` is a view of the backend's
        memory: use it before the next batch is collected.
        """
        if found is not None:
            self._parts.append(self._in_core(found, tile))
            self.peaks.add(output.column_probability[slot])
        self._take_denoised(output.denoised[slot], tile)
        self._n_in += 1
        return self._n_in == len(self.tiles)

    @property
    def denoised(self) -> Array:
        """The whole denoised frame, shape (h, w) without padding, in units of the vacuum level."""
        height, width = self.prepared.network_shape
        return (
            self._denoised[:height, :width] if self._denoised is not None else self.prepared.xp.empty((0, 0))
        )

    def heights(self) -> ColumnHeights:
        """Return the columns of the whole frame, in its own pixels."""
        heights = ColumnHeights(
            np.concatenate([part.table for part in self._parts]),
            np.concatenate([part.expected_atoms for part in self._parts]),
            np.concatenate([part.variance for part in self._parts]),
            np.concatenate([part.probabilities for part in self._parts]),
        )
        for axis, scale in zip("yx", self.prepared.scale, strict=True):
            heights.table[axis] *= scale
        return heights

    def probabilities(self) -> NDArray[np.float32]:
        """Return the distributions over counts of `heights`, shape (n, K); of particles there are none."""
        nothing = np.empty((0, 0), np.float32)
        return np.concatenate([part.probabilities for part in self._parts]) if self._parts else nothing

    def _in_core(self, found: ColumnHeights, tile: Tile) -> ColumnHeights:
        """Move columns from a tile to the frame; drop those outside the core, or in the frame's padding."""
        keep = np.ones(len(found.table), bool)
        for axis, span, side in zip("yx", (tile.y, tile.x), self.prepared.network_shape, strict=True):
            place = found.table[axis]
            place += span.start
            keep &= (place >= span.core_start) & (place < span.core_stop) & (place <= side - 1)
        return ColumnHeights(
            found.table[keep], found.expected_atoms[keep], found.variance[keep], found.probabilities[keep]
        )

    def _take_denoised(self, denoised: Array, tile: Tile) -> None:
        if len(self.tiles) == 1:
            self._denoised = denoised
            return
        if self._denoised is None:
            self._denoised = self.prepared.xp.empty(self.prepared.frame.shape[1:], np.float32)
        y, x = tile.y, tile.x
        core = denoised[
            y.core_start - y.start : y.core_stop - y.start, x.core_start - x.start : x.core_stop - x.start
        ]
        self._denoised[y.core_start : y.core_stop, x.core_start : x.core_stop] = core
