"""Pictures of the evaluation of the gold networks."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from simulator.gold import SHAPES
from training.figures import save
from training.gold_data import GoldDraw, GoldStore, fixed_dose, make_picture
from training.gold_pools import Restorer, exposed


def plot_confusion(shares: NDArray[np.float64], names: tuple[str, ...], path: Path) -> None:
    """Plot the shares of found shapes of each true shape."""
    figure, axes = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, x in np.ndindex(shares.shape):
        axes.text(
            x, y, f"{100 * shares[y, x]:.0f}", ha="center", color="white" if shares[y, x] > 0.5 else "0.2"
        )
    axes.set(xticks=range(len(names)), yticks=range(len(names)), xlabel="found [%]", ylabel="true")
    axes.set_xticklabels(names, rotation=35, ha="right")
    axes.set_yticklabels(names)
    save(figure, path)


def plot_conditions(
    by_dose: dict[str, dict[str, float]],
    by_condition: dict[str, list[dict[str, float]]],
    labels: dict[str, str],
    goal: float,
    path: Path,
) -> None:
    """Plot the balanced recall against the dose and against each condition."""
    figure, axes = plt.subplots(
        1, len(by_condition) + 1, figsize=(18, 3.4), sharey=True, layout="constrained"
    )
    doses = [float(dose) for dose in by_dose]
    axes[0].semilogx(doses, [100 * row["balanced_recall"] for row in by_dose.values()], "o-", label="recall")
    axes[0].semilogx(
        doses, [100 * row["right_when_sure"] for row in by_dose.values()], "s--", label="when sure"
    )
    axes[0].set(xlabel="dose [e/Å²]", ylabel="balanced recall [%]", ylim=(50, 101))
    axes[0].minorticks_off()
    axes[0].set_xticks(doses, [f"{dose:g}" for dose in doses])
    for (name, rows), panel in zip(by_condition.items(), axes[1:], strict=True):
        middle = [(row["low"] + row["high"]) / 2 for row in rows]
        panel.plot(middle, [100 * row["balanced_recall"] for row in rows], "o-")
        panel.plot(middle, [100 * row["right_when_sure"] for row in rows], "s--")
        panel.set(xlabel=labels[name])
    for panel in axes:
        panel.axhline(100 * goal, color="0.7", lw=1)
    axes[0].legend()
    save(figure, path)


def plot_reliability(table: NDArray[np.float64], pictures: int, path: Path) -> None:
    """Plot how often shapes are right against the probability that comes with them.

    The bars are the standard deviation of as many answers, were the probability true.
    """
    stated, right, share = table.T
    expected = np.sqrt(stated * (1.0 - stated) / (share * pictures))
    figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7")
    axes.errorbar(stated, right, expected, fmt="o", capsize=3)
    axes.set(
        xlabel="probability of the shape",
        ylabel="share of shapes that are right",
        xlim=(0, 1.03),
        ylim=(0, 1.03),
    )
    save(figure, path)


def plot_examples(store: GoldStore, restore: Restorer, draw: GoldDraw, path: Path) -> None:
    """Show a frame at 1000 e/Å², what is restored of it, and the target, for one particle of each shape."""
    rng = np.random.default_rng(5)
    dosed = fixed_dose(draw, 1000.0)
    figure, axes = plt.subplots(3, len(SHAPES), figsize=(15, 7.6), layout="constrained")
    for label, column in enumerate(axes.T):
        row = int(rng.choice(np.flatnonzero(store.label == label)))
        picture = make_picture(store, row, dosed, rng)
        frames, counts = exposed(picture.intensity[None], dosed, rng)
        noisy = counts[0] / counts[0].mean()
        half = noisy.shape[0] // 2
        binned = noisy.reshape(half, 2, half, 2).mean((1, 3))
        for panel, image, limits in zip(
            column,
            (binned, restore(frames)[0], picture.target.numpy()),
            ((0.3, 1.7), (0.7, 2.2), (0.7, 2.2)),
            strict=True,
        ):
            panel.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1])
            panel.set(xticks=[], yticks=[])
        focus = float(picture.optics.overfocus_A) / 10
        column[0].set_title(
            f"{SHAPES[label]}\ncarbon {picture.carbon_A / 10:.0f} nm, C10 {focus:.0f} nm", fontsize=9
        )
    for panel, name in zip(axes[:, 0], ("frame (binned)", "restored", "target"), strict=True):
        panel.set_ylabel(name)
    save(figure, path)
