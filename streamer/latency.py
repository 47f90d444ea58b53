"""How long each stage took, for every frame of a run, in a bounded amount of memory."""

from collections.abc import Sequence
from math import log, nan
from typing import TYPE_CHECKING, Self

import numpy as np

from streamer.records import FrameResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DISPLAYED", "PERCENTILES", "STAGES", "TRIGGERED", "WHOLE", "Latencies", "LatencyHistogram"]

PERCENTILES = (50.0, 99.0, 99.9, 100.0)
"""What is printed, shown and stored of each stage [%]; the last is the longest."""

WHOLE = "received_to_published"
DISPLAYED = "received_to_displayed"
TRIGGERED = "received_to_triggered"

STAGES = {
    "detector_to_received": "start of the exposure, by the detector's clock → taken from the receive queue",
    "received_to_recorded": "→ written to the file",
    "received_to_decoded": "waited for an analyser, decompressed, normalised",
    "decoded_to_batched": "waited for its batch and for the engine",
    "batched_to_computed": "both networks, their queue included",
    "computed_to_published": "columns, counts and drift found (of several analysers: in turn), result sent",
    WHOLE: "the sum: taken from the receive queue → result sent",
    "published_to_stored": "result on its way back into the file",
    DISPLAYED: "taken from the receive queue → drawn, by each window of this machine, of the frames it drew",
    TRIGGERED: "frame or sample taken in → its trigger was acted on, webhooks excepted",
}
"""What is timed, in the order of a frame's way; each has its place under ``/entry/process/latency``."""

_SHORTEST_S = 1e-6
_LONGEST_S = 1e4
_STEP = 1.005  # ratio of one bin to the next: percentiles are right within half a percent
_LOG_STEP = log(_STEP)
_BINNED_AT_ONCE = 256


class LatencyHistogram:
    """Durations in logarithmic bins, as in Gil Tene's HdrHistogram: any number of them takes 50 kB."""

    def __init__(self) -> None:
        n_bins = int(log(_LONGEST_S / _SHORTEST_S) / _LOG_STEP) + 2
        self._counts: NDArray[np.int64] = np.zeros(n_bins, np.int64)
        self._waiting: list[float] = []
        self._longest_s = nan

    @property
    def n(self) -> int:
        """How many durations were counted."""
        return int(self._bin().sum())

    @property
    def longest_s(self) -> float:
        """The longest duration that was counted [s], exactly; NaN if there was none."""
        self._bin()
        return self._longest_s

    def add(self, duration_s: float) -> None:
        """Count one duration [s]; NaN is left out."""
        self._waiting.append(duration_s)
        if len(self._waiting) == _BINNED_AT_ONCE:
            self._bin()

    def copy(self) -> Self:
        """Return another histogram that has counted the same."""
        other = type(self)()
        other.merge(self)
        return other

    def merge(self, other: Self) -> None:
        """Count everything that `other` has counted."""
        self._counts += other._bin()
        self._longest_s = float(np.fmax(self._longest_s, other.longest_s))

    def percentiles_s(self, percentiles: Sequence[float] = PERCENTILES) -> tuple[float, ...]:
        """Return the percentiles [s], within half a percent, that of 100 exactly; NaN if there are none."""
        cumulated = np.cumsum(self._bin())
        if not cumulated[-1]:
            return (nan,) * len(percentiles)
        ranks = np.ceil(np.asarray(percentiles) / 100 * cumulated[-1]) - 1  # rather too long than too short
        bins = np.searchsorted(cumulated, ranks, side="right")
        values = np.minimum(_SHORTEST_S * _STEP ** (bins + 0.5), self.longest_s)
        return tuple(
            self.longest_s if percentile == 100 else float(value)
            for percentile, value in zip(percentiles, values, strict=True)
        )

    def _bin(self) -> "NDArray[np.int64]":
        """Count what waits (one by one would cost a frame several µs); return how many each bin has."""
        durations_s = np.array(self._waiting)
        self._waiting.clear()
        durations_s = durations_s[~np.isnan(durations_s)]
        if durations_s.size:
            clipped = np.clip(durations_s, _SHORTEST_S, _LONGEST_S)
            bins = (np.log(clipped / _SHORTEST_S) / _LOG_STEP).astype(np.intp)
            np.add.at(self._counts, bins, 1)
            self._longest_s = float(np.fmax(self._longest_s, durations_s.max()))
        return self._counts


class Latencies:
    """A histogram for each of `STAGES`."""

    def __init__(self) -> None:
        self.stages = {name: LatencyHistogram() for name in STAGES}

    def add_recorded(self, t_detector: float, t_received: float, t_recorded: float) -> None:
        """Count a frame that was recorded; a detector's clock that is ahead of ours tells nothing."""
        self.stages["received_to_recorded"].add(t_recorded - t_received)
        if t_received >= t_detector:
            self.stages["detector_to_received"].add(t_received - t_detector)

    def add_result(self, result: FrameResult, t_stored: float) -> None:
        """Count a result that came back to ingest at `t_stored` [Unix s]."""
        r = result
        for name, duration_s in (
            ("received_to_decoded", r.t_decoded - r.t_received),
            ("decoded_to_batched", r.t_batched - r.t_decoded),
            ("batched_to_computed", r.t_analysed - r.t_batched),
            ("computed_to_published", r.t_published - r.t_analysed),
            (WHOLE, r.t_published - r.t_received),
            ("published_to_stored", t_stored - r.t_published),
        ):
            self.stages[name].add(duration_s)

    def copy(self) -> Self:
        """Return others that have counted the same."""
        other = type(self)()
        other.merge(self)
        return other

    def merge(self, other: Self) -> None:
        """Count everything that `other` has counted."""
        for name, histogram in self.stages.items():
            histogram.merge(other.stages[name])

    def percentiles_s(self) -> dict[str, tuple[float, ...]]:
        """Return `PERCENTILES` of each stage [s]; NaN where nothing was counted."""
        return {name: histogram.percentiles_s() for name, histogram in self.stages.items()}
