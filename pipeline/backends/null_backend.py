"""The backend that does nothing: what is left of the time is the pipe's own."""

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.checks import check_batch, check_collect, expect_shapes
from pipeline.backends.device import HOST
from pipeline.backends.protocol import BatchShape, NetworkOutput
from pipeline.particle_networks import AnyNetworks
from streamer.records import AnalyserInfo

__all__ = ["NullBackend"]


class NullBackend:
    """Answers each batch with vacuum without columns, in the shapes of the real networks."""

    def __init__(self, networks: AnyNetworks, threads: int = 0, precision: str = "") -> None:
        self.device = HOST
        self._networks = networks
        self._shape: BatchShape | None = None
        self._in_flight = 0
        self._vacuum: NetworkOutput | None = None

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Allocate the answer."""
        image = (shape.frames, shape.height, shape.width)
        counts = (shape.frames, self._networks.max_count, shape.height, shape.width)
        columns = (np.zeros(image, np.float32), np.zeros(counts, np.float32))
        self._vacuum = NetworkOutput(np.ones(image, np.float32), *(columns if counts[1] else ()))
        self._shape = shape
        return AnalyserInfo("null", "none", "none", "1", self._networks.sha256)

    def submit(self, frames: NDArray[np.float32]) -> None:
        """Check the batch as any backend does, and compute nothing."""
        check_batch(frames, self._shape, self._networks.channels, self._in_flight)
        self._in_flight += 1

    def ready(self) -> bool:
        """Nothing takes any time."""
        return self._in_flight > 0

    def collect(self) -> NetworkOutput:
        """Return vacuum."""
        check_collect(self._in_flight)
        self._in_flight -= 1
        assert self._vacuum is not None  # noqa: S101  submit() saw to it
        return self._vacuum

    def classify(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Find every shape as probable as any other."""
        return np.zeros((len(patches), len(expect_shapes(self._networks.shapes).classes)), np.float32)

    def close(self) -> None:
        """Release the answer."""
        self._vacuum = self._shape = None
        self._in_flight = 0
