"""One case of the benchmark: run it, and read the times of every frame out of its ledger.

The source keeps to its schedule whether or not frames are taken (an open loop), and each frame's latency is
counted from when it was *due*, not from when the source got round to sending it. A run that stalls for a
second therefore shows a second of latency for every frame that was due meanwhile, not for one.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bench_plan import Case
from pipeline.plan import Companion, RunPlan
from pipeline.supervisor import supervise
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.latency import PERCENTILES
from streamer.records import Policy
from streamer.result_tables import open_result

__all__ = ["Measured", "due_latencies_s", "measure", "percentiles_ms"]

_SILENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a case.

    Attributes
    ----------
    case : Case
    fps : float
        Frames that were finished (published, or recorded where there is no analysis) per second.
    counts : dict
        received, recorded, analysed, skipped, lost.
    latency_ms : dict
        p50, p99, p999, max from a frame's due time to its result; empty without analysis, or without a rate.
    stages_ms : dict
        The same by the stages of `streamer.latency`, from the frame's arrival on.
    backend : str
        The engine that ran, with device and precision.
    """

    case: Case
    fps: float
    counts: dict[str, int]
    latency_ms: dict[str, float]
    stages_ms: dict[str, dict[str, float]]
    backend: str

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "key": self.case.key, "case": self.case.to_dict(), "fps": self.fps, "counts": self.counts,
            "latency_ms": self.latency_ms, "stages_ms": self.stages_ms, "backend": self.backend,
        }  # fmt: skip


def measure(
    case: Case,
    sender_of: Callable[[Case], Companion],
    folder: Path,
    models: str,
    threads: int,
    window: Companion | None = None,
) -> Measured:
    """Run a case.

    Parameters
    ----------
    sender_of : callable
        Makes the process that sends the case's frames.
    folder : pathlib.Path
        Where its recording lies while it is measured: the disk that is measured with it.
    models, threads
        See `AnalysisConfig`.
    window : Companion, optional
        Opened where the case wants one.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as scratch:
        out = Path(scratch) / "run.nxs"
        config, shown = _config(case, out, models, threads), window if case.window else None
        plan = RunPlan(config=config, say=_silent, sender=sender_of(case), window=shown)
        outcome = supervise(plan)
        ledger = _ledger(out) if case.record else {}
    summary, engine = outcome.ingest, outcome.analysers[0] if outcome.analysers else {}
    return Measured(
        case=case,
        fps=_fps(summary, ledger, case),
        counts={n: int(summary[n]) for n in ("received", "recorded", "analysed", "skipped", "lost")},
        latency_ms=_latency_ms(ledger, case) or _from_summary(summary, case),
        stages_ms=dict(summary["stages_ms"]),
        backend=_named(engine),
    )


def _config(case: Case, out: Path, models: str, threads: int) -> RunConfig:
    return RunConfig(
        source=SourceConfig(frame_px=(case.size_px, case.size_px)),
        ingest=IngestConfig(idle_timeout_s=_SILENCE_S),
        record=RecordConfig(path=str(out) if case.record else ""),
        analysis=AnalysisConfig(
            enabled=case.analyse,
            backend=case.backend,
            policy=Policy(case.policy),
            batch_frames=case.batch_frames,
            max_wait_ms=case.max_wait_ms,
            models=models,
            threads=threads,
        ),
    )


def _named(engine: dict[str, Any]) -> str:
    words = [str(engine.get(name) or "none") for name in ("backend", "device", "precision")]
    return " ".join(word for word in words if word != "none")


def _silent(text: str) -> None:
    """Say nothing of a run that is one of many."""


def _ledger(path: Path) -> dict[str, NDArray[np.float64]]:
    with open_result(path) as file:
        names = ("frame_id", "t_detector", "t_received", "t_recorded", "t_published")
        return {name: file[f"/entry/ledger/{name}"][:] for name in names}


def _fps(summary: dict[str, Any], ledger: dict[str, NDArray[np.float64]], case: Case) -> float:
    """Return the rate at which frames were finished.

    At a given rate from when the first was due to the last result; as fast as it goes, over the last three
    quarters, when files and connections have been made and queues are full.
    """
    if not ledger:
        return float(summary["fps"])
    times = np.sort(ledger["t_published" if case.analyse else "t_recorded"])
    times = times[np.isfinite(times)]
    if len(times) < 2:
        return 0.0
    if case.rate_hz:
        return len(times) / float(times[-1] - ledger["t_detector"][0])
    first = len(times) // 4
    return (len(times) - 1 - first) / float(times[-1] - times[first])


def _latency_ms(ledger: dict[str, NDArray[np.float64]], case: Case) -> dict[str, float]:
    """Return the percentiles from a frame's due time to its result."""
    if not ledger or not case.analyse or not case.rate_hz:
        return {}
    return percentiles_ms(due_latencies_s(ledger, case.rate_hz))


def due_latencies_s(ledger: dict[str, NDArray[np.float64]], rate_hz: float) -> NDArray[np.float64]:
    """Return, for each frame with a result, the time from when it was due [s].

    Frames are due `rate_hz` a second from the moment the first one was sent.
    """
    due = ledger["t_detector"][0] + (ledger["frame_id"] - ledger["frame_id"][0]) / rate_hz
    latency_s = ledger["t_published"] - due
    return np.asarray(latency_s[np.isfinite(latency_s)])


def _from_summary(summary: dict[str, Any], case: Case) -> dict[str, float]:
    """Without a file there are no due times: return what was counted from the frames' arrival on."""
    whole = summary["stages_ms"].get("received_to_published", {})
    return dict(whole) if case.rate_hz else {}


def percentiles_ms(durations_s: NDArray[np.float64]) -> dict[str, float]:
    """Return p50, p99, p99.9 and the longest [ms]; empty if there is none."""
    if not len(durations_s):
        return {}
    values = 1000 * np.percentile(durations_s, PERCENTILES)
    return {n: float(v) for n, v in zip(("p50", "p99", "p999", "max"), values, strict=True)}
