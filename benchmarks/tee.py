"""What one more client of a detector costs when the tee serves it.

Three arrangements take turns on the same stream, several times, and the medians are compared:

``direct``  sender → client: what the connection itself can do;
``one``     sender → tee → a lossless client;
``two``     sender → tee → a lossless client and a best-effort one besides.

``two`` / ``one`` is what the extra client costs the others: the goal is 0.9. Every client's bytes are copied
into the network stack by a thread of its own, so this holds where there are cores for all four processes and
these threads. Where there are fewer, the copying is missing elsewhere. Therefore the processor time that the
tee spends on a frame is given too: in all its threads (`tee_us_per_frame`), and in the one of Python, which
reads and hands on (`loop_us_per_frame`).

The stream is DECTRIS Stream V2, frames of Poisson counts (mean 0.5), uint16, bslz4, sent as fast as they are
taken by a process that has all messages ready. Rates are taken at the lossless client, from the first frame's
arrival to the last's. Run it on a quiet machine: ``python -m benchmarks.tee``.
"""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import zmq
from tqdm import tqdm

from benchmarks.common import describe_machine, median_of, write_results
from benchmarks.record import MEAN_COUNTS, TIMEOUT_S, Stream, run_bare, run_sender, summary_of, worker
from streamer.config import RunConfig, SourceConfig, TeeConfig
from streamer.sources import open_receiver, parse_source
from streamer.tee import Tee
from streamer.worker import Control

GOAL = 0.9
ANY_PORT = "tcp://127.0.0.1:*"


def run_tee(control: Control, config: RunConfig) -> None:
    """Pass one series on."""
    with Tee(config) as tee:
        control.ready(addresses=tee.addresses)
        all_threads, this_thread = time.process_time(), time.thread_time()
        tee.run(control.stopping)
        cpu_s, loop_s = time.process_time() - all_threads, time.thread_time() - this_thread
    counts = tee.counts()
    control.finished({**counts.to_dict(), "cpu_s": cpu_s, "loop_s": loop_s})


def run_taker(control: Control, config: RunConfig) -> None:
    """Take whatever comes: the extra client, which misses what it has no room for."""
    with zmq.Context() as context:
        with open_receiver(context, parse_source(config.source.address), config.ingest, 50) as socket:
            control.ready()
            while not control.stopping():
                try:
                    socket.recv(copy=False)
                except zmq.Again:
                    continue
    control.finished({})


class Bench:
    """Sets up the arrangements in turn on the same sender."""

    def __init__(self, stream: Stream, address: str, go: Any) -> None:
        self._stream, self._address, self._go = stream, address, go

    def direct(self) -> dict[str, float]:
        """Measure the bare connection."""
        with worker("client", run_bare, _config(self._address), self._stream.n_frames + 2) as client:
            client.wait_ready(TIMEOUT_S)
            self._go.release()
            return {"fps": float(summary_of(client)["fps"])}

    def one(self) -> dict[str, float]:
        """Measure the tee with the lossless client alone."""
        return self._through_tee(())

    def two(self) -> dict[str, float]:
        """Measure it with the extra client."""
        return self._through_tee((ANY_PORT,))

    def _through_tee(self, best_effort: tuple[str, ...]) -> dict[str, float]:
        wanted = TeeConfig(lossless=(ANY_PORT,), best_effort=best_effort, series=1)
        with ExitStack() as stack:
            tee = stack.enter_context(worker("tee", run_tee, _config(self._address, wanted)))
            main, *others = (
                f"dectris2://{address.removeprefix('tcp://')}"
                for address in tee.wait_ready(TIMEOUT_S)["addresses"]
            )
            n_messages = self._stream.n_frames + 2
            client = stack.enter_context(worker("client", run_bare, _config(main), n_messages))
            takers = [stack.enter_context(worker("taker", run_taker, _config(other))) for other in others]
            for process in (client, *takers):
                process.wait_ready(TIMEOUT_S)
            time.sleep(0.2)  # until all have connected
            self._go.release()
            fps = float(summary_of(client)["fps"])
            counts = summary_of(tee)
        return {"fps": fps, **self._checked(counts)}

    def _checked(self, counts: dict[str, Any]) -> dict[str, float]:
        """Make sure that nothing was lost, and return what else is of interest."""
        n_frames = self._stream.n_frames
        lossless, *others = counts["outputs"]
        assert (counts["frames"], lossless["frames"], counts["undelivered"]) == (n_frames, n_frames, False), (
            counts
        )
        assert all(o["frames"] + o["dropped"] + o["absent"] == n_frames and o["ends"] == 1 for o in others), (
            counts
        )
        shares = {"extra_client_share": others[0]["frames"] / n_frames} if others else {}
        return {
            "tee_us_per_frame": 1e6 * counts["cpu_s"] / n_frames,
            "loop_us_per_frame": 1e6 * counts["loop_s"] / n_frames,
            **shares,
        }


def _config(address: str, tee: TeeConfig | None = None) -> RunConfig:
    return RunConfig(source=SourceConfig(address=address), tee=tee or TeeConfig())


def measure(stream: Stream, rounds: int) -> dict[str, Any]:
    """Let the three take turns; return the medians of what was measured, and of the ratios in each turn."""
    import multiprocessing

    go = multiprocessing.get_context("spawn").Semaphore(0)
    measured: dict[str, list[dict[str, float]]] = {"direct": [], "one": [], "two": []}
    with worker("sender", run_sender, stream, go) as sender:
        bench = Bench(stream, sender.wait_ready(TIMEOUT_S)["address"], go)
        for number in tqdm(range(rounds + 1), desc="rounds", disable=None):
            for name, results in measured.items():
                result = getattr(bench, name)()
                if number:  # the first round warms up
                    results.append(result)
    fps = {name: [result["fps"] for result in results] for name, results in measured.items()}
    return {
        name: {key: median_of([result[key] for result in results]) for key in results[0]}
        for name, results in measured.items()
    } | {
        "ratio": {
            "one / direct": median_of([a / b for a, b in zip(fps["one"], fps["direct"], strict=True)]),
            "two / one": median_of([a / b for a, b in zip(fps["two"], fps["one"], strict=True)]),
        }
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tee", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000, help="of a series; all are held in memory")
    parser.add_argument("--size", type=int, default=1024, help="pixels along each side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="write no result file")
    chosen = parser.parse_args(arguments)
    stream = Stream(chosen.frames, chosen.size)
    machine = describe_machine()
    measured = measure(stream, chosen.rounds)
    results = {
        "machine": machine,
        "stream": {**asdict(stream), "mean_counts": MEAN_COUNTS, "compression": "bslz4"},
        "rounds": chosen.rounds,
        "goal": GOAL,
        **measured,
    }
    if not chosen.dry:
        print(write_results("tee", results), file=sys.stderr)
    print(json.dumps(measured))
    return 0 if measured["ratio"]["two / one"]["median"] >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
