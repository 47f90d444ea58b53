"""What it costs that several analysers' columns are followed by a process of its own.

A recording of the simulated movie is replayed as fast as it is taken: by one analyser, which follows columns
itself; by two and a follower; and by two of which nobody follows anything. Networks run in one thread. The
cases take turns. Beside that, what one frame costs the analyser, ingest and the follower, each in one thread.
Run it on a quiet machine with more cores than processes: ``python -m benchmarks.following``.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from math import nan
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.common import median_of
from benchmarks.movie_runs import measure_movie, movie_arguments, record
from pipeline.again import Stretch, analyse_stretch
from pipeline.archive import ArchivedRun, frames_of, open_frames
from pipeline.cli import main as atomstream
from pipeline.follow_process import ResultFollower
from pipeline.particle_networks import networks_of
from pipeline.prepare import PreparedFrame, prepare
from pipeline.reprocess import configured
from pipeline.steady import binned_frame
from streamer.clock import RunClock
from streamer.config import RunConfig
from streamer.link import Task, encode_result
from streamer.records import NO_PARTICLES
from streamer.unfollowed import Unfollowed, decode_unfollowed, encode_unfollowed, name_of

COST_FRAMES = 64
CASES = {"one": (1, True), "two": (2, True), "two, unfollowed": (2, False)}
Parts = list[memoryview]


def replayed(run: ArchivedRun, analysers: int, follow: bool) -> dict[str, Any]:
    """Replay a run as fast as it is taken; return its summary."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "run.toml"
        settings.write_text(f"[analysis]\nfollow = {str(follow).lower()}\n")
        options = ["--headless", "--fps", "0", "--json", "--threads", "1", "--analysers", str(analysers)]
        files = ["--config", str(settings), "--out", str(Path(folder) / "run.nxs")]
        with redirect_stdout(StringIO()) as said:
            status = atomstream(["replay", str(run.path), *options, *files])
    summary: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    if status or summary.get("analysed") != len(run.frames):
        raise RuntimeError(f"the run has failed: {summary.get('problems') or summary}")
    return summary


def costs_ms(run: ArchivedRun, config: RunConfig) -> dict[str, float]:
    """Return what a frame costs more where columns are followed apart, by process, one after the other."""
    stretch = Stretch(str(run.path), run.start, run.frames[:COST_FRAMES], config)
    found = [answer for answer in analyse_stretch(stretch) if isinstance(answer, tuple)]
    prepared = _prepared(stretch)
    follower = ResultFollower(config.analysis, networks_of(config.analysis), RunClock.start())
    messages: list[Parts] = []

    def analyser() -> None:
        for (result, seen), frame in zip(found, prepared, strict=True):
            bare = replace(result, particles=NO_PARTICLES)
            parts = encode_unfollowed(Unfollowed(bare, seen, frame.network_shape, binned_frame(frame)))
            messages.append([memoryview(part).cast("B") for part in parts])

    def ingest() -> None:
        for parts in messages:
            name_of(parts)

    def finish() -> None:
        for parts in messages:
            encode_result(follower.finish(decode_unfollowed(parts))[0])

    steps: dict[str, Callable[[], None]] = {"analyser": analyser, "ingest": ingest, "follower": finish}
    with threadpool_limits(1, "blas"):
        return {name: _ms_a_frame(step, len(found)) for name, step in steps.items()}


def _prepared(stretch: Stretch) -> list[PreparedFrame]:
    pixel_size_A = stretch.config.source.pixel_size_A or 0.2
    target_A = networks_of(stretch.config.analysis).pixel_size_A
    with open_frames(Path(stretch.path)) as file:
        frames = frames_of(file, stretch.start, stretch.frames)
        return [prepare(Task(frame, nan, pixel_size_A, None), pixel_size_A, target_A) for frame in frames]


def _ms_a_frame(step: Callable[[], None], n_frames: int) -> float:
    begun = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - begun) / n_frames


def measure(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    run = record(folder, chosen.frames, chosen.size)
    config = configured(run, {"backend": "openvino", "threads": 1}, None)
    runs: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for _ in range(chosen.rounds):
        for case, settings in CASES.items():
            runs[case].append(replayed(run, *settings))
    names = ("fps", "latency_p50_ms", "latency_p99_ms")
    return {
        "runs": {case: {n: median_of([r[n] for r in done]) for n in names} for case, done in runs.items()},
        "costs_ms": costs_ms(run, config),
    }


def main(arguments: list[str] | None = None) -> int:
    return measure_movie(
        "following", measure, movie_arguments("following", __doc__ or "").parse_args(arguments)
    )


if __name__ == "__main__":
    sys.exit(main())
