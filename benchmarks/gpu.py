"""How fast the networks and the whole analysis are on a GPU, by backend, frame size and batch.

``engine``: both networks alone, their CUDA graph launched again and again on data that lies on the device.
``batches``: batches given to the backend and answers collected, two in flight. ``whole``: frames sent over
ZeroMQ to an analyser process and results taken back, columns, drift and pictures included. Times of single
batches give p50, p99 and p99.9. ``roofline``: operations and memory traffic of the networks, a frame and a
second, to be held against the device's own figures.

It needs a GPU: ``python -m benchmarks.gpu`` says so in one line where there is none.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import product
from typing import Any

import numpy as np

from benchmarks.analyse import Setting, analyser, movie_frames
from benchmarks.common import describe_machine, write_results
from benchmarks.network_cost import network_cost
from pipeline.backends import Backend, BatchShape, make_backend
from pipeline.backends.cuda_device import why_no_device
from pipeline.networks import Networks, find_networks
from pipeline.preprocess import normalise

SIZES = (256, 512, 1024, 2048)
BATCHES = (1, 4, 16, 64)
MAX_PIXELS = 64 * 1024**2  # of a batch: larger ones do not fit beside the networks' activations
WARM_UP, MEASURED_S = 20, 5.0


def main() -> int:
    """Measure and write ``results/gpu.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", default=["tensorrt", "torch"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options = parser.parse_args()
    if reason := why_no_device():
        print(f"benchmarks.gpu: {reason}; nothing was measured", file=sys.stderr)
        return 1
    networks = find_networks(None, "ceria")
    rows = []
    for backend, size, batch in product(options.backends, options.sizes, options.batches):
        if batch * size**2 <= MAX_PIXELS:
            rows.append(measure(networks, backend, size, batch))
            print(rows[-1])
    results = {"machine": {**describe_machine(), "gpu": describe_gpu()}, "rows": rows}
    print(write_results("gpu", results))
    return 0


def describe_gpu() -> list[str]:
    """Return name, driver and clock of every device, as the driver's tool tells them."""
    fields = "name,driver_version,clocks.max.sm,memory.total,power.limit"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def measure(networks: Networks, name: str, size_px: int, batch_frames: int) -> dict[str, Any]:
    """Measure one backend at one size and batch."""
    setting = Setting(size_px=size_px, batch_frames=batch_frames, backend=name)
    image = movie_frames(setting)[0]
    row: dict[str, Any] = {"backend": name, "size_px": size_px, "batch": batch_frames}
    with closing(make_backend(name, networks)) as backend:
        info = backend.load(BatchShape(batch_frames, *image.shape))
        row |= {"precision": info.precision, "device": info.device, "version": info.version}
        batch = np.repeat(normalise(image[np.newaxis]).frames, batch_frames, axis=0)
        given = backend.device.xp.asarray(batch)
        row["batches"] = rate(pipelined(backend, given), batch_frames)
        if (engine := engine_alone(backend)) is not None:
            row["engine"] = rate(engine, batch_frames)
            row["batches_of_engine"] = row["batches"]["frames_per_s"] / row["engine"]["frames_per_s"]
            row["roofline"] = roofline(networks, image.shape, row["engine"]["frames_per_s"])
    row["whole"] = measure_whole(setting)
    return row


def pipelined(backend: Backend, batch: Any) -> Callable[[], None]:
    """Return a call that collects one batch and starts the next, so that two are in flight."""
    backend.submit(batch)

    def step() -> None:
        backend.submit(batch)
        backend.collect()

    return step


def engine_alone(backend: Any) -> Callable[[], None] | None:
    """Return a call that runs both networks once and waits; None if the backend has no graph to launch."""
    turns = getattr(backend, "_turns", None)
    if not turns or turns[0].graph is None:
        return None
    graph, stream = turns[0].graph, backend._compute  # noqa: SLF001  the benchmark looks inside

    def step() -> None:
        graph.launch(stream)
        stream.synchronize()

    return step


def rate(step: Callable[[], None], batch_frames: int) -> dict[str, float]:
    """Return frames a second and percentiles of the time of a batch [ms]."""
    for _ in range(WARM_UP):
        step()
    times_ms = np.array(list(_timed(step)))
    p50, p99, p999 = np.percentile(times_ms, (50, 99, 99.9))
    total_s = times_ms.sum() / 1000
    return {
        "frames_per_s": len(times_ms) * batch_frames / total_s,
        "p50_ms": p50,
        "p99_ms": p99,
        "p99.9_ms": p999,
        "batches": len(times_ms),
    }


def _timed(step: Callable[[], None]) -> Iterator[float]:
    end = time.perf_counter() + MEASURED_S
    while (started := time.perf_counter()) < end:
        step()
        yield 1000 * (time.perf_counter() - started)


def roofline(networks: Networks, shape: tuple[int, ...], frames_per_s: float) -> dict[str, float]:
    """Return what the networks cost a frame, and what that is a second."""
    cost = [network_cost(f.path, *shape) for f in (networks.denoise, networks.heights)]
    flops, values = (sum(part) for part in zip(*cost, strict=True))
    return {
        "GFLOP_per_frame": flops / 1e9,
        "half_precision_MB_per_frame": 2 * values / 1e6,
        "TFLOP_per_s": flops * frames_per_s / 1e12,
        "GB_per_s": 2 * values * frames_per_s / 1e9,
    }


def measure_whole(setting: Setting) -> dict[str, float]:
    """Return frames a second of an analyser process fed over ZeroMQ."""
    images = movie_frames(setting)
    ahead = max(16, 4 * setting.batch_frames)
    with analyser(setting, images) as whole:
        whole.run(4 * ahead, ahead)
        rounds = [whole.run(8 * ahead, ahead) for _ in range(5)]
    return {"frames_per_s": float(np.median(rounds)), "columns_per_frame": whole.columns / whole.answered}


if __name__ == "__main__":
    sys.exit(main())
