"""How much of a bare ZeroMQ connection's speed is left when every frame is recorded.

Three receivers take turns on the same stream, several times, and the medians are compared:

``bare``      PULL, zero copy, nothing else: what the connection itself can do;
``record``    ingest: parse, record losslessly, keep the ledger, flush, watch the disk;
``handed_on`` the same, and every tenth frame to an analyser process, which decodes it and answers.

The streams are DECTRIS Stream V2 and V1 and our own, one after the other, of frames of Poisson counts (mean
0.5), uint16, bslz4, sent as fast as they are taken by a process that has all messages ready. Each is compared
with a bare connection of its own messages: those of Stream V1 have four parts, ours two. Rates are taken from
the first frame's arrival to the last's. Run it on a quiet machine: ``python -m benchmarks.record``;
``--folder /dev/shm`` leaves the disk out, ``--format dectris2`` the other streams.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from tqdm import tqdm

from benchmarks.common import describe_machine, median_of, write_results
from pipeline.station import Station
from streamer.check import check_file
from streamer.clock import RunClock
from streamer.compression import decode, encode
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.ingest import run_ingest
from streamer.link import decode_task, encode_result
from streamer.records import (
    COLUMN_DTYPE,
    Compression,
    Frame,
    FrameHeader,
    FrameResult,
    SeriesEnd,
    SeriesKey,
    SeriesStart,
    StreamMessage,
)
from streamer.sources import ZMQ_SCHEMES, Scheme, make_encoder, open_receiver, parse_source
from streamer.worker import Control, Worker

MEAN_COUNTS = 0.5
POOL_IMAGES = 32
HANDED_ON_EVERY = 10
TIMEOUT_S = 120.0
GOALS = {"record": 0.75, "handed_on": 0.6}


@dataclass(frozen=True, slots=True)
class Stream:
    """What is sent: `n_frames` different messages, made of fewer images."""

    n_frames: int
    size_px: int
    scheme: Scheme = Scheme.DECTRIS2

    @property
    def key(self) -> SeriesKey:
        """The only series there is."""
        return SeriesKey(1, "benchmark")

    def start(self) -> SeriesStart:
        """Make the start message's record."""
        return SeriesStart(self.key, self.n_frames, (self.size_px, self.size_px), np.dtype("<u2"))

    def frames(self) -> Iterator[Frame]:
        """Make the frames."""
        rng = np.random.default_rng(1)
        shape = (self.size_px, self.size_px)
        images = [rng.poisson(MEAN_COUNTS, shape).astype("<u2") for _ in range(POOL_IMAGES)]
        payloads = [memoryview(encode(image, Compression.BSLZ4)) for image in images]
        for i in range(self.n_frames):
            header = FrameHeader(self.key, i, shape, np.dtype("<u2"), Compression.BSLZ4, 1.7e9 + 1e-4 * i)
            yield Frame(header, payloads[i % POOL_IMAGES])


def run_sender(control: Control, stream: Stream, go: Any) -> None:
    """Send the series once for every time `go` is released; all messages are ready before the first."""
    encoder = make_encoder(stream.scheme, 1.7e9)
    series: list[StreamMessage] = [stream.start(), *stream.frames(), SeriesEnd(stream.key)]
    # Bytes of its own for each: a few payloads sent over and over would stay in the processor's cache.
    messages = [[zmq.Frame(bytes(part)) for part in encoder.encode(message)] for message in series]
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.set(zmq.SNDHWM, 64)
        socket.set(zmq.LINGER, 1000)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        control.ready(address=f"{stream.scheme}://127.0.0.1:{port}")
        while not control.stopping():
            if go.acquire(timeout=0.05):
                for message in messages:
                    socket.send_multipart(message, copy=False)
    control.finished({})


def run_bare(control: Control, config: RunConfig, n_messages: int) -> None:
    """Receive everything and do nothing with it."""
    source = parse_source(config.source.address)
    timeout_ms = int(1000 * TIMEOUT_S)
    with zmq.Context() as context, open_receiver(context, source, config.ingest, timeout_ms) as socket:
        receive = socket.recv if source.scheme is Scheme.DECTRIS2 else socket.recv_multipart
        control.ready()
        receive(copy=False)
        receive(copy=False)
        first = time.perf_counter()
        for _ in range(n_messages - 3):
            receive(copy=False)
        elapsed_s = time.perf_counter() - first
        receive(copy=False)
    control.finished({"fps": (n_messages - 3) / elapsed_s})


def run_analyser(control: Control, address: str) -> None:
    """Decode every task and answer it with an empty result."""
    with zmq.Context() as context, closing(Station(context, address, "analyser-1", 4)) as station:
        station.join(2)
        control.ready()
        while not control.stopping():
            if parts := station.next_task(50):
                task = decode_task(parts)
                decode(task.frame)
                header, now = task.frame.header, task.t_received
                columns = np.zeros(0, COLUMN_DTYPE)
                result = FrameResult(header.frame_id, header.key, columns, 0.0, 0.0, now, now, now)
                station.send(encode_result(result), control.stopping)
    control.finished({})


