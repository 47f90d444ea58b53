"""Judge the shipped networks on the test split and write tables and figures.

Nothing was fitted to the test particles (``docs/training.md``). ``main(EvaluateConfig())`` writes
``ceria.json`` (all figures), ``ceria.md`` (tables) and pictures into ``docs/evaluation``; what is written of
another material is named after that.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from simulator.crystals import crystal_of
from training.baselines import compare_ways, fitted_counters
from training.data import DrawConfig, fixed_dose, load, make_scene
from training.figures import plot_accuracy, plot_calibration, plot_conditions
from training.movie_score import compare_denoising, open_network
from training.score import (
    Networks,
    Particles,
    Scores,
    equal_parts,
    first_of,
    fit,
    fit_counts,
    open_networks,
    open_particles,
    score,
    stack_optics,
    vacuum_columns,
)

HEADINGS = {
    "columns": "columns",
    "exact": "exact [%]",
    "within_one": "within one [%]",
    "missed": "missed [%]",
    "false": "false [%]",
    "position_rms_pm": "position error, rms [pm]",
    "calibration_error": "calibration error",
    "psnr_dB": "denoised, PSNR [dB]",
    "surface": "surface columns found [%]",
}
WAYS = {
    "raw": "network, frame as it came (shipped)",
    "denoised": "network, denoised frame",
    "both": "network, mean of both answers",
    "filter": "Gaussian filter, peaks' intensity (states no probability)",
}
TITLES = {"ceria": "Ceria networks", "gold-columns": "Networks for gold's columns"}
WRITTEN = {
    "ceria": "Written by `python -m training.evaluate`. Further tilts, carbon and other zone axes: "
    "[limits](limits.md).\n",
    "gold-columns": "Written by `atomstream evaluate --material gold-columns`. Further tilts and "
    "carbon: [limits](gold-columns_limits.md).\n",
}
MOVIE_DOSE_E_PER_A2 = 11.25
"""0.45 electrons a pixel of 0.2 Å."""
CONDITIONS = ("overfocus_nm", "cs_um", "tilt_deg", "diameter_nm")
BINS = 15


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What to judge, on what, and where the results go."""

    heights: str = "pipeline/models/ceria_heights.onnx"
    denoise: str = "pipeline/models/ceria_denoise.onnx"
    data: str = "data/ceria.h5"
    out: str = "docs/evaluation"
    material: str = "ceria"
    split: str = "test"
    doses_e_per_A2: tuple[float, ...] = (30.0, 100.0, 300.0, 1000.0, 3000.0)
    size_px: int = 256
    second_size_px: int = 512
    vacuum_frames: int = 100
    denoise5: str = ""
    compared_particles: int = 60
    compared_movies: int = 24
    fitted_particles: int = 60
    detail_dose_e_per_A2: float = 300.0
    draw: DrawConfig = field(default_factory=DrawConfig)
    seed: int = 11


def summary(columns: NDArray[np.void]) -> dict[str, float]:
    """Return the shares that describe a set of rows; counts are judged on the matched columns.

    Where nothing was matched, nothing was exact.
    """
    true, found = columns["true_count"], columns["found_count"]
    matched = matched_rows(columns)
    off = np.abs(matched["true_count"] - matched["found_count"])
    n_true, n_matched = max(int((true > 0).sum()), 1), max(len(matched), 1)
    return {
        "columns": int((true > 0).sum()),
        "exact": float((off == 0).sum() / n_matched),
        "within_one": float((off <= 1).sum() / n_matched),
        "missed": float(((true > 0) & (found == 0)).sum() / n_true),
        "false": float(((true == 0) & (found > 0)).sum() / n_true),
        "position_rms_pm": float(100 * np.sqrt((matched["distance_A"] ** 2).sum() / n_matched)),
        "calibration_error": calibration(matched)[0],
    }


def matched_rows(columns: NDArray[np.void]) -> NDArray[np.void]:
    """Return the rows of columns that exist and were found."""
    return columns[(columns["true_count"] > 0) & (columns["found_count"] > 0)]


def calibration(matched: NDArray[np.void]) -> tuple[float, NDArray[np.float64]]:
    """Return the expected calibration error and rows (mean probability, share exact, share of columns).

    Guo et al., ICML 2017: bins of equal width, error = Σ share · |exact - probability|.
    """
    correct = matched["true_count"] == matched["found_count"]
    bins = np.minimum((matched["probability"] * BINS).astype(int), BINS - 1)
    rows = [
        (matched["probability"][bins == b].mean(), correct[bins == b].mean(), (bins == b).mean())
        for b in range(BINS)
        if (bins == b).any()
    ]
    table = np.array(rows, dtype=float).reshape(-1, 3)
    return float((table[:, 2] * np.abs(table[:, 1] - table[:, 0])).sum()), table


