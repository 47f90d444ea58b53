"""What the gold networks are trained on: batches cut from pools of pictures that are renewed all the time.

The restoration learns from squares of noisy pictures. The shape network learns from what the restoration
makes of whole noisy pictures: patches of 128 × 128 px of 0.8 Å about a particle, as the live program cuts
them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass
from torch import Tensor

from pipeline.backends.quiet_openvino import shared_core
from pipeline.patches import cut_patches
from pipeline.preprocess import normalise
from simulator.gold import SHAPES
from training.data import Scene, detect
from training.drawn_particles import drawn_patch
from training.gold_data import GoldDraw, GoldStore, Picture, make_picture

BINNING = 4
"""A pixel of a patch is the mean of so many squared of the restored picture."""
CENTRE_SIGMA_PX = 8.0
"""How far a found particle's centre is off the true one, along each axis [px of the picture]."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """Input (N, 2, H, W) of the restoration and its target (N, 1, H, W)."""

    frames: Tensor
    clean: Tensor


@dataclass(frozen=True, slots=True)
class Patches:
    """Patches (N, 1, 128, 128), vacuum 1, and their classes (N,)."""

    patches: Tensor
    label: Tensor


class Restorer(Protocol):
    """What turns network input (N, 2, H, W) into restored pictures (N, H, W)."""

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Restore pictures."""
        ...


def exposed(
    intensity: Tensor, draw: GoldDraw, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take noisy frames of pictures (N, h, w); returns network input (N, 2, h, w) and the frames."""
    nothing = torch.zeros(0)
    frames = detect(Scene(intensity, nothing, nothing), draw.lens, rng)[0].numpy()
    return normalise(frames).frames, frames


class RestorePool:
    """Noise-free pictures with their targets, in half precision; the oldest are replaced."""

    def __init__(self, store: GoldStore, size: int, draw: GoldDraw, rng: np.random.Generator) -> None:
        self.store, self.draw, self.rng, self.oldest = store, draw, rng, 0
        side = store.waves.shape[1]
        self.pictures = torch.empty((size, 2, side, side), dtype=torch.float16)
        self.renew(size)

    def renew(self, n: int) -> None:
        """Replace the n oldest pictures."""
        for _ in range(n):
            row = int(self.rng.integers(len(self.store.waves)))
            picture = make_picture(self.store, row, self.draw, self.rng)
            self.pictures[self.oldest] = torch.stack([picture.intensity, picture.target])
            self.oldest = (self.oldest + 1) % len(self.pictures)

    def batch(self, n: int, size: int) -> Restoration:
        """Cut n squares of a size out of random pictures, anywhere, and add dose and noise."""
        parts = torch.stack([self.square(size) for _ in range(n)]).float()  # (n, 2, size, size)
        frames, _ = exposed(parts[:, 0], self.draw, self.rng)
        return Restoration(torch.from_numpy(frames), parts[:, 1:])

    def square(self, size: int) -> Tensor:
        """Cut one square (2, size, size), mirrored or not."""
        row = int(self.rng.integers(len(self.pictures)))
        top, left = (int(c) for c in self.rng.integers(0, self.pictures.shape[-1] - size + 1, 2))
        part = self.pictures[row, :, top : top + size, left : left + size]
        return part.flip(-1) if self.rng.integers(2) else part


class PatchPool:
    """Patches about particles that grow in number up to a size, then the oldest are replaced.

    A share of them is drawn (``training/drawn_particles.py``), the rest restored from pictures.
    """

    def __init__(
        self,
        store: GoldStore,
        restore: Restorer,
        size: int,
        start: int,
        draw: GoldDraw,
        rng: np.random.Generator,
        drawn_share: float = 0.0,
    ) -> None:
        self.store, self.restore, self.size, self.draw, self.rng = store, restore, size, draw, rng
        self.drawn_share = drawn_share
        self.patches: list[Tensor] = []
        self.labels: list[int] = []
        self.made = self.restored = 0
        self.renew(start)

    def renew(self, n: int) -> None:
        """Make n new patches."""
        for _ in range(n):
            patch, label = self.drawn() if self.rng.random() < self.drawn_share else self.seen()
            if len(self.patches) < self.size:
                self.patches.append(patch.half())
                self.labels.append(label)
            else:
                place = self.made % self.size
                self.patches[place], self.labels[place] = patch.half(), label
            self.made += 1

    def drawn(self) -> tuple[Tensor, int]:
        """Draw a patch of a particle that never was, and return it with its class."""
        label = int(self.rng.integers(len(SHAPES)))
        return torch.from_numpy(drawn_patch(label, self.rng)), label

    def seen(self) -> tuple[Tensor, int]:
        """Restore a picture of the next particle: all in turn, so that the classes stay even."""
        row, self.restored = self.restored % len(self.store.waves), self.restored + 1
        picture = make_picture(self.store, row, self.draw, self.rng)
        return shape_patch(picture, self.restore, self.draw, self.rng)[0], picture.label

    def batch(self, n: int, size: int) -> Patches:
        """Choose n patches, each turned and mirrored in one of eight ways and moved by up to two pixels."""
        rows = self.rng.integers(0, len(self.patches), n)
        chosen = torch.stack([self.varied(self.patches[row]) for row in rows]).float()
        return Patches(chosen[:, None], torch.tensor([self.labels[row] for row in rows]))

    def varied(self, patch: Tensor) -> Tensor:
        """Turn, mirror and move one patch."""
        y, x = (int(shift) for shift in self.rng.integers(-2, 3, 2))
        moved = torch.roll(torch.rot90(patch, int(self.rng.integers(4))), (y, x), (0, 1))
        return moved.flip(-1) if self.rng.integers(2) else moved


def shape_patch(
    picture: Picture, restore: Restorer, draw: GoldDraw, rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.float32]]:
    """Expose and restore a picture; returns the patch about its particle and the restored picture."""
    frames, _ = exposed(picture.intensity[None], draw, rng)
    restored = restore(frames)[0]
    return torch.from_numpy(patch_about(restored, centre_of(picture.thickness_A.numpy()), rng)), restored


def centre_of(thickness_A: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centre (y, x) of a particle [px of the picture]."""
    return np.array(center_of_mass(thickness_A))


def patch_about(
    restored: NDArray[np.float32], centre_px: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Cut the patch (128, 128) about a particle, whose centre (y, x) is found as badly as live.

    As the live program cuts it (`pipeline.patches.cut_patches`).
    """
    y, x = (centre_px + rng.normal(0.0, CENTRE_SIGMA_PX, 2))[:, None]
    return np.asarray(cut_patches(restored, y, x, BINNING)[0, 0], dtype=np.float32)


def restorer(path: Path, threads: int) -> Restorer:
    """Return the shipped restoration as a function, run by OpenVINO as in the live program."""
    settings = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY"}
    network: Any = shared_core().compile_model(str(path), "CPU", settings)

    def restore(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network([frames])[0][:, 0])

    return restore
