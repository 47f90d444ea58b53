"""The denoiser of five frames: what it learns, and how it is judged while it does.

``python -m training.movie_train`` trains it from the denoiser of one frame.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simulator.dataset import content_hash, material_of
from training.data import DrawConfig, Pool, fixed_dose, load
from training.model import DenoiseNet, ModelConfig, Network
from training.movie_data import FRAMES, MovieBatch, MovieDraw, MoviePool
from training.train import TrainConfig, Verdict, denoise_loss, main, outputs_of
from training.validate import psnr_dB

DOSES_E_PER_A2 = (10.0, 30.0, 100.0, 300.0, 1000.0)
MOVIES_PER_DOSE = 24


@dataclass(frozen=True, slots=True)
class MovieTrainConfig(TrainConfig):
    """A run that begins with the denoiser of one frame, and sees five times as much in a batch."""

    out: str = "data/runs/denoise5"
    model: ModelConfig = field(default_factory=lambda: ModelConfig("denoise", (32, 64, 96), FRAMES))
    movies: MovieDraw = field(default_factory=MovieDraw)
    shapes: tuple[tuple[int, int], ...] = ((14, 96), (8, 128), (3, 224))
    steps: int = 2600
    pool: int = 256
    renewed_per_step: int = 1
    learning_rate: float = 1e-3
    decay_fraction: float = 0.8
    initial: str = "pipeline/models/ceria_denoise.onnx"


class MovieCourse:
    """The newest of five frames of the material of a data set, without noise."""

    def __init__(self, config: MovieTrainConfig) -> None:
        self.config, self.data = config, Path(config.data)
        self.material = material_of(self.data)
        self.validation = validation_of(config)
        self.data_sha256 = content_hash(self.data)

    def pool(self, rng: np.random.Generator) -> MoviePool:
        """Read the training split."""
        images = Pool(load(self.data, "train"), self.config.pool, self.config.movies.lens, rng)
        return MoviePool(images, self.config.movies)

    def loss(self, network: Network, batch: MovieBatch, precision: str) -> Tensor:
        """Return the squared error, as of one frame."""
        return denoise_loss(outputs_of(network, batch.frames, precision).float(), batch.frames, batch.clean)

    def judge(self, network: Network) -> Verdict:
        """Score by dose [dB]."""
        if not isinstance(network, DenoiseNet):
            raise ValueError("five frames are only denoised; the model's task must be denoise")
        return Verdict({f"psnr_{dose:g}": psnr_dB(network, batch) for dose, batch in self.validation.items()})


def validation_of(config: MovieTrainConfig) -> dict[float, MovieBatch]:
    """Form the movies once: the same for every run with the same data."""
    rng, batches = np.random.default_rng(7), {}
    images = Pool(load(Path(config.data), "validation"), 2 * MOVIES_PER_DOSE, DrawConfig(), rng)
    for dose in DOSES_E_PER_A2:
        lens = fixed_dose(config.movies.lens, dose)
        pool = MoviePool(images, MovieDraw(lens=lens))
        with torch.no_grad():
            batches[dose] = pool.batch(MOVIES_PER_DOSE, 128)
    return batches


def command(arguments: Sequence[str] | None = None) -> Path:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=MovieTrainConfig().data)
    parser.add_argument("--out", default=MovieTrainConfig().out)
    parser.add_argument("--steps", type=int, default=MovieTrainConfig().steps)
    parser.add_argument("--initial", default=MovieTrainConfig().initial, help="the denoiser it begins as")
    parser.add_argument("--threads", type=int, default=MovieTrainConfig().threads)
    args = parser.parse_args(arguments)
    config = MovieTrainConfig(**vars(args))
    return main(config, MovieCourse(config))


if __name__ == "__main__":
    command()
