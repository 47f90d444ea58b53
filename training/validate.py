"""Quick scores on the validation split, at known column centres: for the curve and for the temperature.

The figures that are published come from ``evaluate`` and the test split.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data import Batch, DrawConfig, Store, draw_optics, fixed_dose, make_batch, make_scene
from training.model import DenoiseNet, HeightNet

DOSES_E_PER_A2 = (30.0, 100.0, 300.0, 1000.0, 3000.0)
FRAMES_PER_DOSE = 24
CENTRE = 0.9
"""Pixels whose Gaussian target is above this are a column's centre."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One batch for each dose [e/Å²]; the same particles and optics at every dose."""

    batches: dict[float, Batch]


class Restorable(Protocol):
    """Network input and the frames without noise that belong to it."""

    @property
    def frames(self) -> Tensor:
        """Network input (N, C, H, W)."""
        ...

    @property
    def clean(self) -> Tensor:
        """Frames without noise (N, 1, H, W)."""
        ...


def make_validation(store: Store, config: DrawConfig, seed: int = 7) -> Validation:
    """Form the images once: the same for every run with the same data."""
    rng = np.random.default_rng(seed)
    count = min(FRAMES_PER_DOSE, len(store.waves))
    indices = rng.choice(len(store.waves), count, replace=False)
    scene = make_scene(store, indices, draw_optics(count, config, rng), config.film_share, rng)
    return Validation({dose: make_batch(scene, fixed_dose(config, dose), rng) for dose in DOSES_E_PER_A2})


def centre_logits(network: HeightNet, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return column probability (n,), count logits (n, K) and true class (n,) at all true centres."""
    with torch.no_grad():
        column, count = network(batch.frames)
    at = (batch.column[:, 0, ::2, ::2] > CENTRE) & (batch.count > 0)
    probability = column.float().sigmoid()[:, 0, ::2, ::2][at]
    return probability, count.float().movedim(1, -1)[at], batch.count[at] - 1


def fit_temperature(network: HeightNet, validation: Validation) -> float:
    """Return the temperature fitted at true centres, over all doses."""
    pairs = [centre_logits(network, batch)[1:] for batch in validation.batches.values()]
    return fitted_temperature(torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))


def fitted_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the temperature of the least cross-entropy (Guo et al., ICML 2017)."""
    candidates = np.exp(np.linspace(np.log(0.3), np.log(3.0), 80))
    losses = [F.cross_entropy(logits / t, truth).item() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def validate(
    network: HeightNet | DenoiseNet, validation: Validation, temperature: float = 1.0
) -> dict[str, float]:
    """Return the scores by dose: exact and within-one shares and recall, or the PSNR [dB]."""
    scores: dict[str, float] = {}
    for dose, batch in validation.batches.items():
        if isinstance(network, HeightNet):
            probability, logits, truth = centre_logits(network, batch)
            off = (logits.argmax(1) - truth).abs()
            scores[f"exact_{dose:g}"] = (off == 0).float().mean().item()
            scores[f"within1_{dose:g}"] = (off <= 1).float().mean().item()
            scores[f"seen_{dose:g}"] = (probability > 0.5).float().mean().item()
            scores[f"nll_{dose:g}"] = F.cross_entropy(logits / temperature, truth).item()
        else:
            scores[f"psnr_{dose:g}"] = psnr_dB(network, batch)
    return scores


def psnr_dB(network: DenoiseNet, batch: Restorable) -> float:
    """Return the frames' mean peak signal to noise ratio; the peak is each clean frame's maximum."""
    with torch.no_grad():
        error = network(batch.frames).float() - batch.clean
    peak = batch.clean.amax((1, 2, 3))
    return float((10 * torch.log10(peak**2 / (error**2).mean((1, 2, 3)))).mean())
