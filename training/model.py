"""The networks: a U-Net that finds columns and counts their atoms, one that denoises, a classifier of shapes.

The U-Nets take the output of ``pipeline.preprocess.normalise``, (N, 2, H, W) float32 with H and W multiples
of 16; a denoiser of T frames that of ``with_older``, (N, T + 1, H, W). Frames are first folded to a quarter
of their size (sixteen pixels become sixteen channels), which costs no information and makes everything behind
it cheaper: 0.8 Å is less than the distance of neighbouring columns.

Each residual branch begins with a normalisation of the channels at each pixel by their root mean square
(Zhang & Sennrich, NeurIPS 2019). It learns as fast as group normalisation, but a pixel's answer depends on
its surroundings alone, not on how much vacuum the frame holds: a frame and its tiles give the same.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.preprocess import CONTRAST_UNIT

CLASSES = 12
"""Classes of the column-height network: class k stands for k + 1 atoms."""
FOLD = 4
"""The networks work on squares of this side [px]."""
COUNT_STRIDE = 2
"""The counts are given on squares of this side [px]."""
FEW_BLOCKS = (1, 1, 2, 1, 1)
"""Residual blocks of a U-Net at 1/4, 1/8, 1/16, 1/8 and 1/4 of the frame's size, in the data's order."""
MORE_BLOCKS = (1, 2, 3, 2, 2)
"""Those of the height network. With fewer, particles that it had learned from were counted no better."""
SHAPE_CLASSES = 6
"""Classes of the shape network, in the order of ``simulator.gold.SHAPES``."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Task ("heights", "denoise" or "shapes"), channels at 1/4, 1/8 and 1/16 of the frame's size.

    ``blocks`` are a U-Net's residual blocks, as in `FEW_BLOCKS`; ``frames`` is how many frames of a movie it
    sees at once: the newest and those before it.
    """

    task: str = "heights"
    widths: tuple[int, int, int] = (64, 96, 160)
    frames: int = 1
    blocks: tuple[int, int, int, int, int] = FEW_BLOCKS


def folded(frames: Tensor) -> Tensor:
    """Fold single frames (N, 2, H, W) to (N, 17, H / 4, W / 4); the last channel is the noise level."""
    return torch.cat([F.pixel_unshuffle(frames[:, :1], FOLD), frames[:, 1:, ::FOLD, ::FOLD]], dim=1)


def folded_several(frames: Tensor, n_frames: int) -> Tensor:
    """Fold T frames (N, T + 1, H, W) to (N, 16 T + 1, H / 4, W / 4), in unit and noise level of their mean.

    Their mean then is what ``normalise`` would make of the mean frame.
    """
    noise = frames[:, 1:2, ::FOLD, ::FOLD]
    images = F.pixel_unshuffle(torch.cat([frames[:, :1], frames[:, 2:]], 1), FOLD)
    variance = torch.exp(2.0 * noise)
    unit = torch.sqrt((variance + CONTRAST_UNIT**2) / (variance / n_frames + CONTRAST_UNIT**2))
    return torch.cat([images * unit, noise - 0.5 * math.log(n_frames)], dim=1)


class ChannelNorm(nn.Module):
    """Divide the channels at each pixel by their root mean square, and scale each by a learned factor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the normalisation; shape unchanged."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4) * self.gain


class Residual(nn.Module):
    """x + conv(relu(conv(norm(x)))), the branch starting at about a third of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.first = he_convolution(width, gain=1.0)
        self.second = he_convolution(width, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shape unchanged."""
        change: Tensor = self.second(F.relu(self.first(self.norm(x))))
        return x + change


def residuals(width: int, blocks: int) -> nn.Sequential:
    """Return so many residual blocks, one behind the other."""
    return nn.Sequential(*(Residual(width) for _ in range(blocks)))


