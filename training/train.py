"""Train one network: ``main(TrainConfig(...))``. The loop is in reading order.

What is learned, from what, and how it is judged is a :class:`Course`: that of columns is here, that of gold's
shapes in ``training/gold_train.py``. A run is described by its configuration and seed. It writes ``last.pt``
(resumable) and ``curve.csv`` into its folder every few minutes. The learning rate rises, stays, and falls
linearly over the last part of the steps; resuming with fewer or more ``steps`` moves that last part.
"""

import csv
import itertools
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from simulator.dataset import content_hash, material_of
from streamer.errors import UsageError
from training.checkpoint import Checkpoint, current_commit, load_checkpoint, save_checkpoint
from training.data import Batch, DrawConfig, Pool, load
from training.initial import begin_with
from training.model import DenoiseNet, HeightNet, ModelConfig, Network, config_for, make_model
from training.place import Place, joined_run, on_device
from training.validate import fit_temperature, make_validation, validate


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that determines a run, but the data file's content (its hash goes into the checkpoint).

    ``shapes`` are (frames, size) of the batches, taken in turn. ``precision`` is that of the convolutions:
    ``bf16``, ``f32``, or ``auto`` for the faster here. ``initial`` is a checkpoint or an ONNX file of such a
    network, whose weights a new run begins with; empty for random ones.
    """

    data: str = "data/ceria.h5"
    out: str = "data/runs/heights"
    model: ModelConfig = field(default_factory=lambda: config_for("heights"))
    draw: DrawConfig = field(default_factory=DrawConfig)
    seed: int = 1
    steps: int = 11000
    shapes: tuple[tuple[int, int], ...] = ((24, 96), (14, 128), (5, 224))
    pool: int = 512
    renewed_per_step: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    decay_fraction: float = 0.65
    average_decay: float = 0.998
    save_seconds: float = 300.0
    threads: int = 2
    precision: str = "auto"
    resume: bool = True
    initial: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the validation says: scores for the curve, and what goes into the checkpoint with the weights."""

    scores: dict[str, float]
    temperature: float = 1.0
    unsure_below: float = 0.0


class BatchSource(Protocol):
    """Where batches come from; used by one thread."""

    def renew(self, n: int) -> None:
        """Replace the n oldest examples."""
        ...

    def batch(self, n: int, size: int) -> Any:
        """Make a batch of n examples of a size, which the course's loss understands."""
        ...


class Course(Protocol):
    """What a network learns, from what, and how it is judged."""

    material: str
    data_sha256: str

    def pool(self, rng: np.random.Generator) -> BatchSource:
        """Return the source of batches from the training split."""
        ...

    def loss(self, network: Network, batch: Any, precision: str) -> Tensor:
        """Run the network on a batch, with convolutions in a precision, and return the loss in float32."""
        ...

    def judge(self, network: Network) -> Verdict:
        """Judge the network on the validation split."""
        ...


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate at a step: linear rise, plateau, linear fall to zero over the last fraction."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    left = (config.steps - step) / max(1.0, config.decay_fraction * config.steps)
    return config.learning_rate * min(rise, left, 1.0)


def heights_loss(column_logit: Tensor, count_logits: Tensor, batch: Batch) -> Tensor:
    """Sum the binary cross-entropy of the column map and the cross-entropy of counts near column centres.

    The first is averaged over pixels, of which few are columns, and weighted by 4 for that.
    """
    columns = F.binary_cross_entropy_with_logits(column_logit, batch.column)
    counts = F.cross_entropy(count_logits, batch.count - 1, ignore_index=-1, reduction="sum")
    return 4.0 * columns + counts / (batch.count > 0).sum().clamp_min(1)


def denoise_loss(denoised: Tensor, frames: Tensor, clean: Tensor) -> Tensor:
    """Return the mean squared error, each frame weighted by 1 / (0.1 + σ), so that no dose rules."""
    sigma = frames[:, 1, 0, 0].exp()
    error = ((denoised - clean) ** 2).mean((1, 2, 3))
    return 10.0 * (error / (0.1 + sigma)).mean()


def outputs_of(network: Network, frames: Tensor, precision: str) -> Any:
    """Run a network on frames (N, C, H, W) with its convolutions in a precision."""
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return network(frames.contiguous(memory_format=torch.channels_last))


def loss_of(network: Network, batch: Batch, precision: str = "f32") -> Tensor:
    """Run a network on a batch in a precision and return its loss, computed in float32."""
    output = outputs_of(network, batch.frames, precision)
    if isinstance(output, tuple):
        return heights_loss(output[0].float(), output[1].float(), batch)
    return denoise_loss(output.float(), batch.frames, batch.clean)


class ColumnCourse:
    """Column heights, or frames without noise, of the material of a data set."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.data = config, Path(config.data)
        self.material = material_of(self.data)
        self.validation = make_validation(load(self.data, "validation"), config.draw)
        self.data_sha256 = content_hash(self.data)

    def pool(self, rng: np.random.Generator) -> Pool:
        """Read the training split."""
        return Pool(load(self.data, "train"), self.config.pool, self.config.draw, rng)

    def loss(self, network: Network, batch: Batch, precision: str) -> Tensor:
        """Return the task's loss."""
        return loss_of(network, batch, precision)

    def judge(self, network: Network) -> Verdict:
        """Fit the temperature of the counts, if there are any, and score."""
        if isinstance(network, HeightNet):
            temperature = fit_temperature(network, self.validation)
            return Verdict(validate(network, self.validation, temperature), temperature)
        if isinstance(network, DenoiseNet):
            return Verdict(validate(network, self.validation))
        raise ValueError("there are no shapes to learn from columns; give --material gold")


