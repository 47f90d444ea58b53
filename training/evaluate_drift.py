"""The error of the measured drift against dose: writes ``docs/evaluation/drift.md`` and its figure.

``python -m training.evaluate_drift`` films the first test particles (`training.particle_movies`) at several
doses and compares `pipeline.drift` with the movie's truth, frame by frame. No network is involved.
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from math import nan
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.drift import DriftMeter
from pipeline.preprocess import PIXEL_SIZE_A, normalise
from training.particle_movies import held_out, movie_of

__all__ = ["errors_of", "main"]

SETTLING = 20
"""Frames after which the average of the frames before is something to go by."""
LOST_PX = 3.0
PM_PER_PX = 100.0 * PIXEL_SIZE_A


def errors_of(index: int, dose_e_per_A2: float, n_frames: int, folder: Path) -> NDArray[np.float64]:
    """Return the errors (n, 2) [px] of a particle's frames, less their median.

    The median is the first frame's own error, which all shifts against it share.
    """
    movie = movie_of(index, dose_e_per_A2, n_frames, folder)
    meter, errors = DriftMeter(), []
    for frame in islice(movie, n_frames):
        contrast = normalise(frame.image[np.newaxis]).frames[0, 0]
        errors.append(np.subtract(meter.shift_px(contrast), frame.place.drift_px))
    found = np.array(errors)
    return np.asarray(found - np.median(found[SETTLING:], axis=0))


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("data/tracking"), help="where exit waves are kept"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation"))
    parser.add_argument("--particles", type=int, default=6)
    parser.add_argument(
        "--split", choices=("test", "validation"), default="test",
        help="constants are chosen on validation; give another --out with it",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--doses", type=float, nargs="+", default=[3.0, 10.0, 30.0, 100.0, 300.0])
    args = parser.parse_args(arguments)
    particles = held_out(args.split, args.particles)
    errors = {
        dose: [errors_of(index, dose, args.frames, args.folder) for index in particles]
        for dose in tqdm(args.doses, unit="dose", disable=None)
    }
    _plot(errors).savefig(args.out / "drift.png", dpi=110)
    path: Path = args.out / "drift.md"
    path.write_text(_page(errors, args.frames, args.split), encoding="utf-8")
    return path


def _figures(errors: list[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Return error, rms [pm], and largest [pm], of the frames that are not lost, and the share of the lost.

    The errors are NaN where all are lost, as may be at a dose of 3 e/Å².
    """
    late = np.concatenate([e[SETTLING:] for e in errors])
    lost = np.abs(late).max(axis=1) > LOST_PX
    kept = PM_PER_PX * late[~lost]
    if not len(kept):
        return nan, nan, 1.0
    return float(np.sqrt((kept**2).mean())), float(np.abs(kept).max()), float(lost.mean())


def _page(errors: dict[float, list[NDArray[np.float64]]], frames: int, split: str) -> str:
    rows = []
    for dose, found in errors.items():
        rms, largest, lost = _figures(found)
        early = np.concatenate([e[:SETTLING] for e in found])
        early_lost = float((np.abs(early).max(axis=1) > LOST_PX).mean())
        rows.append(f"| {dose:g} | {rms:.0f} | {largest:.0f} | {100 * lost:.1f} | {100 * early_lost:.1f} |")
    n = len(next(iter(errors.values())))
    return "\n".join(
        [
            "# Error of the measured drift",
            "",
            f"{n} {split} particles, {frames} frames each, drift 0.35 px a frame and axis (rms), a wandering",
            "focus and ideal counting; `python -m training.evaluate_drift`. Along one axis, from frame",
            f"{SETTLING} on, against the first frame's own place. *Lost* are frames further off than"
            f" {LOST_PX:g} px ({PM_PER_PX * LOST_PX:.0f} pm).",
            "",
            "| dose [e/Å² a frame] | rms [pm] | largest [pm] | lost [%] |"
            f" lost in the first {SETTLING} frames [%] |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "![error against dose](drift.png)",
            "",
            "Where columns are followed, their places refine this further (`pipeline/registration.py`).",
            "",
        ]
    )


def _plot(errors: dict[float, list[NDArray[np.float64]]]) -> Figure:
    figure = Figure((6.0, 3.6), layout="constrained")
    axes = figure.add_subplot(
        xscale="log", yscale="log", xlabel="dose [e/Å² a frame]", ylabel="error along an axis, rms [pm]"
    )
    for place in range(len(next(iter(errors.values())))):
        values = [_figures([found[place]])[0] for found in errors.values()]
        axes.plot(list(errors), values, "o-", color="0.75", lw=1, ms=3, label="" if place else "one particle")
    axes.plot(list(errors), [_figures(found)[0] for found in errors.values()], "o-", color="C0", label="all")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
