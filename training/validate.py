"""Quick scores on the validation split, at known column centres: for the curve and for the temperature.

The figures that are published come from ``evaluate`` and the test split.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.calibrate import centre_logits, fitted_temperature
from training.data import Batch, DrawConfig, Store, draw_optics, fixed_dose, make_batch, make_scene
from training.model import DenoiseNet, HeightNet

DOSES_E_PER_A2 = (30.0, 100.0, 300.0, 1000.0, 3000.0)
FRAMES_PER_DOSE = 24


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
    scene = make_scene(store, indices, draw_optics(count, config, rng))
    return Validation({dose: make_batch(scene, fixed_dose(config, dose), rng) for dose in DOSES_E_PER_A2})


def fit_temperature(network: HeightNet, validation: Validation) -> tuple[float, float]:
    """Return the temperature at noise 1 and its slope, fitted at true centres, over all doses."""
    parts = [answers_of(network, batch)[1:] for batch in validation.batches.values()]
    logits, truth, log_noise = (torch.cat(part) for part in zip(*parts, strict=True))
    return fitted_temperature(logits, truth, log_noise)


def answers_of(network: HeightNet, batch: Batch) -> tuple[Tensor, ...]:
    """Return what the network says at the true centres of a batch."""
    return centre_logits(network, batch.frames, batch.column, batch.count)


def validate(
    network: HeightNet | DenoiseNet, validation: Validation, law: tuple[float, float] = (1.0, 0.0)
) -> dict[str, float]:
    """Return the scores by dose: exact and within-one shares and recall, or the PSNR [dB]."""
    scores: dict[str, float] = {}
    for dose, batch in validation.batches.items():
        if isinstance(network, HeightNet):
            column, logits, truth, log_noise = answers_of(network, batch)
            temperature = law[0] * torch.exp(law[1] * log_noise)[:, None]
            off = (logits.argmax(1) - truth).abs()
            scores[f"exact_{dose:g}"] = (off == 0).float().mean().item()
            scores[f"within1_{dose:g}"] = (off <= 1).float().mean().item()
            scores[f"seen_{dose:g}"] = (column > 0.0).float().mean().item()
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
