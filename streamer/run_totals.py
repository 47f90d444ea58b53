"""What the series of a run have come to, one by one and all together."""

from dataclasses import dataclass, field
from pathlib import Path

from streamer.counters import Counters, SeriesSummary
from streamer.latency import Latencies
from streamer.recorder import SeriesRecorder

__all__ = ["RunTotals", "summary_of"]


@dataclass(slots=True)
class RunTotals:
    """What all series of a run that are over have come to, and what belonged to none."""

    counters: Counters = field(default_factory=Counters)
    latency: Latencies = field(default_factory=Latencies)
    planned: int = 0
    n_series: int = 0
    size_bytes: int = 0
    paths: list[Path] = field(default_factory=list)
    recording_error: str = ""
    first_received: float = float("inf")
    last_received: float = float("-inf")

    def add(self, series: SeriesRecorder) -> None:
        """Count a series in."""
        self.counters = self.counters + series.account.total()
        self.latency.merge(series.account.latency)
        self.planned += series.start.n_frames_planned
        self.n_series += 1
        self.size_bytes += series.size_bytes
        self.recording_error = self.recording_error or series.recording_error
        if series.path is not None:
            self.paths.append(series.path)
        if series.account.counters.received:
            self.first_received = min(self.first_received, series.t_first)
            self.last_received = max(self.last_received, series.t_last)


def summary_of(series: SeriesRecorder, ended_by: str) -> SeriesSummary:
    """Return how a series that is over went."""
    counters = series.account.total()
    return SeriesSummary(
        series_id=series.start.key.series_id,
        path="" if series.path is None else str(series.path),
        ended_by=ended_by,
        planned=series.start.n_frames_planned,
        received=counters.received,
        recorded=counters.recorded,
        analysed=counters.analysed,
        skipped=counters.skipped,
        missing=counters.missing,
        damaged=counters.damaged,
        lost=counters.lost,
    )
