"""What a training run leaves behind: weights with everything that says how they came about."""

import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamer.errors import UsageError
from training.model import ModelConfig


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a run.

    ``weights`` are those of the last step, ``average`` their exponential moving average, which is what is
    judged and shipped. ``temperature`` divides the classes' logits; it is fitted on the validation split, and
    so is ``unsure_below``, the probability below which a shape is not to be believed.
    """

    model: ModelConfig
    config: dict[str, Any]
    step: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    commit: str
    data_sha256: str
    temperature: float = 1.0
    material: str = "ceria"
    unsure_below: float = 0.0

    @property
    def task(self) -> str:
        """Task of the network."""
        return self.model.task


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; an interruption leaves the one before."""
    values = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
    values["model"] = asdict(checkpoint.model)
    partial = path.with_suffix(".partial")
    torch.save(values, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint to the host (tensors and plain values only; nothing in it is executed).

    Raises
    ------
    UsageError
        If there is none, or it is none.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        model = values.pop("model")
        model = {name: tuple(value) if isinstance(value, list) else value for name, value in model.items()}
        return Checkpoint(ModelConfig(**model), **values)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # PyTorch's are of many kinds
        raise UsageError(f"{path} is no checkpoint of a training, or is damaged") from error


def current_commit() -> str:
    """Return the repository's commit, or "unknown" outside a clone."""
    command = ["git", "rev-parse", "HEAD"]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
