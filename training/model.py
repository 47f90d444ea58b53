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
CELL_PX = 4
"""The counts are computed once in a square of this side [px]."""
CELLS = 11
"""Squares along a side of the neighbourhood that a count is computed from."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Task ("heights" or "denoise"), the U-Net's channels at 1/2 to 1/16 of the size and blocks at 1/16.

    ``counter_width`` is the width of the layers that count.
    """

    task: str = "heights"
    widths: tuple[int, int, int, int] = (32, 48, 72, 96)
    bottom_blocks: int = 2
    counter_width: int = 384


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


class Counter(nn.Module):
    """Counts atoms from the 8.8 Å around a place: the same three layers at every fourth pixel.

    What tells eight atoms from nine is the fine shape of a column and its neighbours, not only its
    brightness, which falls again beyond five atoms. One wide layer over the whole neighbourhood sees that
    shape at once, and while it learns it need only be computed at columns, so that a batch can come from
    many different particles. (Batches of twelve large crops left it at 43 % of counts right where 64 small ones
    reached 54 % in fewer steps, at 1000 e/Å².)
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(CELL_PX**2, width, CELLS, padding=CELLS // 2)
        self.noise = nn.Conv2d(1, width, 1)
        self.think = nn.Conv2d(width, width, 1)
        self.count = nn.Conv2d(width, CLASSES, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the logits (N, 12, H / 4, W / 4) everywhere."""
        seen = self.look(F.pixel_unshuffle(frames[:, :1], CELL_PX))
        return self.conclude(seen + self.noise(frames[:, 1:, ::CELL_PX, ::CELL_PX]))

    def at(self, frames: Tensor, cells: Tensor) -> Tensor:
        """Compute the logits (n, 12) at the marked cells (N, H / 4, W / 4) alone, in their order."""
        folded = F.pad(F.pixel_unshuffle(frames[:, :1], CELL_PX), (CELLS // 2,) * 4)
        windows = folded.unfold(2, CELLS, 1).unfold(3, CELLS, 1).movedim(1, 3)  # (N, h, w, 16, 11, 11)
        seen = F.conv2d(windows[cells], self.look.weight, self.look.bias)  # (n, width, 1, 1)
        noise = frames[:, 1, ::CELL_PX, ::CELL_PX][cells][:, None, None, None]
        return self.conclude(seen + self.noise(noise))[:, :, 0, 0]

    def conclude(self, x: Tensor) -> Tensor:
        """Go from what is seen to the logits."""
        logits: Tensor = self.count(F.gelu(self.think(F.gelu(x))))
        return logits


class HeightNet(nn.Module):
    """Column-height network: a U-Net that finds columns, and beside it what counts their atoms.

    Returns the logit of the column probability (N, 1, H, W) and the logits of the counts at a quarter of the
    size, (N, 12, H / 4, W / 4).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = UNet(config)
        self.column = nn.Conv2d(config.widths[0], 4, 3, padding=1)
        self.column.bias = nn.Parameter(torch.full((4,), -2.0))  # few pixels are columns
        self.counter = Counter(config.counter_width)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both maps."""
        return self.columns(frames), self.counter(frames)

    def columns(self, frames: Tensor) -> Tensor:
        """Compute the column probability's logit alone."""
        return F.pixel_shuffle(self.column(self.trunk(frames)), 2)


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
