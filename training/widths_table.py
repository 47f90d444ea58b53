"""What a narrower network costs in accuracy, and what it saves: one table of several networks.

``python -m training.widths_table A.onnx B.onnx …`` takes height networks and denoisers (exported checkpoints
of any width; their metadata say which they are), shows all the same frames of held-out particles, and writes
``widths.md``: parameters, operations a pixel, time for a frame, and counts or PSNR by dose.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.backends.quiet_openvino import shared_core
from pipeline.columns import find_columns
from pipeline.machine import describe_machine
from pipeline.preprocess import normalise
from streamer.errors import UsageError
from training.data import DrawConfig, Store, draw_optics, fixed_dose, load
from training.evaluate import summary
from training.network_cost import network_cost
from training.score import MIN_DISTANCE_PX, Particles, compare, psnr, taken

DOSES_E_PER_A2 = (30.0, 100.0, 300.0, 1000.0, 3000.0)
TASKS = {"heights": "Column heights", "denoise": "Denoisers"}
FRAME_PX = 256
TIMED_PX, TIMED_ROUNDS = 512, 15
THRESHOLD = 0.5
SEED = 12
BUSY = 0.3

Frames = list[tuple[NDArray[np.float32], NDArray[np.void], NDArray[np.float32]]]
"""Frames, their true columns, and the frames without noise."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network, what it costs, and the compiled network.

    ``channels`` are the widths of its 3 × 3 convolutions that keep their number of channels; ``operations``
    are those of a frame's pixel, two for a multiplication with its addition.
    """

    name: str
    task: str
    channels: tuple[int, ...]
    parameters: int
    operations: float
    compiled: Callable[..., Any]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Judge and time the networks, write the page; returns its path."""
    args = _options(arguments)
    if not args.data.exists():
        raise UsageError(f"there is no {args.data}; make it: atomstream simulate --dataset {args.data}")
    candidates = [opened(path) for path in args.networks]
    machine = describe_machine()
    if machine["load"] > BUSY:
        print(f"the machine is busy (load {machine['load']}): the times will mislead")
    times_ms = timed(candidates, args.rounds)
    draw = DrawConfig()
    particles = held_out(args.data, args.split, args.particles, draw)
    rows: dict[str, dict[float, dict[str, float]]] = {c.name: {} for c in candidates}
    for dose in tqdm(args.doses, unit="dose", disable=None):
        rng = np.random.default_rng([SEED, round(dose)])
        frames = list(taken(particles, FRAME_PX, fixed_dose(draw, dose), rng))
        for candidate in candidates:
            rows[candidate.name][dose] = judged(candidate, frames)
    args.out.mkdir(parents=True, exist_ok=True)
    path: Path = args.out / args.page
    path.write_text(page(candidates, times_ms, rows, about(particles, args, machine)), encoding="utf-8")
    return path


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", type=Path, nargs="+", metavar="NETWORK.onnx")
    parser.add_argument("--data", type=Path, default=Path("data/ceria.h5"))
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--particles", type=int, default=0, help="of the split; 0: all")
    parser.add_argument("--doses", type=float, nargs="+", default=DOSES_E_PER_A2, metavar="E_PER_A2")
    parser.add_argument("--rounds", type=int, default=TIMED_ROUNDS, help="of timing, all networks in turn")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation"))
    parser.add_argument("--page", default="widths.md", help="the page's file name")
    return parser.parse_args(arguments)


def held_out(data: Path, split: str, count: int, draw: DrawConfig) -> Particles:
    """Return the first particles of a split (0: all) and a lens for each; their settings are not needed."""
    store, rng = load(data, split), np.random.default_rng(SEED)
    n = min(count or len(store.waves), len(store.waves))
    optics = [draw_optics(1, draw, rng) for _ in range(n)]
    return Particles(Store(store.waves[:n], store.columns[:n], store.pixel_size_A), [{}] * n, optics)


def opened(path: Path) -> Candidate:
    """Read a network, count what it costs and compile it for the processor.

    Raises
    ------
    UsageError
        If it is no height network and no denoiser.
    """
    if not path.exists():
        raise UsageError(
            f"there is no network {path}; export it: atomstream export CHECKPOINT.pt --out {path}"
        )
    model = onnx.load(path)
    task = {p.key: p.value for p in model.metadata_props}.get("task", "")
    if task not in TASKS:
        raise UsageError(f"{path} is for the task {task!r}, expected one of {', '.join(TASKS)}")
    shapes = [tuple(t.dims) for t in model.graph.initializer]
    kept = {shape[0] for shape in shapes if len(shape) == 4 and shape[2] == 3 and shape[0] == shape[1]}
    flops, _ = network_cost(path, TIMED_PX, TIMED_PX)
    return Candidate(
        name=path.as_posix(),
        task=task,
        channels=tuple(sorted(kept)),
        parameters=sum(prod(shape) for shape in shapes if shape),
        operations=flops / TIMED_PX**2,
        compiled=shared_core().compile_model(str(path), "CPU"),
    )


