"""Pictures of the evaluation."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

LABELS = {
    "overfocus_nm": "overfocus [nm]",
    "cs_um": "spherical aberration [µm]",
    "tilt_deg": "tilt [degrees]",
    "diameter_nm": "particle size [nm]",
}
LEAST_SHARE = 0.003
"""Bins of the calibration with fewer of the columns (30 in 10,000) are scatter, and are not drawn."""


def plot_accuracy(by_dose: dict[str, dict[str, float]], path: Path) -> None:
    """Plot the shares and the denoiser's PSNR against the dose."""
    doses = [float(dose) for dose in by_dose]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in ("exact", "within_one", "missed", "false"):
        left.semilogx(
            doses, [100 * row[name] for row in by_dose.values()], "o-", label=name.replace("_", " ")
        )
    left.set(xlabel="dose in a frame [e/Å²]", ylabel="share of columns [%]", ylim=(0, 101))
    left.legend()
    right.semilogx(doses, [row["psnr_dB"] for row in by_dose.values()], "o-")
    right.set(xlabel="dose in a frame [e/Å²]", ylabel="denoised frame, PSNR [dB]")
    save(figure, path)


def plot_calibration(tables: dict[float, NDArray[np.float64]], path: Path) -> None:
    """Plot how often counts are right against the probability that comes with them, where there are many."""
    figure, axes = plt.subplots(figsize=(5, 4.5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7")
    for dose, table in tables.items():
        frequent = table[table[:, 2] >= LEAST_SHARE]
        axes.plot(frequent[:, 0], frequent[:, 1], "o-", ms=3, label=f"{dose:g} e/Å²")
    axes.set(xlabel="probability of the count", ylabel="share of counts that are right")
    axes.legend()
    save(figure, path)


def plot_conditions(
    by_condition: dict[str, list[dict[str, float]]], by_count: dict[str, dict[str, float]], path: Path
) -> None:
    """Plot the shares against the conditions of the frames and the true count."""
    figure, axes = plt.subplots(
        1, len(by_condition) + 1, figsize=(17, 3.5), sharey=True, layout="constrained"
    )
    for (name, rows), panel in zip(by_condition.items(), axes, strict=False):
        middle = [(row["low"] + row["high"]) / 2 for row in rows]
        plot_shares(panel, middle, rows, LABELS[name])
    counts = [float(n) for n in by_count]
    plot_shares(axes[-1], counts, list(by_count.values()), "true number of atoms")
    axes[0].set(ylabel="share of columns [%]", ylim=(0, 101))
    axes[0].legend()
    save(figure, path)


def plot_shares(panel: Axes, x: list[float], rows: list[dict[str, float]], label: str) -> None:
    """Plot exact, within-one and missed shares of some rows."""
    for name in ("exact", "within_one", "missed"):
        panel.plot(x, [100 * row[name] for row in rows], "o-", label=name.replace("_", " "))
    panel.set(xlabel=label)


def save(figure: Any, path: Path) -> None:
    """Write a figure and forget it."""
    figure.savefig(path, dpi=100)
    plt.close(figure)
