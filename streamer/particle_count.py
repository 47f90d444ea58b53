"""How many particles of each shape a run has found, for its summary."""

from collections import Counter
from collections.abc import Sequence

from streamer.records import UNSURE, FrameResult

__all__ = ["ParticleCount"]


class ParticleCount:
    """Counts particles as their frames' results come in; a particle seen in ten frames counts ten times."""

    def __init__(self) -> None:
        self._by_number: Counter[int] = Counter()

    def take(self, result: FrameResult) -> None:
        """Count a frame's particles; costs nothing where there are none."""
        if len(result.particles):
            self._by_number.update(result.particles["shape"].tolist())

    def by_shape(self, shapes: Sequence[str]) -> dict[str, int]:
        """Return the numbers by name, every one of `shapes` and `UNSURE`; empty where no shapes are told."""
        if not shapes:
            return {}
        return {name: self._by_number[i] for i, name in enumerate(shapes)} | {UNSURE: self._by_number[-1]}
