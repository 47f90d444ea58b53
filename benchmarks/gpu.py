"""How fast the networks and the whole analysis are on a GPU, by backend, frame size and batch.

``engine``: both networks alone, their CUDA graph launched again and again on data that lies on the
device (what ``trtexec`` tells). ``one_engine``: the same of both networks built as one engine.
``batches``: batches given to the backend and answers collected, two in flight; ``one_by_one``: the same
with one in flight, so without any overlap. ``whole``: frames sent over ZeroMQ to an analyser process and
results taken back, columns, drift and pictures included. ``run``: the whole program with the simulator
and the recording on the same machine, as fast as it goes, and at 0.7 of that, where p99 is held against
twice the wait for a batch and its computation. Times of single batches give p50, p99 and p99.9.
``roofline``: operations and memory traffic of the networks, a frame and a second, against what the
device was seen to do in a matrix product and a copy. ``goals``: of each frame size the fastest run, held
against `FRAMES_PER_S` and `OF_ENGINE`.

``--models FOLDER`` measures other networks, halved ones for instance, under the same heads.

It needs a GPU: ``python -m benchmarks.gpu`` says so in one line where there is none. ``--rehearse`` runs it
all on what is there instead, briefly, and marks the results so.
"""

import argparse
import subprocess
import sys
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.analyse import Setting, analyser, movie_frames
from benchmarks.common import RESULTS, describe_machine, write_results
from benchmarks.gpu_fused import one_engine
from benchmarks.gpu_parts import ceilings, engine_alone, one_by_one, pipelined, rate, roofline
from benchmarks.gpu_run import draw_roofline, draw_stages, run_whole
from pipeline.backends import BatchShape, make_backend
from pipeline.backends.cuda_device import why_no_device
from pipeline.networks import Networks, find_networks
from pipeline.preprocess import normalise

SIZES = (256, 512, 1024, 2048)
BATCHES = (1, 4, 16, 64)
MAX_PIXELS = 64 * 1024**2  # of a batch: larger ones do not fit beside the networks' activations
SECONDS = 5.0
FRAMES_PER_S = {256: 10_000, 512: 4_000, 1024: 1_000}
"""Goals for the whole program on one H200, by frame size [px]."""
OF_ENGINE = 0.85
"""Share of the engine's own frames a second that the whole program is to reach."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, write ``results/gpu.json`` after each row, and draw the figures beside it."""
    options = _options(arguments)
    if not options.rehearse and (reason := why_no_device()):
        print(f"benchmarks.gpu: {reason}; nothing was measured (--rehearse runs it without)", file=sys.stderr)
        return 1
    networks = find_networks(options.models, "ceria")
    results: dict[str, Any] = {
        "rehearsal": options.rehearse, "networks": networks.sha256, "machine": describe_gpu_machine(),
        "rows": [], "goals": [],
    }  # fmt: skip
    name = "gpu-rehearsal" if options.rehearse else "gpu"
    for backend, size, batch in product(options.backends, options.sizes, options.batches):
        if batch * size**2 <= MAX_PIXELS:
            results["rows"].append(measured(networks, backend, size, batch, options))
            results["goals"] = reached(results["rows"])
            print(results["rows"][-1])
            print(write_results(name, results, options.out))
    for path in (draw_stages(results, options.out / name), draw_roofline(results, options.out / name)):
        print(path)
    for goal in results["goals"]:
        print(goal)
    return 0 if any("run" in row for row in results["rows"]) else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", default=["tensorrt", "torch"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each loop")
    parser.add_argument("--models", type=Path, help="a folder of networks; the shipped ones by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: that it runs, not how fast")
    return parser.parse_args(arguments)


