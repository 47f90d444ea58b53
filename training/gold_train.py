"""What the gold networks learn: to restore the particle's picture, and to name its shape from that.

``main`` of ``training/train.py`` runs them, as ceria's. Both are judged on the validation split, at fixed
doses, on pictures that are the same in every run.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.patches import in_all_orientations, mean_of_orientations
from simulator.gold_dataset import content_hash
from training.gold_data import GoldDraw, GoldStore, fixed_dose, load_gold, make_picture
from training.gold_pools import (
    Patches,
    PatchPool,
    Restoration,
    RestorePool,
    exposed,
    restorer,
    shape_patch,
)
from training.model import DenoiseNet, ModelConfig, Network, ShapeNet
from training.train import TrainConfig, Verdict, denoise_loss, outputs_of
from training.validate import fitted_temperature, psnr_dB

DOSES_E_PER_A2 = (300.0, 1000.0, 3000.0)
PICTURES = 12
"""Pictures a dose on which the restoration is judged."""
PATCHES_A_PARTICLE = 1
RIGHT_WHEN_SURE = 0.95
"""Share of the answers that have to be right among those that are not called unsure."""


@dataclass(frozen=True, slots=True)
class GoldTrainConfig(TrainConfig):
    """As for ceria, with the ranges of the pictures; for the shapes, what they are seen through.

    ``restore`` is the restoration, ``drawn_share`` the share of patches that are drawn without one.
    """

    data: str = "data/gold.h5"
    out: str = "data/runs/gold_restore"
    model: ModelConfig = field(default_factory=lambda: ModelConfig("denoise", (48, 80, 128)))
    pictures: GoldDraw = field(default_factory=GoldDraw)
    restore: str = "pipeline/models/gold_restore.onnx"
    steps: int = 6000
    shapes: tuple[tuple[int, int], ...] = ((16, 128), (6, 224))
    pool: int = 384
    renewed_per_step: int = 1
    threads: int = 1
    drawn_share: float = 0.0


def shape_config(config: GoldTrainConfig) -> GoldTrainConfig:
    """Return a configuration for the shape network."""
    return replace(
        config,
        out="data/runs/gold_shapes",
        model=ModelConfig("shapes", (24, 48, 96)),
        shapes=((32, 128),),
        pool=12000,
        renewed_per_step=2,
        drawn_share=0.5,
        steps=5000,
        learning_rate=1.5e-3,
        warmup_steps=60,
        decay_fraction=0.6,
        average_decay=0.995,
        weight_decay=5e-2,
    )


class RestoreCourse:
    """From a noisy picture on carbon to the particle alone at best focus."""

    material = "gold"

    def __init__(self, config: GoldTrainConfig) -> None:
        self.config, self.data = config, Path(config.data)
        self.data_sha256 = content_hash(self.data)
        self.validation = make_restorations(load_gold(self.data, "validation"), config.pictures)

    def pool(self, rng: np.random.Generator) -> RestorePool:
        """Read the training split and form the first pictures."""
        return RestorePool(load_gold(self.data, "train"), self.config.pool, self.config.pictures, rng)

    def loss(self, network: Network, batch: Restoration, precision: str) -> Tensor:
        """Return the weighted squared error."""
        return denoise_loss(outputs_of(network, batch.frames, precision).float(), batch.frames, batch.clean)

    def judge(self, network: Network) -> Verdict:
        """Return the mean PSNR by dose."""
        if not isinstance(network, DenoiseNet):
            raise TypeError(f"expected a restoring network, got {type(network).__name__}")
        return Verdict({f"psnr_{d:g}": psnr_dB(network, batch) for d, batch in self.validation.items()})


def make_restorations(store: GoldStore, draw: GoldDraw, seed: int = 7) -> dict[float, Restoration]:
    """Form the validation's pictures: the same particles, lenses and membranes at every dose."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(store.waves), min(PICTURES, len(store.waves)), replace=False)
    pictures = [make_picture(store, int(row), fixed_dose(draw, 1.0), rng) for row in rows]
    intensity, target = (
        torch.stack([getattr(p, name) for p in pictures]) for name in ("intensity", "target")
    )

    def at(dose: float) -> Restoration:
        frames, _ = exposed(intensity, fixed_dose(draw, dose), rng)
        return Restoration(torch.from_numpy(frames), target[:, None])

    return {dose: at(dose) for dose in DOSES_E_PER_A2}


