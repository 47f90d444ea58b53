"""The networks: a U-Net with group normalisation, as column-height network and as denoiser.

Both take the output of ``pipeline.preprocess.normalise``, (N, 2, H, W) float32 with H and W multiples of 16.
The frame is first folded to half its size (four pixels become four channels), which costs no information and
makes everything behind it cheaper.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 12
"""Classes of the column-height network: class k stands for k + 1 atoms."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Task ("heights" or "denoise") and the channels at 1/2, 1/4, 1/8 and 1/16 of the frame's size."""

    task: str = "heights"
    widths: tuple[int, int, int, int] = (32, 64, 96, 128)


class Block(nn.Module):
    """Two convolutions, each with group normalisation (Wu & He, ECCV 2018; 8 groups) and a relu."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(8, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(8, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; the size stays."""
        x = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(x)))


class UNet(nn.Module):
    """The trunk: input frames (N, 2, H, W) to features (N, widths[0], H / 2, W / 2)."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.encoders = nn.ModuleList(Block(a, b) for a, b in pairwise((5, *widths)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.decoders = nn.ModuleList(Block(2 * width, width) for width in widths[:-1])

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the features."""
        folded = F.pixel_unshuffle(frames[:, :1], 2)  # (N, 4, H/2, W/2)
        x: Tensor = self.encoders[0](torch.cat([folded, frames[:, 1:, ::2, ::2]], dim=1))
        skips = []
        for encode in self.encoders[1:]:
            skips.append(x)
            x = encode(F.max_pool2d(x, 2))
        for up, decode, skip in zip(
            reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True
        ):
            x = decode(torch.cat([up(x), skip], dim=1))
        return x


class HeightNet(nn.Module):
    """Column-height network.

    Returns the logit of the column probability (N, 1, H, W) and the logits of the counts at half the size,
    (N, 12, H / 2, W / 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.widths[0]
        self.trunk = UNet(config.widths)
        self.column = nn.Conv2d(width, 4, 3, padding=1)
        self.column.bias = nn.Parameter(torch.full((4,), -2.0))  # few pixels are columns
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.count = nn.Conv2d(width, CLASSES, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both maps."""
        features = self.trunk(frames)
        return F.pixel_shuffle(self.column(features), 2), self.count(F.relu(self.hidden(features)))


class DenoiseNet(nn.Module):
    """Denoiser: returns the noise-free frame (N, 1, H, W) in units of the vacuum level."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = UNet(config.widths)
        self.head = nn.Conv2d(config.widths[0], 4, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the frame."""
        return 1.0 + F.pixel_shuffle(self.head(self.trunk(frames)), 2)


def make_model(config: ModelConfig) -> HeightNet | DenoiseNet:
    """Build the network of a configuration."""
    networks: dict[str, type[HeightNet | DenoiseNet]] = {"heights": HeightNet, "denoise": DenoiseNet}
    return networks[config.task](config)
