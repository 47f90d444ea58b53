"""A backend with its input buffers: fills batches, and loads the networks again when the shape changes."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.assembly import FrameAssembly
from pipeline.backends import Backend, BatchShape, NetworkOutput
from pipeline.tiling import Tile
from streamer.records import AnalyserInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Engine", "Slot"]


class Slot(NamedTuple):
    """One place in a batch: a tile of a frame."""

    frame: FrameAssembly
    tile: Tile


class Engine:
    """Runs batches of at most `frames` slots, one at a time.

    Two input buffers take turns: while one is being computed, the other may be filled.

    Parameters
    ----------
    backend : Backend
    frames : int
        Slots in a batch; the networks are compiled for this number.
    channels : int
        Channels of their input.

    Attributes
    ----------
    slots : list of Slot
        The batch that is being computed; empty: none.
    loads : int
        How often the networks were loaded.
    """

    def __init__(self, backend: Backend, frames: int, channels: int) -> None:
        self._backend = backend
        self._frames = frames
        self._channels = channels
        self._buffers: list[NDArray[np.float32]] = []
        self.slots: list[Slot] = []
        self.loads = 0

    @property
    def busy(self) -> bool:
        """Whether a batch is being computed."""
        return bool(self.slots)

    def fits(self, shape: tuple[int, int]) -> bool:
        """Whether the networks are loaded for tiles of `shape` (height, width)."""
        return bool(self._buffers) and self._buffers[0].shape[2:] == shape

    def load(self, shape: tuple[int, int]) -> AnalyserInfo:
        """Load the networks for tiles of `shape`; no batch may be on its way.

        Raises
        ------
        BackendError
            If they cannot be loaded.
        """
        self._buffers = []
        info = self._backend.load(BatchShape(self._frames, *shape))
        self._buffers = [np.zeros((self._frames, self._channels, *shape), np.float32) for _ in range(2)]
        self.loads += 1
        return info

    def start(self, slots: list[Slot]) -> None:
        """Start computing `slots`, all of one shape; places that they leave free hold an earlier batch.

        Raises
        ------
        BackendError
            If the networks cannot be loaded for their shape, or the engine refuses the batch.
        """
        if not self.fits(slots[0].tile.shape):
            self.load(slots[0].tile.shape)
        self._buffers.reverse()
        for place, slot in enumerate(slots):
            self._buffers[0][place] = slot.frame.input_of(slot.tile)
        self._backend.submit(self._buffers[0])
        self.slots = slots

    def finish(self) -> NetworkOutput:
        """Wait for the batch; its answer may be read until the next `finish` or `load`.

        Raises
        ------
        BackendError
            If the engine failed.
        """
        self.slots = []
        return self._backend.collect()