class ShapeCourse:
    """From the restored picture of a particle to its shape."""

    material = "gold"

    def __init__(self, config: GoldTrainConfig) -> None:
        self.config, self.data = config, Path(config.data)
        self.data_sha256 = content_hash(self.data)
        self.draw = replace(config.pictures, empty_share=0.0)
        self.restore = restorer(Path(config.restore), config.threads)
        self.validation = self.make_patches(load_gold(self.data, "validation"))

    def make_patches(self, store: GoldStore, seed: int = 7) -> dict[float, Patches]:
        """Form the validation's patches."""
        rng = np.random.default_rng(seed)
        rows = [row for row in range(len(store.waves)) for _ in range(PATCHES_A_PARTICLE)]
        pictures = [make_picture(store, row, self.draw, rng) for row in rows]

        def at(dose: float) -> Patches:
            draw = fixed_dose(self.draw, dose)
            patches = [shape_patch(picture, self.restore, draw, rng)[0] for picture in pictures]
            return Patches(torch.stack(patches)[:, None], torch.tensor([p.label for p in pictures]))

        return {dose: at(dose) for dose in DOSES_E_PER_A2}

    def pool(self, rng: np.random.Generator) -> PatchPool:
        """Read the training split and form the first patches."""
        store = load_gold(self.data, "train")
        return PatchPool(store, self.restore, self.config.pool, 256, self.draw, rng, self.config.drawn_share)

    def loss(self, network: Network, batch: Patches, precision: str) -> Tensor:
        """Return the cross-entropy; a twentieth of each label is spread over all classes."""
        logits = outputs_of(network, batch.patches, precision).float()
        return F.cross_entropy(logits, batch.label, label_smoothing=0.05)

    def judge(self, network: Network) -> Verdict:
        """Return accuracy by dose, and fit temperature and threshold over all doses."""
        if not isinstance(network, ShapeNet):
            raise TypeError(f"expected a shape network, got {type(network).__name__}")
        with torch.no_grad():
            logits = {dose: seen_from_all_sides(network, b.patches) for dose, b in self.validation.items()}
        labels = {dose: batch.label for dose, batch in self.validation.items()}
        scores = {f"right_{d:g}": (logits[d].argmax(1) == labels[d]).float().mean().item() for d in logits}
        every, truth = torch.cat(list(logits.values())), torch.cat(list(labels.values()))
        temperature = fitted_temperature(every, truth)
        scores["nll"] = F.cross_entropy(every / temperature, truth).item()
        best = (every / temperature).softmax(1).max(1)
        right = (best.indices == truth).numpy()
        return Verdict(scores, temperature, unsure_threshold(best.values.numpy(), right))


def seen_from_all_sides(network: ShapeNet, patches: Tensor) -> Tensor:
    """Return the mean logits (N, K) of patches (N, 1, 128, 128) in all orientations, as live."""
    logits = network(torch.from_numpy(in_all_orientations(patches.numpy())))
    return torch.from_numpy(mean_of_orientations(logits.numpy()))


def unsure_threshold(probability: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Return the smallest probability from which on :data:`RIGHT_WHEN_SURE` of the answers are right.

    If there is none, 1: then every answer is unsure.
    """
    order = np.argsort(-probability, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= RIGHT_WHEN_SURE)
    return float(probability[order[good[-1]]]) if len(good) else 1.0


def course_of(config: GoldTrainConfig) -> RestoreCourse | ShapeCourse:
    """Return what a configuration's network learns."""
    return ShapeCourse(config) if config.model.task == "shapes" else RestoreCourse(config)
