"""Whether a replayed file keeps the analysis as busy as frames that cost nothing.

Three sources take turns, several times, each in a whole run of its own (sender, ingest, analyser, file), on
the same frames of the simulated movie, with every frame analysed:

``memory`` messages made beforehand, sent as fast as they are taken: the analysis' limit in this run;
``nxs``    the file that a run has recorded of the same stream: its payloads are sent on as stored;
``npy``    the same frames as an array on disk: each is read, made counts and compressed.

The files are warm: they have been read before. Rates are those of the results, from the first to the last;
what is compared is each file's rate with memory's in the same turn. The goal is 0.95. Besides, each file is
streamed to a receiver that does nothing: what replay can do by itself.

Run it on a quiet machine: ``python -m benchmarks.replay``.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.common import describe_machine, median_of, write_results
from benchmarks.record import TIMEOUT_S, run_bare, summary_of, worker
from pipeline.plan import Companion, RunPlan
from pipeline.report import problems_of
from pipeline.supervisor import supervise
from simulator.movie import MovieSettings
from simulator.movie_sender import MovieStream
from simulator.pool_sender import run_pool
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.flag import SharedFlag
from streamer.records import FrameStatus
from streamer.replay import ReplaySettings, run_replay
from streamer.result_tables import open_result

GOAL = 0.95
POOL_FRAMES = 32
FILES = ("nxs", "npy")
INGEST = IngestConfig(
    receive_queue_frames=16,  # so that a file is read while its frames are analysed, not all before
    idle_timeout_s=30.0,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is replayed: `n_frames` of `size_px` squared, analysed by `backend`."""

    n_frames: int = 300
    size_px: int = 512
    backend: str = "auto"
    rounds: int = 4

    def stream(self) -> MovieStream:
        """Describe the stream that memory sends and the files hold."""
        return MovieStream(movie=MovieSettings(size_px=self.size_px), n_frames=self.n_frames)


DEFAULT = Setting()


class Bench:
    """Runs the sources in turn, each into a new file in `folder`."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self._setting = setting
        self._folder = folder
        self._memory = Companion(run_pool, (setting.stream(), POOL_FRAMES))
        self.files = {name: folder / f"movie.{name}" for name in FILES}
        self._prepare()

    def run(self, name: str) -> float:
        """Return the results per second of a whole run on this source."""
        path = self._folder / "run.nxs"
        try:
            self._supervise(self._sender(name), path, AnalysisConfig(backend=self._setting.backend))
            return result_rate(path, self._setting.n_frames)
        finally:
            path.unlink(missing_ok=True)

    def alone(self, name: str) -> float:
        """Return the frames per second that a file is streamed at to a receiver that does nothing."""
        begin = SharedFlag()
        with worker("sender", run_replay, self._settings(name), begin) as sender:
            config = RunConfig(source=SourceConfig(address=sender.wait_ready(TIMEOUT_S)["address"]))
            with worker("bare", run_bare, config, self._setting.n_frames + 2) as bare:
                bare.wait_ready(TIMEOUT_S)
                begin.set()
                return float(summary_of(bare)["fps"])

    def _prepare(self) -> None:
        """Record the stream that memory sends, and save the same frames as an array."""
        self._supervise(self._memory, self.files["nxs"], AnalysisConfig(enabled=False))
        with open_result(self.files["nxs"]) as file:
            frames = file["entry/stack/intensity"]
            np.save(self.files["npy"], np.stack([frames[i] for i in range(len(frames))]))
            self.pixel_size_A = 10 * float(file["entry/process/series/pixel_size_nm"][()])

    def _sender(self, name: str) -> Companion:
        return self._memory if name == "memory" else Companion(run_replay, (self._settings(name),))

    def _settings(self, name: str) -> ReplaySettings:
        return ReplaySettings(path=str(self.files[name]), rate_hz=0.0, pixel_size_A=self.pixel_size_A)

    def _supervise(self, sender: Companion, path: Path, analysis: AnalysisConfig) -> None:
        config = RunConfig(ingest=INGEST, record=RecordConfig(path=str(path)), analysis=analysis)
        outcome = supervise(RunPlan(config=config, say=lambda text: None, sender=sender))
        if problems := problems_of(outcome):
            raise RuntimeError("; ".join(problems))


def result_rate(path: Path, n_frames: int) -> float:
    """Return the results per second, from the first published to the last; all must be there."""
    with open_result(path) as file:
        ledger = file["entry/ledger"]
        published = ledger["t_published"][:][ledger["status"][:] == FrameStatus.ANALYSED]
    if len(published) != n_frames:
        raise RuntimeError(f"{len(published)} of {n_frames} frames were analysed")
    return float((n_frames - 1) / np.ptp(published))


def measure(setting: Setting, folder: Path) -> dict[str, Any]:
    """Let the sources take turns, after a run that warms up; return rates, ratios, and replay's own rate."""
    bench, names = Bench(setting, folder), ("memory", *FILES)
    bench.run("memory")
    turns = [
        {name: bench.run(name) for name in names}
        for _ in tqdm(range(setting.rounds), desc="rounds", disable=None)
    ]
    return {
        "fps": {name: median_of([turn[name] for turn in turns]) for name in names},
        "ratio": {name: median_of([turn[name] / turn["memory"] for turn in turns]) for name in FILES},
        "replay_alone_fps": {name: median_of([bench.alone(name) for _ in range(3)]) for name in FILES},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=DEFAULT.n_frames, help="of a run")
    parser.add_argument("--size", type=int, default=DEFAULT.size_px, help="pixels along each side")
    parser.add_argument("--backend", default=DEFAULT.backend)
    parser.add_argument("--rounds", type=int, default=DEFAULT.rounds)
    parser.add_argument("--folder", type=Path, help="where the files lie; default: here")
    parser.add_argument("--dry", action="store_true", help="write no result file")
    chosen = parser.parse_args(arguments)
    setting = Setting(chosen.frames, chosen.size, chosen.backend, chosen.rounds)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=chosen.folder or Path.cwd()) as folder:
        measured = measure(setting, Path(folder))
    results = {"machine": machine, "setting": asdict(setting), "goal": GOAL, **measured}
    if not chosen.dry:
        print(write_results("replay", results), file=sys.stderr)
    print(json.dumps(measured))
    return 0 if all(measured["ratio"][name]["median"] >= GOAL for name in FILES) else 1


if __name__ == "__main__":
    sys.exit(main())