def reached(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each frame size with a goal, the fastest whole run and what it reaches of all goals."""
    done = [row for row in rows if "run" in row]
    sizes = [size for size in FRAMES_PER_S if any(row["size_px"] == size for row in done)]
    return [_reached(size, [row for row in done if row["size_px"] == size]) for size in sizes]


def _reached(size_px: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    best = max(rows, key=lambda row: row["run"]["frames_per_s"])
    fps, share, p99 = best["run"]["frames_per_s"], best["run_of_engine"], best["run"]["p99_of_goal"]
    return {
        "size_px": size_px, "backend": best["backend"], "batch": best["batch"],
        "frames_per_s": fps, "wanted_frames_per_s": FRAMES_PER_S[size_px],
        "of_engine": share, "wanted_of_engine": OF_ENGINE, "p99_of_goal": p99,
        "met": fps >= FRAMES_PER_S[size_px] and share >= OF_ENGINE and p99 <= 1.0,
    }  # fmt: skip


def describe_gpu_machine() -> dict[str, Any]:
    """Return the machine, the versions on it, and its GPUs."""
    return {**describe_machine(), "gpu": describe_gpu()}


def describe_gpu() -> list[str]:
    """Return name, driver and clock of every device, as the driver's tool tells them; none without it."""
    fields = "name,driver_version,clocks.max.sm,memory.total,power.limit"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def measured(
    networks: Networks, name: str, size_px: int, batch_frames: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure a row; what does not run, or does not fit into the device's memory, leaves the row's rest."""
    row: dict[str, Any] = {"backend": name, "size_px": size_px, "batch": batch_frames}
    try:
        measure(row, networks, options)
    except Exception as error:  # whatever it is: the next row is measured all the same
        row["error"] = f"{type(error).__name__}: {error}"
    return row


def measure(row: dict[str, Any], networks: Networks, options: argparse.Namespace) -> None:
    """Measure one backend at one size and batch, and add to the row what is known as soon as it is."""
    name, batch_frames = row["backend"], row["batch"]
    setting = Setting(size_px=row["size_px"], batch_frames=batch_frames, backend=name)
    image = movie_frames(setting)[0]
    with closing(make_backend(name, networks)) as backend:
        info = backend.load(BatchShape(batch_frames, *image.shape))
        row |= {"precision": info.precision, "device": info.device, "version": info.version}
        batch = np.repeat(normalise(image[np.newaxis]).frames, batch_frames, axis=0)
        given = backend.device.xp.asarray(batch)
        row["one_by_one"] = rate(one_by_one(backend, given), batch_frames, options.seconds)
        row["batches"] = rate(pipelined(backend, given), batch_frames, options.seconds)
        engine = engine_alone(backend)
        row["engine"] = rate(engine, batch_frames, options.seconds) if engine else None
        alone = row["engine"] or row["batches"]  # without a graph to launch the backend's own is the most
        row["ceilings"] = ceilings(backend)
        row["roofline"] = roofline(networks, image.shape, alone["frames_per_s"], row["ceilings"])
    row["batches_of_engine"] = row["batches"]["frames_per_s"] / alone["frames_per_s"]
    row["whole"] = measure_whole(setting, options)
    row["whole_of_engine"] = row["whole"]["frames_per_s"] / alone["frames_per_s"]
    row["run"] = run_whole(setting, str(options.models or ""), alone, options.seconds)
    row["run_of_engine"] = row["run"]["frames_per_s"] / alone["frames_per_s"]
    if name == "tensorrt":  # another engine to build, so last
        shape = BatchShape(batch_frames, *image.shape)
        row["one_engine"] = one_engine(networks, shape, options.seconds)


def measure_whole(setting: Setting, options: argparse.Namespace) -> dict[str, float]:
    """Return frames a second of an analyser process fed over ZeroMQ, as median of rounds."""
    images = movie_frames(setting)
    ahead = max(16, 4 * setting.batch_frames)
    with analyser(setting, images, str(options.models or "")) as whole:
        whole.run(ahead, ahead)
        first = whole.run(ahead, ahead)
        n_frames = max(ahead, round(first * options.seconds / 5))
        rounds = [whole.run(n_frames, ahead) for _ in range(5)]
    return {
        "frames_per_s": float(np.median(rounds)), "low": min(rounds), "high": max(rounds),
        "columns_per_frame": whole.columns / whole.answered,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