class Bench:
    """Runs the three receivers in turn on the same sender."""

    def __init__(self, stream: Stream, folder: Path, address: str, go: Any) -> None:
        self._stream = stream
        self._folder = folder
        self._go = go
        self._config = RunConfig(
            source=SourceConfig(address=address),
            ingest=IngestConfig(),
            analysis=AnalysisConfig(enabled=False),
        )

    def bare(self) -> float:
        """Return the frames per second of a bare connection."""
        with worker("bare", run_bare, self._config, self._stream.n_frames + 2) as bare:
            bare.wait_ready(TIMEOUT_S)
            self._go.release()
            return float(summary_of(bare)["fps"])

    def record(self) -> float:
        """Return the frames per second of ingest, and make sure that nothing was lost."""
        return self._ingest(self._config)

    def handed_on(self) -> float:
        """Return the same with every tenth frame handed to an analyser."""
        return self._ingest(
            msgspec.structs.replace(self._config, analysis=AnalysisConfig(every=HANDED_ON_EVERY))
        )

    def _ingest(self, config: RunConfig) -> float:
        path = self._folder / "benchmark.nxs"
        config = msgspec.structs.replace(config, record=RecordConfig(path=str(path)))
        try:
            with ExitStack() as stack:
                ingest = stack.enter_context(worker("ingest", run_ingest, config, RunClock.start(), ""))
                info = ingest.wait_ready(TIMEOUT_S)
                if config.analysis.enabled:
                    analyser = stack.enter_context(worker("analyser", run_analyser, info["analysers"]))
                    analyser.wait_ready(TIMEOUT_S)
                self._go.release()
                summary = summary_of(ingest)
            self._expect_nothing_lost(path, summary, config)
        finally:
            path.unlink(missing_ok=True)
        return float(summary["fps"])

    def _expect_nothing_lost(self, path: Path, summary: dict[str, Any], config: RunConfig) -> None:
        n = self._stream.n_frames
        analysed = -(-n // config.analysis.every) if config.analysis.enabled else 0
        assert (summary["recorded"], summary["lost"], summary["analysed"]) == (n, 0, analysed), summary
        report = check_file(path)
        assert report.ok, report


@contextmanager
def worker(name: str, target: Callable[..., None], *args: Any) -> Iterator[Worker]:
    worker = Worker(name, target, *args)
    try:
        yield worker
    finally:
        worker.request_stop()
        worker.join(10)
        worker.close()


def summary_of(worker: Worker) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while worker.alive and not worker.summary and time.monotonic() < deadline:
        worker.poll(0.1)
    worker.poll()
    worker.raise_error()
    return worker.summary


def measure(stream: Stream, folder: Path, rounds: int) -> dict[str, Any]:
    """Let the three take turns; return each one's rates, and its ratio to the bare connection in its turn."""
    import multiprocessing

    go = multiprocessing.get_context("spawn").Semaphore(0)
    rates: dict[str, list[float]] = {"bare": [], "record": [], "handed_on": []}
    with worker("sender", run_sender, stream, go) as sender:
        bench = Bench(stream, folder, sender.wait_ready(TIMEOUT_S)["address"], go)
        for number in tqdm(range(rounds + 1), desc="rounds", disable=None):
            for name in rates:
                rate = getattr(bench, name)()
                if number:  # the first round warms up
                    rates[name].append(rate)
    ratios = {
        name: median_of([a / b for a, b in zip(rates[name], rates["bare"], strict=True)]) for name in GOALS
    }
    return {"fps": {name: median_of(values) for name, values in rates.items()}, "ratio": ratios}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1500, help="of a series; all are held in memory")
    parser.add_argument("--size", type=int, default=1024, help="pixels along each side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", choices=("all", *ZMQ_SCHEMES), default="all")
    parser.add_argument("--folder", type=Path, help="where to record; default: here")
    parser.add_argument("--dry", action="store_true", help="write no result files")
    chosen = parser.parse_args(arguments)
    machine = describe_machine()
    schemes = ZMQ_SCHEMES if chosen.format == "all" else (Scheme(chosen.format),)
    reached = [report(Stream(chosen.frames, chosen.size, scheme), chosen, machine) for scheme in schemes]
    return 0 if all(reached) else 1


def report(stream: Stream, chosen: argparse.Namespace, machine: dict[str, Any]) -> bool:
    """Measure one stream, write what came of it, and return whether the goals are reached."""
    with tempfile.TemporaryDirectory(dir=chosen.folder or Path.cwd()) as folder:
        measured = measure(stream, Path(folder), chosen.rounds)
        where = {"folder": str(chosen.folder or "disk"), "free_bytes": shutil.disk_usage(folder).free}
    results = {
        "machine": machine,
        "stream": {**asdict(stream), "mean_counts": MEAN_COUNTS, "compression": "bslz4"},
        "where": where,
        "rounds": chosen.rounds,
        "goals": GOALS,
        **measured,
    }
    if not chosen.dry:
        name = "record" if stream.scheme is Scheme.DECTRIS2 else f"record-{stream.scheme}"
        print(write_results(name, results), file=sys.stderr)
    print(json.dumps({"format": stream.scheme, "fps": measured["fps"], "ratio": measured["ratio"]}))
    return all(measured["ratio"][name]["median"] >= goal for name, goal in GOALS.items())


if __name__ == "__main__":
    sys.exit(main())
