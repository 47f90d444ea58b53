"""A frame while its tiles come back from the networks, and what they add up to."""

from math import nan

import numpy as np
from numpy.typing import NDArray

from pipeline.backends import NetworkOutput
from pipeline.columns import ColumnHeights, measure_columns
from pipeline.familiarity import PeakSums
from pipeline.prepare import PreparedFrame
from pipeline.tiling import Tile, tiles_of

__all__ = ["MIN_COLUMN_DISTANCE_A", "FrameAssembly"]

MIN_COLUMN_DISTANCE_A = 1.6
"""Closer peaks are one column. Cerium columns are 2.7 Å apart along [100] and 3.3 Å along [110]."""


class FrameAssembly:
    """Collects the networks' answers to one frame.

    Parameters
    ----------
    prepared : PreparedFrame
    network_pixel_A : float
        Pixel size of the networks' maps [Å].
    threshold : float
        Lowest detection that counts as a column.

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
    """

    def __init__(self, prepared: PreparedFrame, network_pixel_A: float, threshold: float) -> None:
        _, height, width = prepared.frame.shape
        self.prepared = prepared
        self.tiles = tiles_of((height, width))
        self.peaks = PeakSums()
        self.failed = False
        self.t_decoded = self.t_batched = self.t_computed = nan
        self._min_distance_px = MIN_COLUMN_DISTANCE_A / network_pixel_A
        self._threshold = threshold
        self._parts: list[ColumnHeights] = []
        self._denoised: NDArray[np.float32] | None = None

    def input_of(self, tile: Tile) -> NDArray[np.float32]:
        """Return the networks' input of one tile, shape (C, height, width), a view."""
        return self.prepared.frame[:, tile.y.start : tile.y.stop, tile.x.start : tile.x.stop]

    def put(self, tile: Tile, output: NetworkOutput, slot: int) -> bool:
        """Take in the answer at place `slot` of a batch; returns whether the frame is complete.

        The columns are found here, while `output` may still be read. Of a frame of one tile, `denoised` is a
        view of the backend's memory: use it before the next batch is collected.
        """
        found = measure_columns(
            output.column_probability[slot], output.count_logits[slot], self._threshold, self._min_distance_px
        )
        self._parts.append(self._in_core(found, tile))
        self.peaks.add(output.column_probability[slot])
        self._take_denoised(output.denoised[slot], tile)
        return len(self._parts) == len(self.tiles)

    @property
    def denoised(self) -> NDArray[np.float32]:
        """The whole denoised frame, shape (h, w) without padding, in units of the vacuum level."""
        height, width = self.prepared.network_shape
        return self._denoised[:height, :width] if self._denoised is not None else np.empty((0, 0), np.float32)

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

    def _take_denoised(self, denoised: NDArray[np.float32], tile: Tile) -> None:
        if len(self.tiles) == 1:
            self._denoised = denoised
            return
        if self._denoised is None:
            self._denoised = np.empty(self.prepared.frame.shape[1:], np.float32)
        y, x = tile.y, tile.x
        core = denoised[
            y.core_start - y.start : y.core_stop - y.start, x.core_start - x.start : x.core_stop - x.start
        ]
        self._denoised[y.core_start : y.core_stop, x.core_start : x.core_stop] = core