def chosen_precision(wanted: str) -> str:
    """Return the precision to train in; ``auto`` measures which is faster.

    Processors with AMX, or AMD's from Zen 4, compute bfloat16 at twice the rate of float32; Intel's with
    AVX-512 alone at half of it, those with AVX2 alone at a tenth. GPUs that have bfloat16 use it.
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "f32"
    seconds = {dtype: convolution_seconds(dtype) for dtype in (torch.bfloat16, torch.float32)}
    return "bf16" if seconds[torch.bfloat16] < seconds[torch.float32] else "f32"


def convolution_seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of a convolution as in the networks."""
    x = torch.randn(8, 64, 32, 32).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3).to(dtype, memory_format=torch.channels_last)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        times.append(time.perf_counter() - started)
    return min(times)


def update_average(average: dict[str, Tensor], network: torch.nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the network's; early on the average is over fewer steps."""
    weight = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    for name, value in network.state_dict().items():
        average[name].lerp_(value, weight)


def prepared_ahead(pool: BatchSource, config: TrainConfig) -> Generator[Any]:
    """Yield batches without end; while one is trained on, a thread makes the next."""
    shapes = itertools.cycle(config.shapes)

    def make() -> Any:
        pool.renew(config.renewed_per_step)
        return pool.batch(*next(shapes))

    with ThreadPoolExecutor(1) as ahead:
        batch = ahead.submit(make)
        while True:
            ready, batch = batch.result(), ahead.submit(make)
            yield ready


def start_or_resume(config: TrainConfig) -> Checkpoint | None:
    """Return the last checkpoint of the run, if there is one and the configuration wants it."""
    path = Path(config.out) / "last.pt"
    return load_checkpoint(path) if config.resume and path.exists() else None


def expect_same(checkpoint: Checkpoint, config: TrainConfig, material: str) -> None:
    """Raise a UsageError where a run would go on with another network or material than it began with.

    Or where it is asked to begin with weights that it did not begin with: it would never look at them.
    """
    if checkpoint.material != material:
        raise UsageError(
            f"the run in {config.out} is of {checkpoint.material}, and {material} is asked for: give another"
            " --out, or remove it"
        )
    if checkpoint.model != config.model:
        raise UsageError(
            f"the run in {config.out} has another network ({checkpoint.model}) than is asked for"
            f" ({config.model}): give another --out, or remove it"
        )
    begun = checkpoint.config.get("initial", "")
    if config.initial not in ("", begun):
        raise UsageError(
            f"the run in {config.out} began with {begun or 'random weights'}, and is to begin with"
            f" {config.initial}: give another --out, or remove it"
        )


def main(config: TrainConfig, course: Course | None = None) -> Path:
    """Train (or go on training) and return the path of the last checkpoint; without a course, of columns."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    Path(config.out).mkdir(parents=True, exist_ok=True)
    with joined_run() as place:
        return train(config, course or ColumnCourse(config), place)


def train(config: TrainConfig, course: Course, place: Place) -> Path:
    """Train in one process of a run."""
    network = make_model(config.model)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stubs
    checkpoint = start_or_resume(config)
    if checkpoint is not None:
        expect_same(checkpoint, config, course.material)
        network.load_state_dict(checkpoint.weights)
    elif config.initial:
        begin_with(network, Path(config.initial), config.model.frames)
    network.to(place.device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    average, first_step = {name: value.clone() for name, value in network.state_dict().items()}, 0
    if checkpoint is not None:
        optimiser.load_state_dict(checkpoint.optimiser)
        average, first_step = moved(checkpoint.average, place.device), checkpoint.step

    shared = place.shared(network)
    pool = course.pool(np.random.default_rng(place.seeds(config.seed, first_step)))
    precision = chosen_precision(config.precision)
    commit, saved, path = current_commit(), time.monotonic(), Path(config.out) / "last.pt"
    losses: list[float] = []

    batches = prepared_ahead(pool, config)
    hidden = None if place.is_first else True
    steps = tqdm(range(first_step, config.steps), initial=first_step, total=config.steps, disable=hidden)
    for step in steps:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        loss = course.loss(shared, on_device(next(batches), place.device), precision)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        update_average(average, network, step, config.average_decay)
        losses.append(loss.item())

        last = step + 1 == config.steps
        if place.is_first and (last or time.monotonic() - saved > config.save_seconds):
            verdict = report(config, average, course, step + 1, losses)
            state = (network.state_dict(), average, optimiser.state_dict(), commit, course.data_sha256)
            known = (verdict.temperature, course.material, verdict.unsure_below)
            save_checkpoint(path, Checkpoint(config.model, asdict(config), step + 1, *state, *known))
            losses, saved = [], time.monotonic()
    batches.close()
    return path


def moved(weights: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return weights on a device."""
    return {name: value.to(device) for name, value in weights.items()}


def report(
    config: TrainConfig, average: dict[str, Tensor], course: Course, step: int, losses: list[float]
) -> Verdict:
    """Judge the averaged weights, add a line to the curve, and return the verdict.

    What the run draws afterwards, its dropout, does not depend on when it was judged.
    """
    with torch.random.fork_rng(devices=[]):
        network = make_model(config.model)
    network.load_state_dict(average)
    verdict = course.judge(network.eval())
    row = {
        "step": step,
        "loss": float(np.mean(losses)),
        "temperature": verdict.temperature,
        **verdict.scores,
    }
    path = Path(config.out) / "curve.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.5g}" for key, value in row.items()})
    return verdict
