"""How decoding scales with threads: frames a second into memory that is there, as beside a GPU.

1024 x 1024 px of uint16, counted frames (Poisson, 0.5 a pixel), bslz4. Each number of threads takes turns
with one thread, and the ratio of each turn counts. ``decode_and_prepare_ms`` is what the analyser's thread
does for such a frame on a CPU. ``python -m benchmarks.decode`` writes ``results/decode.json``.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.common import describe_machine, median_of, write_results
from pipeline.prepare import prepare
from streamer.compression import decode, decoder_name, encode
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

SIDE = 1024
COUNTS = 0.5
AHEAD = 2  # frames handed to each thread, as `pipeline.intake` does


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=400, help="of a round")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    results: dict[str, Any] = {
        "machine": describe_machine(), "decoder": decoder_name(), "cores": os.cpu_count(), "threads": {},
    }  # fmt: skip
    frame = counted_frame()
    for threads in options.threads:
        rounds = [(rate(frame, 1, options), rate(frame, threads, options)) for _ in range(options.rounds)]
        results["threads"][threads] = {
            "frames_per_s": median_of([many for _, many in rounds]),
            "of_one_thread": median_of([many / one for one, many in rounds]),
        }
        print(threads, results["threads"][threads])
    task = Task(frame, 0.0, 0.2, None)
    results["decode_and_prepare_ms"] = 1000 / _rate(lambda: prepare(task, 0.2, 0.2), 50)
    print(write_results("decode", results))


def counted_frame() -> Frame:
    """Return a frame of single electrons, compressed as DECTRIS's detectors do."""
    image = np.random.default_rng(1).poisson(COUNTS, (SIDE, SIDE)).astype(np.uint16)
    header = FrameHeader(SeriesKey(1), 0, (SIDE, SIDE), image.dtype, Compression.BSLZ4)
    return Frame(header, memoryview(encode(image, Compression.BSLZ4)))


def rate(frame: Frame, threads: int, options: argparse.Namespace) -> float:
    """Return frames a second; each thread has its next frame, and memory that is used over and over."""
    rooms = [np.zeros((SIDE, SIDE), np.uint16) for _ in range(AHEAD * threads)]
    if threads == 1:
        return _rate(lambda: decode(frame, rooms[0]), options.frames)
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        begun = [pool.submit(decode, frame, room) for room in rooms]
        for n in range(options.frames):
            begun[n % len(begun)].result()
            begun[n % len(begun)] = pool.submit(decode, frame, rooms[n % len(begun)])
        return options.frames / (time.perf_counter() - started)


def _rate(action: Callable[[], object], n: int) -> float:
    started = time.perf_counter()
    for _ in range(n):
        action()
    return n / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
