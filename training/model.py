"""The networks: a U-Net without normalisation layers, as column-height network and as denoiser.

Both take the output of ``pipeline.preprocess.normalise``, (N, 2, H, W) float32 with H and W multiples of 16.
The frame is first folded to half its size (four pixels become four channels), which costs no information and
makes everything behind it cheaper. There is no normalisation layer: statistics over a batch or a frame would
make a column's count depend on what else is in the picture, while vacuum level and noise are known and given.
Residual branches start small instead. (Branches that start at zero, with a learned factor, were tried: the
network then stays close to linear for a thousand steps.)
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
    """Task ("heights" or "denoise"), channels at 1/2 to 1/16 of the frame's size, and blocks at 1/16.

    Most of the depth is at 1/16, where it is cheap: what a column's brightness means depends on the optics
    and on the particle around it, and it is there that a network sees them.
    """

    task: str = "heights"
    widths: tuple[int, int, int, int] = (32, 48, 72, 96)
    bottom_blocks: int = 6


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), the branch starting at about a third of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = he_convolution(width, gain=1.0)
        self.second = he_convolution(width, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shape unchanged."""
        change: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + change


def he_convolution(width: int, gain: float) -> nn.Conv2d:
    """Return a 3 × 3 convolution that keeps a relu's variance (He et al., ICCV 2015), times a gain."""
    convolution = nn.Conv2d(width, width, 3, padding=1)
    convolution.weight = nn.Parameter(nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu") * gain)
    convolution.bias = nn.Parameter(torch.zeros(width))
    return convolution


class UNet(nn.Module):
    """The trunk: input frames (N, 2, H, W) to features (N, widths[0], H / 2, W / 2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = config.widths
        pairs = list(pairwise(widths))
        self.stem = nn.Conv2d(5, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.bottom = nn.Sequential(*(Residual(widths[-1]) for _ in range(config.bottom_blocks)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.decoders = nn.ModuleList(Residual(width) for width in widths[:-1])

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the features."""
        folded = F.pixel_unshuffle(frames[:, :1], 2)  # (N, 4, H/2, W/2)
        x = self.stem(torch.cat([folded, frames[:, 1:, ::2, ::2]], dim=1))
        skips = []
        for encode, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encode(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, decode, skip in zip(
            reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True
        ):
            x = decode(up(x) + skip)
        return F.relu(x)


class HeightNet(nn.Module):
    """Column-height network.

    Returns the logit of the column probability (N, 1, H, W) and the logits of the counts at half the size,
    (N, 12, H / 2, W / 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.widths[0]
        self.trunk = UNet(config)
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
        self.trunk = UNet(config)
        self.head = nn.Conv2d(config.widths[0], 4, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the frame."""
        return 1.0 + F.pixel_shuffle(self.head(self.trunk(frames)), 2)


def make_model(config: ModelConfig) -> HeightNet | DenoiseNet:
    """Build the network of a configuration."""
    networks: dict[str, type[HeightNet | DenoiseNet]] = {"heights": HeightNet, "denoise": DenoiseNet}
    return networks[config.task](config)