def by_condition(scores: Scores, name: str, parts: int = 5) -> list[dict[str, float]]:
    """Return the summaries of equally filled ranges of one of the frames' conditions."""
    return [
        {"low": low, "high": high, **summary(scores.columns[which[scores.columns["frame"]]])}
        for low, high, which in equal_parts(scores.frames[name], parts)
    ]


def by_zone(scores: Scores) -> dict[str, dict[str, float]]:
    """Return the summaries of the zone axes."""
    zones = scores.frames["zone_axis"][scores.columns["frame"]]
    return {zone.decode(): summary(scores.columns[zones == zone]) for zone in np.unique(zones)}


def by_count(scores: Scores) -> dict[str, dict[str, float]]:
    """Return exact and within-one shares and misses for each true count."""
    keep = ("columns", "exact", "within_one", "missed")
    true = scores.columns["true_count"]
    rows = {str(n): summary(scores.columns[true == n]) for n in np.unique(true[true > 0])}
    return {n: {key: values[key] for key in keep} for n, values in rows.items()}


def main(config: EvaluateConfig) -> Path:
    """Judge the networks and write everything; returns the path of the JSON file."""
    rng = np.random.default_rng(config.seed)
    networks = open_networks(Path(config.heights), Path(config.denoise))
    particles = open_particles(Path(config.data), config.split, config.draw, rng)

    def judged(dose: float, size_px: int) -> Scores:
        return score(networks, particles, dose, size_px, config.draw, rng)

    doses = tqdm(config.doses_e_per_A2, unit="dose", disable=None)
    scores = {dose: judged(dose, config.size_px) for dose in doses}
    detail = scores[config.detail_dose_e_per_A2]
    second = judged(config.detail_dose_e_per_A2, config.second_size_px)
    report = {
        "material": config.material,
        "split": config.split,
        "particles": len(particles.settings),
        "size_px": config.size_px,
        "by_dose": {f"{dose:g}": with_psnr(result) for dose, result in scores.items()},
        "detail_dose_e_per_A2": config.detail_dose_e_per_A2,
        "by_size": {
            str(config.size_px): summary(detail.columns),
            str(config.second_size_px): summary(second.columns),
        },
        "by_zone": by_zone(detail),
        "by_count": by_count(detail),
        "by_condition": {name: by_condition(detail, name) for name in CONDITIONS},
        "vacuum": vacuum_by_dose(networks, config),
        "counting": counting_ways(networks, particles, config, rng),
        "denoising": denoising_ways(networks, particles, config, rng),
    }
    return write(Path(config.out), report, scores)


def vacuum_by_dose(networks: Networks, config: EvaluateConfig) -> dict[str, Any]:
    """Return the columns found in frames of pure vacuum with drawn detectors, dose by dose."""
    n, size = config.vacuum_frames, config.size_px
    columns = {
        f"{dose:g}": vacuum_columns(networks, n, size, fixed_dose(config.draw, dose), 3)
        for dose in config.doses_e_per_A2
    }
    return {"frames": n, "columns": columns}


