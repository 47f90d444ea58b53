"""What is fitted after the training and goes into the file: how sure the counts are, and what is a column.

``python -m training.calibrate CHECKPOINT`` fits both and writes them into the checkpoint, for ``export``.

- **Counts**: their logits are divided by a temperature (Guo et al., ICML 2017) that follows the noise level
  σ, ln T = ln T(1) + slope · ln σ; with one for all doses the counts of the noisiest frames were too sure.
- **Columns**: noise alone looks like a column now and then, the more often the noisier the frame. The logit
  of a column is lowered by a + b · ln σ where that is above 0, such that of frames of pure vacuum, with all
  detectors and doses of the training, one in two hundred shows a column.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from pipeline.preprocess import normalise
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.data import (
    DrawConfig,
    Store,
    draw_detectors,
    draw_optics,
    exposed,
    fixed_dose,
    load,
    make_batch,
    make_scene,
)
from training.model import HeightNet, make_model

DOSES_E_PER_A2 = (30.0, 55.0, 100.0, 170.0, 300.0, 550.0, 1000.0, 1700.0, 3000.0)
CENTRE = 0.9
"""Pixels whose Gaussian target is above this are a column's centre."""
CHUNK = 12
VACUUM_FRAMES, VACUUM_PX, VACUUM_SHARE = 400, 256, 0.995


def fitted_temperature(logits: Tensor, truth: Tensor, log_noise: Tensor) -> tuple[float, float]:
    """Return T(1) and the slope of least cross-entropy, from logits (n, K), classes (n,) and ln σ (n,)."""
    law = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.LBFGS([law], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        divided = logits / torch.exp(law[0] + law[1] * log_noise)[:, None]
        value = F.cross_entropy(divided, truth)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    at_one, slope = law.detach().exp()[0].item(), law.detach()[1].item()
    return at_one, slope


def fitted_shift(
    log_noise: NDArray[np.floating], logits: NDArray[np.floating], share: float = VACUUM_SHARE
) -> tuple[float, float]:
    """Return a and b ≥ 0 of the line a + b ln σ that lies above a share of the frames' highest logits.

    Quantile regression as a linear programme (Koenker & Bassett, Econometrica 46 (1978) 33).
    """
    n = len(logits)
    cost = np.concatenate([[0.0, 0.0], np.full(n, share), np.full(n, 1.0 - share)])
    equal = np.hstack([np.ones((n, 1)), log_noise[:, None], np.eye(n), -np.eye(n)])
    bounds = [(None, None), (0.0, None), *[(0.0, None)] * (2 * n)]
    found = linprog(cost, A_eq=equal, b_eq=logits, bounds=bounds)
    if found.x is None:
        raise ValueError(f"no line fits the columns' logits in vacuum: {found.message}")
    return float(found.x[0]), float(found.x[1])


def centre_logits(network: HeightNet, frames: Tensor, column: Tensor, count: Tensor) -> tuple[Tensor, ...]:
    """Return the column's logit (n,), count logits (n, K), true class (n,) and ln σ (n,) at true centres."""
    with torch.no_grad():
        found, counts = network(frames)
    at = (column[:, 0, ::2, ::2] > CENTRE) & (count > 0)
    noise = frames[:, -1, ::2, ::2][at]
    return found.float()[:, 0, ::2, ::2][at], counts.float().movedim(1, -1)[at], count[at] - 1, noise


def temperature_law(network: HeightNet, store: Store, draw: DrawConfig, seed: int = 7) -> tuple[float, float]:
    """Fit the temperature on all particles of a split, each at all doses."""
    rng, parts = np.random.default_rng(seed), []
    starts = range(0, len(store.waves), CHUNK)
    for start in tqdm(starts, desc="counts", disable=None):
        indices = np.arange(start, min(start + CHUNK, len(store.waves)))
        scene = make_scene(store, indices, draw_optics(len(indices), draw, rng))
        for dose in DOSES_E_PER_A2:
            batch = make_batch(scene, fixed_dose(draw, dose), rng)
            parts.append(centre_logits(network, batch.frames, batch.column, batch.count)[1:])
    logits, truth, log_noise = (torch.cat(part) for part in zip(*parts, strict=True))
    return fitted_temperature(logits, truth, log_noise)


def vacuum_shift(network: HeightNet, draw: DrawConfig, frames: int = VACUUM_FRAMES) -> tuple[float, float]:
    """Fit the shift of the columns' logits on frames of pure vacuum, all doses and detectors."""
    rng, rows = np.random.default_rng(8), []
    for _ in tqdm(range(frames), desc="vacuum", disable=None):
        frame = exposed(torch.ones(1, VACUUM_PX, VACUUM_PX), draw_detectors(1, draw, rng)).numpy()
        prepared = torch.from_numpy(normalise(frame).frames)
        with torch.no_grad():
            rows.append((prepared[0, 1, 0, 0].item(), network(prepared)[0].max().item()))
    log_noise, highest = np.array(rows).T
    return fitted_shift(log_noise, highest)


def calibrated(checkpoint: Checkpoint, data: Path) -> Checkpoint:
    """Return a checkpoint of column heights with both fitted."""
    network = make_model(checkpoint.model)
    if not isinstance(network, HeightNet):
        raise ValueError(f"a network for {checkpoint.task} has no counts to calibrate")
    network.load_state_dict(checkpoint.average)
    draw = drawn_with(checkpoint)
    at_one, slope = temperature_law(network.eval(), load(data, "validation"), draw)
    shift = vacuum_shift(network, draw)
    return replace(checkpoint, temperature=at_one, temperature_slope=slope, column_shift=shift)


def drawn_with(checkpoint: Checkpoint) -> DrawConfig:
    """Return the ranges that a checkpoint was trained on."""
    values: dict[str, Any] = checkpoint.config["draw"]
    ranges: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return DrawConfig(**ranges)


def main(arguments: Sequence[str] | None = None) -> Path:
    """Calibrate a checkpoint in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/ceria.h5"))
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path: Path = args.checkpoint
    result = calibrated(load_checkpoint(path), args.data)
    save_checkpoint(path, result)
    print(f"T = {result.temperature:.3f} · σ^{result.temperature_slope:.3f}, shift {result.column_shift}")
    return path


if __name__ == "__main__":
    main()
