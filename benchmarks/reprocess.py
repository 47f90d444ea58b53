"""How fast an archive is analysed again, from one worker to as many as there are cores.

A recording of the simulated movie is analysed by Dask workers of one thread each, which have their networks
loaded; the numbers of workers take turns. Beside that, what one frame costs in each part of the work: the
networks and columns, which any worker does; the drift, which waits for the frame before; following, which is
done where the file is written. Run it on a quiet machine: ``python -m benchmarks.reprocess``.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import median_of
from benchmarks.movie_runs import measure_movie, movie_arguments, record
from pipeline.again import Stretch, analyse_stretch, measure_drift
from pipeline.archive import ArchivedRun
from pipeline.cluster import open_pool
from pipeline.following import Following
from pipeline.particle_networks import networks_of
from pipeline.reprocess import configured, new_path, reprocess
from pipeline.steady import Steadier
from streamer.config import RunConfig

WARM_FRAMES = 32
TIMEOUT_S = 60.0


def rate(workers: int, warm: ArchivedRun, run: ArchivedRun, config: RunConfig) -> float:
    """Return frames a second of so many workers; a first run has loaded their networks."""
    with open_pool("", workers, TIMEOUT_S) as pool:
        for _ in range(2):
            reprocess(pool, warm, config, new_path(warm.path))
        begun = time.perf_counter()
        done = reprocess(pool, run, config, new_path(run.path))
        seconds = time.perf_counter() - begun
    if done.failures or done.analysed != len(run.frames):
        raise RuntimeError(f"frames failed: {done.failures}")
    done.out.unlink()
    return done.analysed / seconds


def costs_ms(run: ArchivedRun, config: RunConfig) -> dict[str, float]:
    """Return what a frame takes in each part of the work, one thread, one after the other."""
    stretch = Stretch(str(run.path), run.start, run.frames[:WARM_FRAMES], config)
    analyse_stretch(stretch)
    answers = analyse_stretch(stretch)
    following = Following(config.analysis, networks_of(config.analysis))

    def follow() -> None:
        for answer in answers:
            if isinstance(answer, tuple):
                result, seen = answer
                following.follow(result, replace(seen, drift_px=(0.0, 0.0)))

    parts: dict[str, Callable[[], object]] = {
        "networks and columns": lambda: analyse_stretch(stretch),
        "drift": lambda: measure_drift(stretch, Steadier(1)),
        "following": follow,
    }
    return {name: 1000 * _seconds(part) / len(stretch.frames) for name, part in parts.items()}


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def measure(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    warm, run = (record(folder, n, chosen.size) for n in (WARM_FRAMES, chosen.frames))
    changes = {"backend": "openvino", "precision": "f32", "threads": 1}
    config = configured(run, changes, None)
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= chosen.most]
    rates: dict[int, list[float]] = {n: [] for n in counts}
    for _ in range(chosen.rounds):
        for n in counts:
            rates[n].append(rate(n, warm, run, config))
    ratios = {n: [a / b for a, b in zip(rates[n], rates[1], strict=True)] for n in counts}
    return {
        "fps": {str(n): median_of(values) for n, values in rates.items()},
        "ratio_to_one": {str(n): median_of(values) for n, values in ratios.items()},
        "costs_ms": costs_ms(run, config),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = movie_arguments("reprocess", __doc__ or "")
    parser.add_argument("--most", type=int, default=os.cpu_count() or 1, help="workers, at most")
    return measure_movie("reprocess", measure, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
