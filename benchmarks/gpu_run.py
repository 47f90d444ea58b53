"""The whole program under `benchmarks.gpu`: simulator, recording and analysis on one machine, and figures."""

import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.analyse import Setting
from pipeline.bench_plan import Case
from pipeline.bench_run import Measured, measure
from pipeline.plan import Companion
from simulator.movie import MovieSettings
from simulator.movie_sender import MovieStream
from simulator.pool_sender import run_pool
from simulator.sender import SenderSettings

__all__ = ["draw_roofline", "draw_stages", "run_whole"]

POOL_FRAMES = 64
LOAD = 0.7  # of the most, at which latency is measured
STAGES = ("received_to_decoded", "decoded_to_batched", "batched_to_computed", "computed_to_published")


def run_whole(setting: Setting, models: str, alone: dict[str, float], seconds: float) -> dict[str, Any]:
    """Run as fast as it goes, and at a part of that.

    Returns
    -------
    dict
        Frames a second of the first; of the second the latency's percentiles from when a frame was due, the
        stages', and p99 as a share of its goal: twice the wait for a batch and its computation.
    """
    case = Case(
        size_px=setting.size_px, batch_frames=setting.batch_frames, backend=setting.backend,
        n_frames=max(32, 4 * setting.batch_frames, round(seconds * alone["frames_per_s"])),
    )  # fmt: skip
    most = _run(case, models)
    loaded = _run(case.at(LOAD * most.fps, seconds, case.batch_frames * 4), models)
    goal_ms = 2 * (case.max_wait_ms + alone["p50_ms"])
    return {
        "frames_per_s": most.fps,
        "counts": most.counts,
        "at_frames_per_s": loaded.case.rate_hz,
        "latency_ms": loaded.latency_ms,
        "stages_ms": loaded.stages_ms,
        "p99_of_goal": loaded.latency_ms["p99"] / goal_ms,
        "backend": most.backend,
    }


def _run(case: Case, models: str) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        return measure(case, _sender_of, Path(folder), models, 0)


def _sender_of(case: Case) -> Companion:
    stream = MovieStream(
        movie=MovieSettings(size_px=case.size_px),
        sending=SenderSettings(rate_hz=case.rate_hz),
        n_frames=case.n_frames,
    )
    return Companion(run_pool, (stream, POOL_FRAMES))


def draw_stages(results: dict[str, Any], path: Path) -> Path:
    """Draw the stages of a frame's way one after another, medians, a bar for each row."""
    rows = [row for row in results["rows"] if "run" in row]
    figure = Figure(figsize=(8, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        left = 0.0
        for stage, colour in zip(STAGES, ("C0", "C7", "C1", "C2"), strict=True):
            width = row["run"]["stages_ms"][stage]["p50"]
            axes.barh(place, width, left=left, color=colour, label=None if place else stage.replace("_", " "))
            left += width
        axes.plot(row["run"]["latency_ms"]["p99"], place, "k|")
    axes.set_yticks(range(len(rows)), [f"{r['backend']} {r['size_px']} px × {r['batch']}" for r in rows])
    axes.invert_yaxis()
    axes.set_xlabel(
        f"time from arrival [ms], medians at {LOAD} of the most; |: p99 from when a frame was due"
    )
    if rows:
        figure.legend(loc="outside upper center", ncols=2)
    return _saved(figure, path.with_name(f"{path.name}-stages.png"))


def draw_roofline(results: dict[str, Any], path: Path) -> Path:
    """Draw what was reached against operations a byte, and the bounds that were measured."""
    rows = [row for row in results["rows"] if "roofline" in row]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        line, most = row["roofline"], row["ceilings"]
        at = [0.1, 1000 * most["TFLOP_per_s"] / most["GB_per_s"], 1e4]
        axes.loglog(at, [min(most["TFLOP_per_s"], most["GB_per_s"] * x / 1000) for x in at], "0.8", lw=0.5)
        label = f"{row['backend']} {row['size_px']} px × {row['batch']}"
        axes.loglog(line["FLOP_per_byte"], line["TFLOP_per_s"], "o", label=label)
    axes.set_xlabel("operations a byte, if no layers are fused")
    axes.set_ylabel("TFLOP/s, networks alone")
    if rows:
        axes.legend(fontsize="xx-small", ncols=2)
    return _saved(figure, path.with_name(f"{path.name}-roofline.png"))


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path
