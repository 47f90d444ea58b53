"""Several orientations of each frame through the same networks, and the mean of what they say of it.

Atoms have no handedness to a microscope: what is true of a frame is true of its mirror image. The networks
were trained on frames of any orientation, and what they say of one differs from what they say of its mirror
image by their own error alone, part of which the mean leaves out. It costs a computation an orientation. What
is gained: docs/analysis.md.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.checks import check_batch, check_collect
from pipeline.backends.protocol import IN_FLIGHT, Array, Backend, BatchShape, NetworkOutput
from streamer.errors import BackendError, DeviceLostError
from streamer.records import AnalyserInfo

__all__ = ["ORIENTATIONS", "OrientedBackend"]


class Orientation(NamedTuple):
    """A mirror image: which axes are reversed, y or x; it is its own inverse."""

    y: bool
    x: bool

    def of(self, images: Array) -> Array:
        """Return the images (…, H, W) in this orientation, as a view."""
        return images[..., :: -1 if self.y else 1, :: -1 if self.x else 1]


ORIENTATIONS = {
    1: (Orientation(False, False),),
    2: (Orientation(False, False), Orientation(True, True)),
    4: tuple(Orientation(y, x) for y in (False, True) for x in (False, True)),
}
"""Those which keep a frame's shape, by their number."""


@dataclass(slots=True)
class _Batch:
    """A batch of the caller's, and what is known of the answer."""

    frames: Array
    left: int
    sums: list[Array] = field(default_factory=list)
    error: BackendError | None = None


class OrientedBackend:
    """A backend that asks another one about several orientations of each batch.

    The answers are added up as they come, so that the other backend always has its next batch while the
    answer to the one before is turned back and added.

    Parameters
    ----------
    inner : Backend
        Runs the networks; it belongs to this one from now on.
    number : int
        How many orientations: a key of `ORIENTATIONS`.
    channels : int
        Channels of the networks' input.

    Raises
    ------
    BackendError
        If there are not so many orientations.
    """

    def __init__(self, inner: Backend, number: int, channels: int) -> None:
        if number not in ORIENTATIONS:
            raise BackendError(f"no {number} orientations of a frame; choose one of {[*ORIENTATIONS]}")
        self.device = inner.device
        self._inner = inner
        self._orientations = ORIENTATIONS[number]
        self._channels = channels
        self._shape: BatchShape | None = None
        self._batches: deque[_Batch] = deque()
        self._waiting: deque[tuple[_Batch, Orientation]] = deque()
        self._computing: deque[tuple[_Batch, Orientation, Array]] = deque()

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Load the networks into the other backend."""
        self._forget()
        info = self._inner.load(shape)
        self._shape = shape
        return info

    def submit(self, frames: Array) -> None:
        """Start with as many orientations as the other backend has room for."""
        check_batch(frames, self._shape, self._channels, len(self._batches), self.device.xp)
        batch = _Batch(frames, len(self._orientations))
        self._batches.append(batch)
        self._waiting.extend((batch, orientation) for orientation in self._orientations)
        self._start()

    def ready(self) -> bool:
        """Take in what has been computed meanwhile, and start what comes next."""
        while self._computing and self._inner.ready():
            self._finish_one()
        return bool(self._batches) and not self._batches[0].left

    def collect(self) -> NetworkOutput:
        """Wait for all orientations of the oldest batch, and return the mean of the answers.

        That of the logits is the geometric mean of the probabilities.
        """
        check_collect(len(self._batches))
        batch = self._batches[0]
        while batch.left:
            self._finish_one()
        self._batches.popleft()
        if batch.error is not None:
            raise batch.error
        for total in batch.sums:
            total *= 1.0 / len(self._orientations)
        return NetworkOutput(*batch.sums)

    def classify(self, patches: Array) -> NDArray[np.float32]:
        """Let the other backend run the shape network, on the patches as they are."""
        return self._inner.classify(patches)

    def close(self) -> None:
        """Close the other backend."""
        self._forget()
        self._inner.close()

    def _start(self) -> None:
        """Give the other backend what it has room for; an error belongs to the batch it is raised for."""
        while self._waiting and len(self._computing) < IN_FLIGHT:
            batch, orientation = self._waiting.popleft()
            turned = self.device.xp.ascontiguousarray(orientation.of(batch.frames))
            try:
                self._inner.submit(turned)
            except BackendError as error:
                self._give_up(batch, error)
            else:
                self._computing.append((batch, orientation, turned))

    def _finish_one(self) -> None:
        batch, orientation, _ = self._computing.popleft()
        try:
            output = self._inner.collect()
        except BackendError as error:
            self._give_up(batch, error)
            self._start()
            return
        self._start()
        _add(batch, orientation, output)

    def _give_up(self, batch: _Batch, error: BackendError) -> None:
        """Fail an orientation; without a device all that are under way, as nothing may be asked of it."""
        _fail(batch, error)
        if isinstance(error, DeviceLostError):
            under_way = [*(b for b, _ in self._waiting), *(b for b, _, _ in self._computing)]
            for other in under_way:
                _fail(other, error)
            self._waiting.clear()
            self._computing.clear()

    def _forget(self) -> None:
        self._shape = None
        for queue in (self._batches, self._waiting, self._computing):
            queue.clear()


def _fail(batch: _Batch, error: BackendError) -> None:
    batch.left -= 1
    batch.error = batch.error or error


def _add(batch: _Batch, orientation: Orientation, output: NetworkOutput) -> None:
    """Turn an answer back, and add it to what is there; the answer itself is the other backend's."""
    batch.left -= 1
    answers = (output.denoised, output.column_probability, output.count_logits)
    turned = [orientation.of(answer) for answer in answers if answer is not None]
    if not batch.sums:
        batch.sums = [answer.copy() for answer in turned]
        return
    for total, answer in zip(batch.sums, turned, strict=True):
        total += answer
