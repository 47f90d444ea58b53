"""A long run at the rate this machine can analyse, to see whether memory grows and whether a frame is lost.

The simulator films as fast as it is let, every frame is recorded and analysed (policy wait), and the run's
processes are looked at once a second. Growth is the median of the last fifth of the run against that of the
second fifth; the first is warm-up. Afterwards the file is checked, every frame decoded.

Run it on a quiet machine: ``python -m benchmarks.soak --minutes 10``.
"""

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import describe_machine, write_results
from pipeline.plan import Companion, RunPlan
from pipeline.report import summarise
from pipeline.supervisor import supervise
from simulator.movie import MovieSettings
from simulator.movie_sender import MovieStream, run_movie
from simulator.sender import SenderSettings
from streamer.check import check_file
from streamer.config import AnalysisConfig, RecordConfig, RunConfig

MOST_GROWTH = 0.05
SAMPLE_S = 1.0
FIFTHS = 5
COUNTS = (
    "sent", "received", "recorded", "analysed", "skipped", "missing", "damaged", "duplicates", "unrecorded",
    "analysis_lost", "lost", "bad_messages", "fps", "seconds", "latency_p50_ms", "latency_p99_ms",
    "latency_p999_ms", "backend", "precision",
)  # fmt: skip
CHECKED = ("state", "recorded", "analysed", "skipped", "decoded", "lost")


class MemoryWatch:
    """Notes the resident memory of this process and its children until `seconds` are over, then ends the run.

    Attributes
    ----------
    samples : dict of str to list of int
        Resident bytes by the processes' names, one a second, from the moment on when the file is there.
    """

    def __init__(self, seconds: float, names: tuple[str, ...], path: Path) -> None:
        self.samples: dict[str, list[int]] = {name: [] for name in ("supervisor", *names)}
        self._names = names
        self._path = path
        self._seconds = seconds
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the context lasts."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def growth(self) -> dict[str, float]:
        """Return by how much each process and all together have grown, as a share."""
        series = {**self.samples, "all": [sum(at) for at in zip(*self.samples.values(), strict=True)]}
        return {name: _growth(values) for name, values in series.items()}

    def resident_MiB(self) -> dict[str, dict[str, float]]:
        """Return each process' memory at first, at most and at last [MiB]."""
        return {
            name: {at: round(v / 2**20, 1) for at, v in zip(("first", "most", "last"), ends, strict=True)}
            for name, values in self.samples.items()
            if values and (ends := (values[0], max(values), values[-1]))
        }

    def _run(self) -> None:
        started = None
        while not self._over.wait(SAMPLE_S):
            resident = self._resident()
            if resident is None or not self._path.exists():
                continue
            started = started or time.monotonic()
            for name, size in zip(self.samples, resident, strict=True):
                self.samples[name].append(size)
            if time.monotonic() - started >= self._seconds:
                signal.raise_signal(signal.SIGINT)  # what Ctrl-C does: the run ends cleanly
                return

    def _resident(self) -> list[int] | None:
        """Return the memory of all processes in the order of their start; None while some are not there."""
        me = psutil.Process()
        try:
            workers = [child for child in me.children() if "spawn_main" in " ".join(child.cmdline())]
            workers.sort(key=lambda child: (child.create_time(), child.pid))
            sizes = [process.memory_info().rss for process in (me, *workers)]
        except psutil.Error:
            return None  # one has just ended
        return sizes if len(workers) == len(self._names) else None


def _growth(values: list[int]) -> float:
    fifth = max(len(values) // FIFTHS, 1)
    early, late = values[fifth : 2 * fifth], values[-fifth:]
    return round(statistics.median(late) / statistics.median(early) - 1, 4) if early else 0.0


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def soak(minutes: float, size_px: int, backend: str, folder: Path) -> dict[str, Any]:
    """Run for so long, and return what came of it; ``ok`` says that nothing was lost and no process grew."""
    path = folder / "soak.nxs"
    movie = MovieStream(movie=MovieSettings(size_px=size_px), sending=SenderSettings())
    config = RunConfig(record=RecordConfig(path=str(path)), analysis=AnalysisConfig(backend=backend))
    watch = MemoryWatch(60 * minutes, ("sender", "ingest", "analyser-1"), path)
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    with watch.watching():
        outcome = supervise(RunPlan(config=config, say=say, sender=Companion(run_movie, (movie,))))
    summary, size_bytes = summarise("soak", outcome), path.stat().st_size
    report, growth = check_file(path), watch.growth()
    steady = max(growth.values()) < MOST_GROWTH
    ok = summary["ok"] and report.ok and bool(summary["analysed"]) and steady
    return {
        "ok": ok,
        "problems": [*summary["problems"], *report.problems, *map(str, report.losses)],
        "minutes": minutes,
        "movie": asdict(movie.movie),
        "growth": growth,
        "growth_limit": MOST_GROWTH,
        "resident_MiB": watch.resident_MiB(),
        "run": {name: _rounded(summary.get(name)) for name in COUNTS},
        "check": {name: getattr(report, name) for name in CHECKED},
        "file_bytes": size_bytes,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--size", type=int, default=512, help="pixels along each side")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--folder", type=Path, help="where to record; default: here")
    parser.add_argument("--dry", action="store_true", help="write no result file")
    chosen = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=chosen.folder or Path.cwd()) as folder:
        free_bytes = shutil.disk_usage(folder).free
        measured = soak(chosen.minutes, chosen.size, chosen.backend, Path(folder))
    results = {"machine": machine, "free_bytes": free_bytes, **measured}
    if not chosen.dry:
        print(write_results("soak", results), file=sys.stderr)
    print(json.dumps(measured, indent=1))
    return 0 if measured["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