def timed(candidates: list[Candidate], rounds: int) -> dict[str, float]:
    """Return the median time of a frame of 512 × 512 px [ms]; the networks take turns."""
    frame = normalise(np.random.default_rng(SEED).poisson(12.0, (1, TIMED_PX, TIMED_PX))).frames
    times: dict[str, list[float]] = {c.name: [] for c in candidates}
    for turn in range(rounds + 1):
        for candidate in candidates:
            started = time.perf_counter()
            candidate.compiled([frame])
            if turn:  # the first warms up
                times[candidate.name].append(1000 * (time.perf_counter() - started))
    return {name: median(values) for name, values in times.items()}


def judged(candidate: Candidate, frames: Frames) -> dict[str, float]:
    """Return the shares of a height network's columns, or a denoiser's mean PSNR [dB]."""
    answers = [candidate.compiled([normalise(frame[None]).frames]) for frame, _, _ in frames]
    if candidate.task == "denoise":
        pairs = zip(answers, frames, strict=True)
        return {"psnr_dB": float(np.mean([psnr(answer[0][0, 0], clean) for answer, (_, _, clean) in pairs]))}
    rows = []
    for index, (answer, (_, true, _)) in enumerate(zip(answers, frames, strict=True)):
        probability, logits = answer.values()
        found = find_columns(probability[0, 0], logits[0], THRESHOLD, MIN_DISTANCE_PX)
        rows.append(compare(found, true, index))
    return summary(np.concatenate(rows))


def about(particles: Particles, args: argparse.Namespace, machine: dict[str, Any]) -> str:
    """Say how the figures were made."""
    given = " ".join(path.as_posix() for path in args.networks)
    return (
        f"Written by `python -m training.widths_table {given} --page {args.page}`:"
        f" {len(particles.settings)} particles of the {args.split} split, one frame of {FRAME_PX} ×"
        f" {FRAME_PX} px each, the same for all networks. Times are medians of a frame of {TIMED_PX} ×"
        f" {TIMED_PX} px in OpenVINO {machine['packages']['openvino']} on {machine['cpu']},"
        f" {machine['cores']} cores ({machine['vector_unit']}), load {machine['load']}; operations count two"
        " for a multiplication with its addition."
    )


def page(
    candidates: list[Candidate],
    times_ms: dict[str, float],
    rows: dict[str, dict[float, dict[str, float]]],
    made: str,
) -> str:
    """Return the page: a table for each task."""
    parts = ["# Networks side by side", made]
    for task, title in TASKS.items():
        if some := [c for c in candidates if c.task == task]:
            parts += [f"## {title}", _table(some, times_ms, rows)]
    if any(c.task == "heights" for c in candidates):
        parts.append(
            "Counts are *exact / within one (missed, false)*, in percent: the first two of the columns that"
            " were found, the others of all that are there."
        )
    return "\n\n".join(parts) + "\n"


def _table(
    candidates: list[Candidate], times_ms: dict[str, float], rows: dict[str, dict[float, dict[str, float]]]
) -> str:
    doses = list(rows[candidates[0].name])
    heads = ["network", "channels", "parameters", "operations a pixel", "ms a frame"]
    lines = [
        "| " + " | ".join(heads + [f"{dose:g} e/Å²" for dose in doses]) + " |",
        "|" + "---|" * (len(heads) + len(doses)),
    ]
    for c in candidates:
        channels = ", ".join(str(width) for width in c.channels)
        cells = [c.name, channels, f"{c.parameters:,}", f"{c.operations:,.0f}", f"{times_ms[c.name]:.1f}"]
        lines.append("| " + " | ".join(cells + [_cell(rows[c.name][dose]) for dose in doses]) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, float]) -> str:
    if "psnr_dB" in row:
        return f"{row['psnr_dB']:.1f} dB"
    percent = {name: f"{100 * value:.1f}" for name, value in row.items()}
    return f"{percent['exact']} / {percent['within_one']} ({percent['missed']}, {percent['false']})"


if __name__ == "__main__":
    print(main())