def he_convolution(width: int, gain: float) -> nn.Conv2d:
    """Return a 3 × 3 convolution that keeps a relu's variance (He et al., ICCV 2015), times a gain."""
    convolution = nn.Conv2d(width, width, 3, padding=1)
    convolution.weight = nn.Parameter(nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu") * gain)
    convolution.bias = nn.Parameter(torch.zeros(width))
    return convolution


class UNet(nn.Module):
    """Frames (N, T + 1, H, W) to features (N, widths[0], H / 4, W / 4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths, frames = config.widths, config.frames
        pairs = list(pairwise(widths))
        down, bottom, up = config.blocks[:2], config.blocks[2], config.blocks[:2:-1]
        self.frames = frames
        self.stem = nn.Conv2d(frames * FOLD**2 + 1, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(residuals(*each) for each in zip(widths[:-1], down, strict=True))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.bottom = residuals(widths[-1], bottom)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.decoders = nn.ModuleList(residuals(*each) for each in zip(widths[:-1], up, strict=True))
        self.norm = ChannelNorm(widths[0])

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the features."""
        x = self.stem(folded(frames) if self.frames == 1 else folded_several(frames, self.frames))
        skips = []
        for encode, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encode(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, decode, skip in zip(
            reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True
        ):
            x = decode(up(x) + skip)
        return F.relu(self.norm(x))


class HeightNet(nn.Module):
    """Column-height network.

    Returns the logit of the column probability (N, 1, H, W) and the logits of the counts at half the size,
    (N, 12, H / 2, W / 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = config.widths
        self.trunk = UNet(config)
        self.column = nn.Conv2d(widths[0], FOLD**2, 3, padding=1)
        self.column.bias = nn.Parameter(torch.full((FOLD**2,), -2.0))  # few pixels are columns
        self.hidden = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.count = nn.Conv2d(widths[0], CLASSES * (FOLD // COUNT_STRIDE) ** 2, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both maps."""
        features = self.trunk(frames)
        counts = self.count(F.relu(self.hidden(features)))
        return F.pixel_shuffle(self.column(features), FOLD), F.pixel_shuffle(counts, FOLD // COUNT_STRIDE)


class DenoiseNet(nn.Module):
    """Denoiser: the noise-free frame (N, 1, H, W), of several the newest, in units of the vacuum level."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = UNet(config)
        self.head = nn.Conv2d(config.widths[0], FOLD**2, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the frame."""
        return 1.0 + F.pixel_shuffle(self.head(self.trunk(frames)), FOLD)


class ShapeNet(nn.Module):
    """Patches (N, 1, 128, 128) of restored pictures, vacuum 1, to the logits (N, 6) of the shapes.

    Lattice fringes are three pixels wide, so the first convolution sees the full size; features end at an
    eighth of it, and what counts is their mean and their maximum over the patch.
    """

    def __init__(self, widths: tuple[int, int, int], classes: int = SHAPE_CLASSES) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Conv2d(1, widths[0], 5, stride=2, padding=2), Residual(widths[0])]
        for before, width in pairwise(widths):
            stages += [nn.Conv2d(before, width, 2, stride=2), Residual(width), Residual(width)]
        self.features = nn.Sequential(*stages, ChannelNorm(widths[-1]), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(2 * widths[-1], widths[-1]), nn.ReLU(), nn.Dropout(0.2), nn.Linear(widths[-1], classes)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Compute the logits."""
        x = self.features(4.0 * (patches - 1.0))  # (N, widths[2], 16, 16)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))  # type: ignore[no-any-return]


Network: TypeAlias = HeightNet | DenoiseNet | ShapeNet


def make_model(config: ModelConfig) -> Network:
    """Build the network of a configuration."""
    if config.task == "denoise":
        return DenoiseNet(config)
    return HeightNet(config) if config.task == "heights" else ShapeNet(config.widths)


def config_for(task: str) -> ModelConfig:
    """Return the network that is trained for a task, unless another is asked for."""
    return ModelConfig(task, blocks=MORE_BLOCKS if task == "heights" else FEW_BLOCKS)
