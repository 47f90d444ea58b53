"""Judge the shipped gold networks on the test split and write tables and figures.

Nothing was fitted to the test particles or the test membranes. Writes ``gold.json``,
``gold.md`` and pictures.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.onnx_header import read_onnx_header
from pipeline.particle_networks import PATCH_PX, SHAPE_ORIENTATIONS
from simulator.gold import SHAPES
from training.gold_data import GoldDraw, load_gold
from training.gold_figures import plot_conditions, plot_confusion, plot_examples, plot_reliability
from training.gold_pools import restorer
from training.gold_score import open_shapes, score
from training.network_cost import network_cost
from training.score import equal_parts

CONDITIONS = {
    "diameter_nm": "diameter [nm]",
    "carbon_nm": "carbon [nm]",
    "overfocus_nm": "overfocus [nm]",
    "focal_spread_nm": "focal spread [nm]",
    "axis_distance_deg": "beam to nearest symmetry axis [degrees]",
}
FRAME_PX = 512
GOAL = 0.85
AIM = 0.95


@dataclass(frozen=True, slots=True)
class GoldEvaluateConfig:
    """What to judge, on how many particles of a split at most, and where the results go."""

    restore: str = "pipeline/models/gold_restore.onnx"
    shapes: str = "pipeline/models/gold_shapes.onnx"
    data: str = "data/gold.h5"
    out: str = "docs/evaluation"
    split: str = "test"
    doses_e_per_A2: tuple[float, ...] = (300.0, 1000.0, 3000.0)
    detail_from_e_per_A2: float = 1000.0
    views: int = 3
    particles: int = 180
    draw: GoldDraw = field(default_factory=GoldDraw)
    seed: int = 11


def main(config: GoldEvaluateConfig) -> Path:
    """Judge the networks and write everything; returns the path of the JSON file."""
    rng = np.random.default_rng(config.seed)
    store = load_gold(Path(config.data), config.split)
    header = read_onnx_header(Path(config.shapes).read_bytes(), config.shapes)
    classify = open_shapes(Path(config.shapes), header.metadata)
    restore = restorer(Path(config.restore), 1)
    count = min(config.particles, len(store.waves))
    particles = range(count)
    rows = score(store, particles, restore, classify, config.draw, config.doses_e_per_A2, config.views, rng)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    report = {**report_of(rows, classify.unsure_below, config, count), "gflop": gflop(config)}
    (out / "gold.json").write_text(json.dumps(without_nan(report), indent=1) + "\n", encoding="utf-8")
    (out / "gold.md").write_text(as_markdown(report), encoding="utf-8")
    detail = rows[rows["dose_e_per_A2"] >= config.detail_from_e_per_A2]
    plot_confusion(np.array(report["confusion"]), SHAPES, out / "gold_confusion.png")
    plot_conditions(report["by_dose"], report["by_condition"], CONDITIONS, GOAL, out / "gold_conditions.png")
    plot_reliability(reliability(detail)[1], len(detail), out / "gold_calibration.png")
    plot_examples(store, restore, config.draw, out / "gold_examples.png")
    return out / "gold.json"


def report_of(
    rows: NDArray[np.void], unsure_below: float, config: GoldEvaluateConfig, particles: int
) -> dict[str, Any]:
    """Return all figures."""
    detail = rows[rows["dose_e_per_A2"] >= config.detail_from_e_per_A2]
    by_dose = {f"{d:g}": rows[rows["dose_e_per_A2"] == np.float32(d)] for d in config.doses_e_per_A2}
    return {
        "split": config.split,
        "particles": particles,
        "views": config.views,
        "unsure_below": unsure_below,
        "detail_from_e_per_A2": config.detail_from_e_per_A2,
        "detail": summary(detail, unsure_below),
        "by_dose": {dose: summary(part, unsure_below) for dose, part in by_dose.items()},
        "by_condition": {name: by_condition(detail, name, unsure_below) for name in CONDITIONS},
        "by_shape": {s: summary(detail[detail["shape"] == k], unsure_below) for k, s in enumerate(SHAPES)},
        "confusion": confusion(detail).tolist(),
    }


def gflop(config: GoldEvaluateConfig) -> dict[str, float]:
    """Return what the networks compute for a frame of 512 × 512 px and for a particle, in 10⁹ operations."""
    frame = network_cost(Path(config.restore), FRAME_PX, FRAME_PX)[0]
    patch = network_cost(Path(config.shapes), PATCH_PX, PATCH_PX)[0]
    return {"frame": frame / 1e9, "particle": SHAPE_ORIENTATIONS * patch / 1e9}


def summary(rows: NDArray[np.void], unsure_below: float) -> dict[str, float]:
    """Return the figures of some rows."""
    sure = rows[rows["probability"] >= unsure_below]
    means = {
        name: float(rows[name].mean())
        for name in ("input_psnr_dB", "psnr_dB", "input_contrast", "contrast", "overlap", "thickness_rms_A")
    }
    return {
        "pictures": len(rows),
        "balanced_recall": balanced_recall(rows),
        "recall_by_one": balanced_recall(rows, "found_by_one"),
        "unsure": 1.0 - len(sure) / max(len(rows), 1),
        "right_when_sure": float((sure["shape"] == sure["found"]).mean()) if len(sure) else float("nan"),
        "calibration_error": reliability(rows)[0],
        **means,
    }


def balanced_recall(rows: NDArray[np.void], found: str = "found") -> float:
    """Return the mean over the shapes of the share that is recognised (unsure answers count as given)."""
    right = rows["shape"] == rows[found]
    return float(np.mean([right[rows["shape"] == k].mean() for k in np.unique(rows["shape"])]))


def by_condition(
    rows: NDArray[np.void], name: str, unsure_below: float, parts: int = 5
) -> list[dict[str, float]]:
    """Return the summaries of equally filled ranges of a condition."""
    return [
        {"low": low, "high": high, **summary(rows[which], unsure_below)}
        for low, high, which in equal_parts(rows[name], parts)
    ]


def confusion(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """Return the shares of found shapes (columns) of each true shape (rows)."""
    counts = np.zeros((len(SHAPES), len(SHAPES)))
    np.add.at(counts, (rows["shape"], rows["found"]), 1)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def reliability(rows: NDArray[np.void], bins: int = 10) -> tuple[float, NDArray[np.float64]]:
    """Return the expected calibration error and rows (mean probability, share right, share of rows)."""
    right = rows["shape"] == rows["found"]
    which = np.minimum((rows["probability"] * bins).astype(int), bins - 1)
    table = np.array(
        [
            (rows["probability"][which == b].mean(), right[which == b].mean(), (which == b).mean())
            for b in range(bins)
            if (which == b).any()
        ]
    )
    return float((table[:, 2] * np.abs(table[:, 1] - table[:, 0])).sum()), table


HEADINGS = {
    "pictures": ("pictures", "{:d}", 1),
    "balanced_recall": ("balanced recall [%]", "{:.1f}", 100),
    "recall_by_one": ("by one orientation [%]", "{:.1f}", 100),
    "unsure": ("unsure [%]", "{:.1f}", 100),
    "right_when_sure": ("right when sure [%]", "{:.1f}", 100),
    "calibration_error": ("calibration error", "{:.3f}", 1),
    "input_psnr_dB": ("frame, PSNR [dB]", "{:.1f}", 1),
    "psnr_dB": ("restored, PSNR [dB]", "{:.1f}", 1),
    "input_contrast": ("frame, particle : carbon", "{:.2f}", 1),
    "contrast": ("restored, particle : carbon", "{:.1f}", 1),
    "overlap": ("outline, overlap [%]", "{:.1f}", 100),
    "thickness_rms_A": ("thickness error, rms [Å]", "{:.1f}", 1),
}
DOSE_COLUMNS = (
    "pictures", "balanced_recall", "recall_by_one", "unsure", "right_when_sure", "calibration_error"
)  # fmt: skip
SHAPE_COLUMNS = ("pictures", "balanced_recall", "unsure", "right_when_sure", "calibration_error")
PICTURE_COLUMNS = ("input_psnr_dB", "psnr_dB", "input_contrast", "contrast", "overlap", "thickness_rms_A")


def table(title: str, rows: Iterable[tuple[str, dict[str, float]]], names: tuple[str, ...]) -> str:
    """Return one table."""
    lines = [
        f"| {title} | " + " | ".join(HEADINGS[name][0] for name in names) + " |",
        "|" + "---|" * (len(names) + 1),
    ]
    for label, row in rows:
        cells = (cell(name, row[name]) for name in names)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(name: str, value: float) -> str:
    """Write a number as its column wants it; where nothing is sure, there is no share to tell."""
    _, form, factor = HEADINGS[name]
    return "–" if np.isnan(value) else form.format(value * factor)


def without_nan(values: Any) -> Any:
    """Return a report with null for what is not a number, which JSON has no word for."""
    if isinstance(values, dict):
        return {name: without_nan(value) for name, value in values.items()}
    if isinstance(values, list):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and np.isnan(values) else values


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report as text."""
    reached = report["detail"]["balanced_recall"]
    doses = report["by_dose"].items()
    times = "once" if report["views"] == 1 else f"{report['views']} times"
    verdict = f"floor {'met' if reached >= GOAL else 'missed'}, aim {'met' if reached >= AIM else 'missed'}"
    conditions = [
        table(CONDITIONS[name], [(f"{r['low']:.1f} to {r['high']:.1f}", r) for r in rows], SHAPE_COLUMNS)
        for name, rows in report["by_condition"].items()
    ]
    parts = [
        "# Gold networks on held-out particles\n",
        f"{report['particles']} particles of the {report['split']} split on membranes of that split, each "
        f"seen {times}; lens, membrane, detector and noise drawn from the ranges in "
        "`training/gold_data.py`, any orientation; one picture in ten is without a membrane. Shapes are told "
        "from patches about the particles' known centres, off by 1.6 Å along each axis: whether the live "
        "program would have found a particle is not asked. Written by "
        "`atomstream evaluate --material gold`.\n",
        f"Balanced recall over six shapes from {report['detail_from_e_per_A2']:g} e/Å² on: "
        f"**{100 * reached:.1f} %** (floor {100 * GOAL:g} %, aim {100 * AIM:g} %: {verdict}). An answer is "
        f"called unsure below a probability of {report['unsure_below']:.2f}.\n",
        table("Shapes by dose [e/Å²]", doses, DOSE_COLUMNS),
        "An answer is the mean over the patch's eight orientations; *by one orientation* is the recall of "
        f"the same network without that. All eight take {report['gflop']['particle']:.1f} GFLOP a particle, "
        f"the restoration {report['gflop']['frame']:.1f} GFLOP for a frame of {FRAME_PX} × {FRAME_PX} px.\n",
        "![against dose and conditions](gold_conditions.png)\n",
        table("Restoration by dose [e/Å²]", doses, PICTURE_COLUMNS),
        "The peak of the PSNR is the target's maximum; particle : carbon is the ratio of the rms deviations "
        "from the vacuum level in the particle and beside it; the outline is where the restored picture, "
        "smoothed by 2 Å, shows more than 8 Å of gold.\n",
        "![examples](gold_examples.png)\n",
        f"The following from {report['detail_from_e_per_A2']:g} e/Å² on.\n",
        table("Shape", report["by_shape"].items(), SHAPE_COLUMNS),
        "![confusion](gold_confusion.png) ![calibration](gold_calibration.png)\n",
        *conditions,
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    main(GoldEvaluateConfig())
