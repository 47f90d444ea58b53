"""A backend with its input buffers: fills batches, and loads the networks again when the shape changes."""

from collections import deque
from typing import NamedTuple

from pipeline.assembly import FrameAssembly
from pipeline.backends import IN_FLIGHT, Backend, BatchShape, NetworkOutput
from pipeline.backends.device import Device
from pipeline.preprocess import Array
from pipeline.tiling import Tile
from streamer.errors import BackendError
from streamer.records import AnalyserInfo

__all__ = ["Engine", "Slot"]


class Slot(NamedTuple):
    """One place in a batch: a tile of a frame."""

    frame: FrameAssembly
    tile: Tile


class Engine:
    """Runs batches of at most `frames` slots; up to `IN_FLIGHT` of them at a time, the oldest finished first.

    Batches of several frames have one input buffer more than that: while the others are being computed, it
    may be filled. A frame that is a batch by itself is computed where it lies.

    Parameters
    ----------
    backend : Backend
    frames : int
        Slots in a batch; the networks are compiled for this number.
    channels : int
        Channels of their input.

    Attributes
    ----------
    loads : int
        How often the networks were loaded.
    """

    def __init__(self, backend: Backend, frames: int, channels: int) -> None:
        self._backend = backend
        self._frames = frames
        self._channels = channels
        self._shape: tuple[int, int] | None = None
        self._buffers: deque[Array] = deque()
        self._in_flight: deque[tuple[list[Slot], Array]] = deque()
        self.loads = 0

    @property
    def device(self) -> Device:
        """Where frames are prepared and answers read."""
        return self._backend.device

    @property
    def busy(self) -> bool:
        """Whether a batch is being computed."""
        return bool(self._in_flight)

    @property
    def full(self) -> bool:
        """Whether a batch must be finished before another can be started."""
        return len(self._in_flight) >= IN_FLIGHT

    @property
    def ready(self) -> bool:
        """Whether the oldest batch is computed."""
        return self._backend.ready()

    def fits(self, shape: tuple[int, int]) -> bool:
        """Whether the networks are loaded for tiles of `shape` (height, width)."""
        return self._shape == shape

    def load(self, shape: tuple[int, int]) -> AnalyserInfo:
        """Load the networks for tiles of `shape`; no batch may be in flight.

        Raises
        ------
        BackendError
            If they cannot be loaded.
        """
        self._shape = None
        self._buffers.clear()
        info = self._backend.load(BatchShape(self._frames, *shape))
        if self._frames > 1:
            batch = (self._frames, self._channels, *shape)
            self._buffers.extend(self._backend.device.zeros(batch) for _ in range(IN_FLIGHT + 1))
        self._shape = shape
        self.loads += 1
        return info

    def start(self, slots: list[Slot]) -> None:
        """Start computing `slots`, all of one shape; places that they leave free hold the first once more.

        Raises
        ------
        BackendError
            If the networks cannot be loaded for their shape, or the engine refuses the batch.
        """
        if not self.fits(slots[0].tile.shape):
            self.load(slots[0].tile.shape)
        batch = self._batch_of(slots)
        self._backend.submit(batch)
        self._in_flight.append((slots, batch))

    def finish(self) -> tuple[list[Slot], NetworkOutput | BackendError]:
        """Wait for the oldest batch; return it with its answer, or with the error that took it.

        The answer may be read until the next `finish` or `load`.
        """
        slots, _ = self._in_flight.popleft()
        try:
            return slots, self._backend.collect()
        except BackendError as error:
            return slots, error

    def _batch_of(self, slots: list[Slot]) -> Array:
        """Return the input of a batch, shape (frames, C, height, width)."""
        if self._frames == 1:
            return self._backend.device.xp.ascontiguousarray(slots[0].frame.input_of(slots[0].tile)[None])
        batch = self._buffers[0]
        self._buffers.rotate(-1)
        for place, slot in enumerate(slots):
            batch[place] = slot.frame.input_of(slot.tile)
        batch[len(slots) :] = batch[:1]  # what an earlier batch left there could spoil this one's answer
        return batch
