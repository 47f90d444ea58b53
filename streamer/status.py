"""How a run stands, for the windows, twice a second; and how it went, at its end."""

import sys
from dataclasses import fields
from math import isnan, nan
from pathlib import Path
from typing import Any

import psutil

from streamer.clock import RunClock
from streamer.config import RunConfig
from streamer.counters import Counters, RunSummary
from streamer.disk_space import free_bytes
from streamer.latency import WHOLE
from streamer.notes import Notes
from streamer.run_tee import RunTee
from streamer.run_totals import RunTotals
from streamer.series import SeriesKeeper
from streamer.window_link import RunStatus

__all__ = ["StatusBoard", "max_rss_bytes"]


class StatusBoard:
    """Turns the run's counters into `RunStatus` and `RunSummary`.

    Parameters
    ----------
    config : RunConfig
    clock : RunClock
    notes : Notes
    control : str
        The address at which the run takes commands; empty: nowhere.
    """

    def __init__(self, config: RunConfig, clock: RunClock, notes: Notes, control: str = "") -> None:
        self._config = config
        self._clock = clock
        self._notes = notes
        self._before = (clock.now(), Counters())
        self._control = control
        self.backend = ""

    def status(self, keeper: SeriesKeeper, tee: RunTee | None = None) -> RunStatus:
        """Describe this moment; rates are those since the call before."""
        totals, now = keeper.totals(), self._clock.now()
        counters = totals.counters
        rates = self._rates(now, counters)
        series = keeper.current
        stages_ms = _stages_ms(totals)
        p50, p99, *_ = stages_ms.get(WHOLE, (nan, nan))
        return RunStatus(
            state=keeper.state.value,
            source=self._config.source.address,
            series_id=-1 if series is None else series.start.key.series_id,
            n_planned=0 if series is None else series.start.n_frames_planned,
            received=counters.received,
            recorded=counters.recorded,
            analysed=counters.analysed,
            skipped=counters.skipped,
            missing=counters.missing,
            damaged=counters.damaged,
            bad_messages=counters.bad_messages.total(),
            received_per_s=rates["received"],
            recorded_per_s=rates["recorded"],
            analysed_per_s=rates["analysed"],
            latency_p50_ms=p50,
            latency_p99_ms=p99,
            path=str(totals.paths[-1]) if totals.paths else "",
            bytes_written=totals.size_bytes,
            bytes_free=self._free_bytes(),
            backend=self.backend,
            note=self._notes.latest[-1] if self._notes.latest else "",
            t=now,
            t_started=self._clock.wall_at_start_s,
            recording=bool(self._config.record.path) and not keeper.paused,
            stages_ms=stages_ms,
            control=self._control,
            tee=() if tee is None else tee.counts,
            unrecorded=counters.unrecorded,
            analysis_lost=counters.analysis_lost,
            damaged_on_arrival=counters.damaged_on_arrival,
            t_first=nan if series is None else series.t_first,
            recording_error=(totals if series is None else series).recording_error,
        )

    def summary(self, keeper: SeriesKeeper, tee: RunTee | None = None) -> RunSummary:
        """Describe the run that is over."""
        totals = keeper.totals()
        counters = totals.counters
        seconds = max(0.0, totals.last_received - totals.first_received)
        wanted = {f.name for f in fields(RunSummary)}
        numbers: dict[str, Any] = {n: value for n, value in counters.numbers().items() if n in wanted}
        return RunSummary(
            **numbers,
            planned=totals.planned,
            lost=counters.lost,
            bad_messages=dict(counters.bad_messages),
            bad_samples=dict(counters.bad_samples),
            n_series=totals.n_series,
            series=list(keeper.summaries),
            seconds=seconds,
            fps=(counters.received - 1) / seconds if seconds else 0.0,
            **_latencies_ms(totals),
            max_rss_bytes=max_rss_bytes(),
            paths=[str(path) for path in totals.paths],
            ended_by=keeper.ended_by,
            recording_error=totals.recording_error,
            notes=list(self._notes.latest),
            tee=[] if tee is None else list(tee.counts),
            tee_undelivered=tee is not None and tee.undelivered,
        )

    def _rates(self, now: float, counters: Counters) -> dict[str, float]:
        (before, then), self._before = self._before, (now, counters)
        elapsed_s = max(now - before, 1e-3)
        names = ("received", "recorded", "analysed")
        return {name: (getattr(counters, name) - getattr(then, name)) / elapsed_s for name in names}

    def _free_bytes(self) -> int:
        try:
            return free_bytes(Path(self._config.record.path)) if self._config.record.path else 0
        except OSError:
            return 0  # the volume is gone; recording says so


def _latencies_ms(totals: RunTotals) -> dict[str, Any]:
    stages_ms = _stages_ms(totals)
    names = ("p50", "p99", "p999", "max")
    stages = {stage: dict(zip(names, values, strict=True)) for stage, values in stages_ms.items()}
    whole = stages.get(WHOLE, {})
    return {**{f"latency_{name}_ms": whole.get(name) for name in names}, "stages_ms": stages}


def _stages_ms(totals: RunTotals) -> dict[str, tuple[float, ...]]:
    """Return the percentiles of the stages that were passed [ms]."""
    stages_s = totals.latency.percentiles_s()
    return {n: tuple(1000 * p for p in values) for n, values in stages_s.items() if not isnan(values[0])}


def max_rss_bytes() -> int:
    """Return the largest resident memory this process has had."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
