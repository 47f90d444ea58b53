"""How well columns are followed: writes ``docs/evaluation/tracking.md`` and its figures.

``python -m training.evaluate_tracking`` follows the test particles' movies (`training.tracking_data`).
While a particle is as it is: how often counts are right after so many frames, and whether their probabilities
say so. When atoms come and go: how many of the changes are found and how late, against how many are found
that were none. Everything is in frames and per frame, so that it does not depend on the machine.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.calibration import TrackingCalibration, calibration_for
from pipeline.fusion import FusionModel
from pipeline.networks import Networks, find_networks
from pipeline.preprocess import PIXEL_SIZE_A
from simulator.accuracy import MATCH_RADIUS_A, match
from training.calibrate_tracking import FollowedFrame, follow_movie
from training.particle_movies import held_out
from training.tracking_data import Conditions, SeenMovie, seen_movies

__all__ = ["ChangeScore", "SteadyScore", "main", "score_changes", "score_steady"]

MOMENTS = (0, 4, 14, 37, 74, 98)
SETTLING = 30
"""Frames before a change of a decided count is a false alarm: until then counts are still being made out."""
ODDS = (1.5, 3.0, 6.0, 12.0, 30.0)


@dataclass(frozen=True, slots=True)
class SteadyScore:
    """Shares of all true columns at one frame: right in that frame alone, and by all frames so far.

    `stated` is what the fused counts' probabilities say of themselves; `off` the error of the total, as a
    share, and `off_stated` its standard deviation as stated, both rms over movies.
    """

    frame: int
    single: float
    fused: float
    within_one: float
    stated: float
    off: float
    off_stated: float


@dataclass(frozen=True, slots=True)
class ChangeScore:
    """What was found of the changes at one threshold.

    `found` is the share found in the right direction before the movie's end, `delay_frames` their median
    delay, `false_per_1000` changes found that were none, per column and 1000 frames.
    """

    odds: float
    changes: int
    found: float
    delay_frames: float
    false_per_1000: float


def score_steady(movies: Sequence[SeenMovie], model: FusionModel, after_frames: int = 0) -> list[SteadyScore]:
    """Judge the counts at `MOMENTS`, before anything has changed."""
    frames = [list(follow_movie(movie, model, MOMENTS, after_frames)) for movie in movies]
    return [_steady_at(f, [of_movie[k] for of_movie in frames]) for k, f in enumerate(MOMENTS)]


def _steady_at(f: int, frames: list[FollowedFrame]) -> SteadyScore:
    true = np.concatenate([frame.true["count"] for frame in frames]).astype(int)
    fused = np.concatenate([frame.counts for frame in frames])
    single = np.concatenate([frame.single for frame in frames])
    stated = np.concatenate(
        [frame.probabilities[np.arange(len(frame.counts)), np.maximum(frame.counts, 0)] for frame in frames]
    )
    totals = np.array([frame.true["count"].sum() for frame in frames], float)
    off = np.array([frame.followed.atoms for frame in frames]) / totals - 1.0
    std = np.array([frame.followed.atoms_std for frame in frames]) / totals
    return SteadyScore(
        f,
        float((single == true).mean()),
        float((fused == true).mean()),
        float((np.abs(fused - true) <= 1).mean()),
        float(np.nan_to_num(stated).mean()),
        float(np.sqrt((off**2).mean())),
        float(np.sqrt((std**2).mean())),
    )


def score_changes(
    movies: Sequence[SeenMovie], model: FusionModel, odds: float, after_frames: int = 0
) -> ChangeScore:
    """Judge the changes that are found at one threshold."""
    delays: list[float] = []
    false = column_frames = 0
    for movie in movies:
        of_movie, n_false, n_frames = _changes_of(movie, replace(model, decision_odds=odds), after_frames)
        delays += of_movie
        false, column_frames = false + n_false, column_frames + n_frames
    found = [delay for delay in delays if np.isfinite(delay)]
    return ChangeScore(
        odds,
        len(delays),
        len(found) / max(len(delays), 1),
        float(np.median(found)) if found else float("nan"),
        1000.0 * false / max(column_frames, 1),
    )


def _changes_of(movie: SeenMovie, model: FusionModel, after_frames: int) -> tuple[list[float], int, int]:
    """Return the delay of each true change (infinite: not found), false changes, and columns times frames."""
    at = int(np.flatnonzero(movie.state != movie.state[0])[0])
    steps = _true_steps(movie, at)
    delays = dict.fromkeys(range(len(steps)), np.inf)
    false = 0
    for f, frame in enumerate(follow_movie(movie, model, range(movie.n_frames), after_frames)):
        changes = frame.followed.changes
        changes = changes[changes["before"] >= 0]
        if f < SETTLING or not len(changes):
            continue
        places = np.stack([changes["y"], changes["x"]], -1) - movie.drift_px[f]
        signs = np.sign(changes["after"].astype(int) - changes["before"])
        reach = MATCH_RADIUS_A / PIXEL_SIZE_A
        near = {int(i): int(j) for i, j in zip(*match(places, steps[:, :2], reach), strict=True)}
        for k, sign in enumerate(signs):
            true = f >= at and k in near and steps[near[k], 2] == sign
            if true and not np.isfinite(delays[near[k]]):
                delays[near[k]] = f - at
            elif not true:
                false += 1
    return list(delays.values()), false, len(movie.true_columns(0)) * (movie.n_frames - SETTLING)


def _true_steps(movie: SeenMovie, at: int) -> NDArray[np.float64]:
    """Return rows (y, x, sign) of the columns whose count changes, in pixels of a frame without drift."""
    before, after = (
        {int(c["column_id"]): c for c in movie.truth[movie.truth["state"] == movie.state[f]]}
        for f in (at - 1, at)
    )
    rows = []
    for column_id in sorted({*before, *after}):
        step = int(after[column_id]["count"]) if column_id in after else 0
        step -= int(before[column_id]["count"]) if column_id in before else 0
        if step:
            place = after.get(column_id, before.get(column_id))
            rows.append((float(place["y"]), float(place["x"]), float(np.sign(step))))  # type: ignore[index]
    return np.array(rows).reshape(-1, 3)


def main(arguments: Sequence[str] | None = None) -> Path:
    """Judge, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="folder of the networks (default: the shipped ones)")
    parser.add_argument("--material", default="ceria")
    parser.add_argument("--folder", type=Path, default=Path("data/tracking"), help="where movies are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation"))
    parser.add_argument("--particles", type=int, nargs="+", help="numbers in the data set")
    parser.add_argument("--cases", nargs="+", default=["300", "100", "30", "10x15"], metavar="DOSE[xFRAMES]")
    args = parser.parse_args(arguments)
    networks = find_networks(args.models, args.material)
    particles = args.particles or held_out("test", 6, args.material)
    calibration = calibration_for(networks)
    name = "tracking" if args.material == "ceria" else f"{args.material}_tracking"
    steady, changes = {}, {}
    for case in map(_case, args.cases):
        movies = list(seen_movies(particles, case, networks, args.folder, args.material))
        model = _model(calibration, movies, case)
        steady[case] = score_steady(movies, model, case.average_frames - 1)
        changes[case] = [score_changes(movies, model, odds, case.average_frames - 1) for odds in ODDS]
        print(case, steady[case][-1], changes[case][1], flush=True)
    _plot_steady(steady).savefig(args.out / f"{name}_steady.png", dpi=110)
    _plot_changes(changes).savefig(args.out / f"{name}_changes.png", dpi=110)
    path: Path = args.out / f"{name}.md"
    path.write_text(_page(name, networks, calibration, len(particles), steady, changes), encoding="utf-8")
    return path


