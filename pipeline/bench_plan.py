"""What `atomstream bench` measures: each case is one whole run of real processes."""

from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["Case", "Extent", "FULL", "QUICK"]


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    Attributes
    ----------
    rate_hz : float
        Frames offered a second, whether they are taken or not; 0: as fast as they are taken.
    n_frames : int
    size_px : int
        Side of a frame.
    backend, policy : str
    analyse, record, window : bool
    batch_frames : int
    max_wait_ms : float
    wire, compression : str
        Of the stream.
    """

    rate_hz: float = 0.0
    n_frames: int = 100
    size_px: int = 512
    backend: str = "auto"
    policy: str = "wait"
    analyse: bool = True
    record: bool = True
    window: bool = False
    batch_frames: int = 1
    max_wait_ms: float = 20.0
    wire: str = "dectris2"
    compression: str = "bslz4"

    @property
    def key(self) -> str:
        """Name a case by all but its rate and length, so that cases of two machines can be compared."""
        what = f"{self.backend} {self.policy} b{self.batch_frames} w{self.max_wait_ms:g}"
        kept = "recorded" if self.record else "not recorded"
        shown = " shown" if self.window else ""
        return f"{self.size_px} px {what if self.analyse else 'no analysis'} {kept}{shown}"

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    def at(self, rate_hz: float, seconds: float, at_least: int = 20) -> "Case":
        """Return the same at a rate, as long as `seconds`."""
        return replace(self, rate_hz=rate_hz, n_frames=max(at_least, round(rate_hz * seconds)))


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes
    ----------
    loads : tuple of float
        Offered rates, as parts of the most that is taken.
    batches : tuple of (int, float)
        Batch sizes with their longest waits [ms].
    sizes_px : tuple of int
    seconds : float
        Length of a run at a given rate.
    capacity_frames : int
        Length of a run that is as fast as it goes.
    """

    loads: tuple[float, ...]
    batches: tuple[tuple[int, float], ...]
    sizes_px: tuple[int, ...]
    seconds: float
    capacity_frames: int


FULL = Extent(
    loads=(0.25, 0.5, 0.75, 0.9, 1.0, 1.2),
    batches=((1, 20.0), (2, 20.0), (4, 20.0), (8, 20.0), (4, 5.0), (4, 80.0)),
    sizes_px=(256, 512, 1024),
    seconds=10.0,
    capacity_frames=200,
)
QUICK = Extent(loads=(0.5, 0.9, 1.2), batches=((4, 20.0),), sizes_px=(256,), seconds=2.0, capacity_frames=40)