def counting_ways(
    networks: Networks, particles: Particles, config: EvaluateConfig, rng: np.random.Generator
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the summaries by dose and way to count, with the share of surface columns found."""
    store = load(Path(config.data), "train", config.fitted_particles)
    some = first_of(particles, config.compared_particles)
    counters = fitted_counters(store, config.doses_e_per_A2, config.size_px, config.draw, rng)
    lattice_constant_A, result = crystal_of(config.material).lattice_constant_A, {}
    for dose, counter in tqdm(counters.items(), unit="dose", desc="ways to count", disable=None):
        draw = fixed_dose(config.draw, dose)
        ways = compare_ways(networks, some, counter, config.size_px, draw, rng, lattice_constant_A)
        result[f"{dose:g}"] = {
            name: {**summary(rows), "surface": ways.surface[name]} for name, rows in ways.columns.items()
        }
    return result


def denoising_ways(
    networks: Networks, particles: Particles, config: EvaluateConfig, rng: np.random.Generator
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the PSNR [dB] by dose, kind of movie and way to denoise."""
    five = open_network(Path(config.denoise5)) if config.denoise5 else None
    n = min(config.compared_movies, len(particles.settings))
    scene = make_scene(particles.store, np.arange(n), stack_optics(particles.optics[:n]))
    pictures = list(zip(fit(scene, config.size_px).intensity, fit_counts(scene, config.size_px), strict=True))
    return {
        f"{dose:g}": compare_denoising(networks, five, pictures, fixed_dose(config.draw, dose), rng)
        for dose in (MOVIE_DOSE_E_PER_A2, *config.doses_e_per_A2)
    }


def with_psnr(scores: Scores) -> dict[str, float]:
    """Return a dose's summary with the denoiser's mean PSNR [dB]."""
    return {**summary(scores.columns), "psnr_dB": float(scores.frames["psnr_dB"].mean())}


def write(out: Path, report: dict[str, Any], scores: dict[float, Scores]) -> Path:
    """Write the report as JSON, as tables and as pictures."""
    out.mkdir(parents=True, exist_ok=True)
    name = report["material"]
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(as_markdown(report), encoding="utf-8")
    plot_accuracy(report["by_dose"], out / f"{name}_dose.png")
    tables = {dose: calibration(matched_rows(result.columns))[1] for dose, result in scores.items()}
    plot_calibration(tables, out / f"{name}_calibration.png")
    plot_conditions(report["by_condition"], report["by_count"], out / f"{name}_conditions.png")
    return out / f"{name}.json"


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report's tables as text."""
    size, material = report["size_px"], report["material"]
    conditions = [
        table(f"By {name}", [(f"{r['low']:.2f} to {r['high']:.2f}", r) for r in rows])
        for name, rows in report["by_condition"].items()
    ]
    vacuum = report["vacuum"]
    parts = [
        f"# {TITLES[material]} on held-out particles\n",
        f"{report['particles']} particles of the {report['split']} split, one frame of {size} × {size} px "
        "each; optics, detector and noise drawn from the ranges in `training/data.py`. " + WRITTEN[material],
        "*Exact*, *within one*, position and calibration error are of the true columns that were found, "
        "*missed* and *false* are shares of all true columns. The peak of the PSNR is the maximum of the "
        "frame without noise.\n",
        table("By dose [e/Å²]", list(report["by_dose"].items())),
        f"Pure vacuum, columns found in {vacuum['frames']} frames with drawn detectors: "
        + ", ".join(f"{n} at {dose} e/Å²" for dose, n in vacuum["columns"].items())
        + ".\n",
        f"![against dose]({material}_dose.png) ![calibration]({material}_calibration.png)\n",
        f"The following at {report['detail_dose_e_per_A2']:g} e/Å².\n",
        table("By size of the frame [px]", list(report["by_size"].items())),
        table("By zone axis", list(report["by_zone"].items())),
        *conditions,
        *ways_tables(report),
        table("By true count", list(report["by_count"].items())),
        f"![against conditions]({material}_conditions.png)\n",
    ]
    return "\n".join(parts)


def ways_tables(report: dict[str, Any]) -> list[str]:
    """Return the tables of the ways to count and to denoise."""
    counting = [
        table(f"Counting at {dose} e/Å²", [(WAYS[name], row) for name, row in rows.items()])
        for dose, rows in report["counting"].items()
    ]
    names = list(next(iter(report["denoising"].values()))["still"])
    lines = ["| PSNR [dB] of the newest frame | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for dose, kinds in report["denoising"].items():
        for kind, row in kinds.items():
            lines.append(f"| {kind}, {dose} e/Å² | " + " | ".join(f"{row[n]:.1f}" for n in names) + " |")
    return [*counting, "\n".join(lines) + "\n"]


def table(title: str, rows: list[tuple[str, dict[str, float]]]) -> str:
    """Return one table; shares in percent."""
    names = [name for name in HEADINGS if name in rows[0][1]]
    head = f"| {title} | " + " | ".join(HEADINGS[name] for name in names) + " |"
    lines = [head, "|" + "---|" * (len(names) + 1)]
    for label, row in rows:
        lines.append(f"| {label} | " + " | ".join(cell(name, row[name]) for name in names) + " |")
    return "\n".join(lines) + "\n"


def cell(name: str, value: float) -> str:
    """Write a number as its column wants it."""
    if name in ("exact", "within_one", "missed", "false", "surface"):
        return f"{100 * value:.1f}"
    return {"columns": "{:d}", "calibration_error": "{:.3f}"}.get(name, "{:.1f}").format(value)


if __name__ == "__main__":
    main(EvaluateConfig())
