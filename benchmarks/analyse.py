"""How much of the networks' own speed the whole analysis keeps, and how fast it is beside the simulator.

``whole``: frames of a simulated movie go through a real analyser process over real sockets (decode,
normalise, both networks, columns, drift, result, pictures at 25 Hz). ``bare``: the same backend with the same
batch is called in a loop. Both take turns, many times, and the ratio of each turn counts: what else the
machine does then hits both. ``demo``: the whole program with the simulator beside it, as fast as it goes.

Run it on a quiet machine: ``python -m benchmarks.analyse``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from benchmarks.common import describe_machine, median_of, write_results
from pipeline.analyser import run_analyser
from pipeline.backends import BatchShape, make_backend
from pipeline.networks import find_networks
from pipeline.preprocess import normalise
from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from streamer import link
from streamer.clock import RunClock
from streamer.compression import encode
from streamer.config import AnalysisConfig, RunConfig, SourceConfig
from streamer.records import (
    Compression,
    Frame,
    FrameHeader,
    FrameResult,
    SeriesKey,
    SeriesStart,
)
from streamer.worker import Worker

POOL_FRAMES = 16
PIXEL_SIZE_A = 0.2
READY_S = 600.0  # of a GPU every kernel may have to be compiled, and an engine built
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One configuration to measure: frames of size_px² in batches."""

    size_px: int = 512
    batch_frames: int = 1
    threads: int = 0
    backend: str = "openvino"
    rounds: int = 15
    frames_per_round: int = 64
    dose_e_per_A2: float = 300.0


DEFAULT = Setting()


def main() -> None:
    """Measure and write ``results/analyse-….json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=DEFAULT.rounds)
    parser.add_argument("--threads", type=int, default=DEFAULT.threads)
    parser.add_argument("--backend", default=DEFAULT.backend)
    parser.add_argument("--no-demo", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    results: dict[str, Any] = {"machine": machine, "ratio": []}
    for batch in (1, 4):
        setting = Setting(
            batch_frames=batch, rounds=options.rounds, threads=options.threads, backend=options.backend
        )
        results["ratio"].append(measure_ratio(setting))
        print(json.dumps(results["ratio"][-1]))
    if not options.no_demo:
        results["demo"] = measure_demo(300)
        print(json.dumps(results["demo"]))
    print(write_results("analyse", results))


def measure_ratio(setting: Setting) -> dict[str, Any]:
    """Let the whole analysis and the bare networks take turns."""
    images = movie_frames(setting)
    bare = BareNetworks(setting, images[0])
    with closing(bare), analyser(setting, images) as whole:
        whole.run(2 * setting.frames_per_round)
        pairs = [
            (bare.run(setting.frames_per_round), whole.run(setting.frames_per_round))
            for _ in range(setting.rounds)
        ]
    return {
        "setting": msgspec.to_builtins(setting),
        "precision": bare.info.precision,
        "whole_fps": median_of([w for _, w in pairs]),
        "bare_fps": median_of([b for b, _ in pairs]),
        "whole_of_bare": median_of([w / b for b, w in pairs]),
        "columns_per_frame": whole.columns / max(whole.answered, 1),
    }


def movie_frames(setting: Setting) -> list[NDArray[np.unsignedinteger]]:
    """Return frames of the demonstration's movie."""
    movie = Movie(MovieSettings(size_px=setting.size_px, dose_e_per_A2=setting.dose_e_per_A2), load_states())
    return [frame.image for frame in islice(movie, POOL_FRAMES)]