def _case(text: str) -> Conditions:
    dose, _, average = text.partition("x")
    return Conditions(float(dose), int(average or 1))


def _model(calibration: TrackingCalibration, movies: Sequence[SeenMovie], case: Conditions) -> FusionModel:
    noise = float(np.mean([movie.noise[SETTLING:].mean() for movie in movies]))
    return calibration.at(noise).for_average_of(case.average_frames)


def _name(case: Conditions) -> str:
    average = f", mean of {case.average_frames}" if case.average_frames > 1 else ""
    return f"{case.dose_e_per_A2:g} e/Å²{average}"


def _page(
    name: str,
    networks: Networks,
    calibration: TrackingCalibration,
    particles: int,
    steady: dict[Conditions, list[SteadyScore]],
    changes: dict[Conditions, list[ChangeScore]],
) -> str:
    measured = "measured" if calibration.networks else "the defaults, not measured for these networks"
    sha256 = networks.heights.sha256[:12]
    lines = [
        "# Columns followed through movies",
        "",
        f"{particles} test particles a dose, drift 0.35 px a frame and axis, wandering focus, ideal counting;"
        " atoms come and go",
        f"at frame 100. Column-height network `{sha256}…`; constants of the fusion: {measured}.",
        "`python -m training.evaluate_tracking` (networks: some minutes a dose) writes this page.",
        "",
        "## Steady columns",
        "",
        "Of all true columns; missed ones count as wrong. *Stated* is the mean probability that the fused"
        " counts give themselves.",
        "",
        "| dose a frame | after frames | right in one frame [%] | fused [%] | fused, within one [%] |"
        " stated [%] | total off, rms [%] | stated [%] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, scores in steady.items():
        lines += [
            f"| {_name(case)} | {s.frame + 1} | "
            + " | ".join(
                f"{100 * share:.1f}"
                for share in (s.single, s.fused, s.within_one, s.stated, s.off, s.off_stated)
            )
            + " |"
            for s in scores
        ]
    lines += [
        "",
        f"![share of right counts against frames]({name}_steady.png)",
        "",
        "## Changes of an atom or more",
        "",
        "A change is found if its column's fused count changes in the right direction within 50 frames.",
        "",
        "| dose a frame | decision odds | changes | found [%] | median delay [frames] |"
        " false, per column and 1000 frames |",
        "|---|---|---|---|---|---|",
    ]
    for case, found in changes.items():
        lines += [
            f"| {_name(case)} | {c.odds:g} | {c.changes} | {100 * c.found:.0f} | {c.delay_frames:.0f} |"
            f" {c.false_per_1000:.2f} |"
            for c in found
        ]
    return "\n".join([*lines, "", f"![found against false]({name}_changes.png)", ""])


def _plot_steady(steady: dict[Conditions, list[SteadyScore]]) -> Figure:
    figure = Figure((6.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel="frames seen", ylabel="counts that are right [%]", xscale="log")
    for k, (case, scores) in enumerate(steady.items()):
        frames = [s.frame + 1 for s in scores]
        axes.plot(frames, [100 * s.fused for s in scores], "o-", color=f"C{k}", label=_name(case))
        axes.plot(frames, [100 * s.single for s in scores], ":", color=f"C{k}")
    axes.axhline(95.0, color="0.7", lw=0.8)
    axes.legend(frameon=False, title="fused; dotted: each frame alone")
    return figure


def _plot_changes(changes: dict[Conditions, list[ChangeScore]]) -> Figure:
    figure = Figure((6.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel="false changes per column and 1000 frames", ylabel="changes found [%]")
    for k, (case, scores) in enumerate(changes.items()):
        axes.plot(
            [c.false_per_1000 for c in scores], [100 * c.found for c in scores], "o-", color=f"C{k}",
            label=_name(case),
        )  # fmt: skip
    figure.legend(frameon=False, title="decision odds\n1.5 to 30", loc="outside right upper")
    return figure


if __name__ == "__main__":
    main()
