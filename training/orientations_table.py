"""What the mean over mirror images of a frame gains, and what it costs (``--orientations``).

``python -m training.orientations_table`` shows the same frames of held-out particles to the shipped networks
in one, two and four orientations, as the live program does, and writes ``orientations.md``.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.backends import Backend, BatchShape, make_backend
from pipeline.backends.oriented import ORIENTATIONS, OrientedBackend
from pipeline.columns import find_columns
from pipeline.machine import describe_machine
from pipeline.networks import find_networks
from pipeline.preprocess import normalise
from streamer.errors import UsageError
from training.data import DrawConfig, fixed_dose
from training.evaluate import summary, table
from training.score import MIN_DISTANCE_PX, compare, psnr, taken
from training.widths_table import (
    DOSES_E_PER_A2,
    FRAME_PX,
    SEED,
    THRESHOLD,
    TIMED_PX,
    TIMED_ROUNDS,
    Frames,
    held_out,
)

__all__ = ["judged", "main"]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Judge and time the numbers of orientations, write the page; returns its path."""
    args = _options(arguments)
    if not args.data.exists():
        raise UsageError(f"there is no {args.data}; make it: atomstream simulate --dataset {args.data}")
    machine = describe_machine()
    times_ms = {number: _timed(number, args.rounds) for number in ORIENTATIONS}
    draw = DrawConfig()
    particles = held_out(args.data, "test", args.particles, draw)
    tables = []
    for dose in tqdm(args.doses, unit="dose", disable=None):
        rng = np.random.default_rng([SEED, round(dose)])
        frames = list(taken(particles, FRAME_PX, fixed_dose(draw, dose), rng))
        rows = [(f"{number}", judged(number, frames)) for number in ORIENTATIONS]
        tables.append(table(f"Orientations, {dose:g} e/Å²", rows))
    args.out.mkdir(parents=True, exist_ok=True)
    path: Path = args.out / "orientations.md"
    made = _about(len(particles.settings), times_ms, machine)
    path.write_text(
        "\n".join(["# Mirror images of a frame, and their mean\n", made, *tables]), encoding="utf-8"
    )
    return path


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/ceria.h5"))
    parser.add_argument("--particles", type=int, default=0, help="of the test split; 0: all")
    parser.add_argument("--doses", type=float, nargs="+", default=DOSES_E_PER_A2, metavar="E_PER_A2")
    parser.add_argument("--rounds", type=int, default=TIMED_ROUNDS, help="of timing")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation"))
    return parser.parse_args(arguments)


def judged(number: int, frames: Frames) -> dict[str, float]:
    """Return the shares of columns and the denoised frames' mean PSNR [dB], with so many orientations."""
    rows, psnr_dB = [], []
    with closing(_backend(number)) as backend:
        backend.load(BatchShape(1, FRAME_PX, FRAME_PX))
        for index, (frame, true, clean) in enumerate(frames):
            backend.submit(normalise(frame[None]).frames)
            output = backend.collect()
            probability, logits = output.column_probability[0], output.count_logits[0]
            found = find_columns(probability, logits, THRESHOLD, MIN_DISTANCE_PX)
            rows.append(compare(found, true, index))
            psnr_dB.append(psnr(output.denoised[0], clean))
    return {**summary(np.concatenate(rows)), "psnr_dB": float(np.mean(psnr_dB))}


def _backend(number: int) -> Backend:
    networks = find_networks(None, "ceria")
    return OrientedBackend(make_backend("openvino", networks), number, networks.channels)


def _timed(number: int, rounds: int) -> float:
    """Return the median time of both networks for a frame of 512 × 512 px [ms], one after the other."""
    frame = normalise(np.random.default_rng(SEED).poisson(12.0, (1, TIMED_PX, TIMED_PX))).frames
    times_ms = []
    with closing(_backend(number)) as backend:
        backend.load(BatchShape(1, TIMED_PX, TIMED_PX))
        for _ in range(rounds):
            started = time.perf_counter()
            backend.submit(frame)
            backend.collect()
            times_ms.append(1000 * (time.perf_counter() - started))
    return median(times_ms)


def _about(n_particles: int, times_ms: dict[int, float], machine: dict[str, Any]) -> str:
    times = ", ".join(f"{time_ms:.0f}" for time_ms in times_ms.values())
    return (
        f"Written by `python -m training.orientations_table`: {n_particles} particles of the test split, one"
        f" frame of {FRAME_PX} × {FRAME_PX} px each, the same in every row of a table. Both networks take"
        f" {times} ms for a frame of {TIMED_PX} × {TIMED_PX} px in {len(times_ms)} numbers of orientations"
        f" (medians; OpenVINO {machine['packages']['openvino']} on {machine['cpu']},"
        f" {machine['cores']} cores, {machine['vector_unit']}, load {machine['load']}).\n"
    )


if __name__ == "__main__":
    print(main())