class BareNetworks:
    """The backend alone, called as fast as it answers."""

    def __init__(self, setting: Setting, image: NDArray[np.unsignedinteger]) -> None:
        networks = find_networks(None, "ceria")
        self._backend = make_backend(setting.backend, networks, setting.threads)
        self._batch_frames = setting.batch_frames
        self.info = self._backend.load(BatchShape(setting.batch_frames, *image.shape))
        self._batch = np.repeat(normalise(image[np.newaxis]).frames, setting.batch_frames, axis=0)

    def run(self, n_frames: int) -> float:
        """Return frames a second; the engine always has its next batch, as in the analyser."""
        started = time.perf_counter()
        self._backend.submit(self._batch)
        for _ in range(n_frames // self._batch_frames - 1):
            self._backend.submit(self._batch)
            self._backend.collect()
        self._backend.collect()
        return n_frames / (time.perf_counter() - started)

    def close(self) -> None:
        """Release the engine."""
        self._backend.close()


class WholeAnalysis:
    """An analyser process, fed and emptied here in the place of ingest."""

    def __init__(
        self, ingest: Any, route: bytes, views: Any, images: list[NDArray[np.unsignedinteger]]
    ) -> None:
        self._ingest, self._route, self._views = ingest, route, views
        self._start = SeriesStart(SeriesKey(1), 0, images[0].shape, pixel_size_A=PIXEL_SIZE_A)  # type: ignore[arg-type]
        self._payloads = [encode(image, Compression.BSLZ4) for image in images]
        self._dtype = images[0].dtype
        self._clock = RunClock.start()
        self._next_id = self.answered = self.columns = 0

    def run(self, n_frames: int, ahead: int = 16) -> float:
        """Return frames a second, from the first of `n_frames` handed on to the last result."""
        started = time.perf_counter()
        sent = answered = 0
        while answered < n_frames:
            while sent < min(n_frames, answered + ahead):
                self._send()
                sent += 1
            answered += self._take_result()
            while self._views.poll(0):
                self._views.recv_multipart(copy=False)
        self.answered += answered
        return n_frames / (time.perf_counter() - started)

    def _send(self) -> None:
        header = FrameHeader(
            self._start.key, self._next_id, self._start.shape, self._dtype, Compression.BSLZ4
        )
        payload = memoryview(self._payloads[self._next_id % len(self._payloads)])
        task = link.encode_task(Frame(header, payload), self._start, self._clock.now())
        self._ingest.send_multipart([self._route, *task])
        self._next_id += 1

    def _take_result(self) -> int:
        if not self._ingest.poll(1000 * STOP_S):
            raise RuntimeError(f"the analyser has not answered for {STOP_S:g} s; see its log above")
        answer = link.decode_result([part.buffer for part in self._ingest.recv_multipart(copy=False)[1:]])
        if not isinstance(answer, FrameResult):
            raise RuntimeError(f"a frame failed: {answer.reason}")
        self.columns += len(answer.columns)
        return 1


@contextmanager
def analyser(
    setting: Setting, images: list[NDArray[np.unsignedinteger]], models: str = ""
) -> Iterator[WholeAnalysis]:
    """Start an analyser process and end it."""
    config = run_config(setting, images[0].shape, models)
    with zmq.Context() as context:
        sockets = [context.socket(kind) for kind in (zmq.ROUTER, zmq.SUB)]
        addresses = []
        for socket in sockets:
            socket.set(zmq.LINGER, 0)
            socket.bind("tcp://127.0.0.1:0")
            addresses.append(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        sockets[1].subscribe(b"")
        worker = Worker("analyser", run_analyser, config, RunClock.start(), *addresses)
        try:
            worker.wait_ready(READY_S)
            route = [sockets[0].recv_multipart() for _ in ("introduction", "joining")][-1][0]
            yield WholeAnalysis(sockets[0], route, sockets[1], images)
        finally:
            worker.request_stop()
            worker.join(STOP_S)
            worker.close()
            for socket in sockets:
                socket.close()


def run_config(setting: Setting, frame_px: tuple[int, ...], models: str) -> RunConfig:
    """Return an analyser's configuration: it knows the frames' size, so that their engine is loaded."""
    height, width = frame_px
    return RunConfig(
        source=SourceConfig(frame_px=(height, width), pixel_size_A=PIXEL_SIZE_A),
        analysis=AnalysisConfig(
            backend=setting.backend,
            batch_frames=setting.batch_frames,
            threads=setting.threads,
            models=models,
        ),
    )


def measure_demo(n_frames: int) -> dict[str, Any]:
    """Run the demonstration without a window as fast as it goes, and return its own summary."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline.cli", "demo", "--headless", "--json", "--fps", "0"]
        command += ["--frames", str(n_frames), "--out", str(Path(folder) / "demo.nxs")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    names = ("sent", "analysed", "fps", "latency_p50_ms", "latency_p99_ms", "backend", "precision")
    return {name: summary[name] for name in names}


if __name__ == "__main__":
    main()
