"""The weights that a new run begins with: a checkpoint's averaged ones, or those of an exported network."""

from pathlib import Path
from pickle import UnpicklingError

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from streamer.errors import UsageError
from training.checkpoint import load_checkpoint
from training.model import FOLD

__all__ = ["begin_with", "initial_weights", "of_several_frames"]

_EXPORTED = "network."  # what the exported module calls the network in it
_STEM = "trunk.stem.weight"


def initial_weights(path: Path) -> dict[str, Tensor]:
    """Return weights by name from a checkpoint (``.pt``), or from an ONNX file made of one.

    An ONNX file holds weights alone: no state of the optimiser, so a run can begin with it but not go on.
    """
    if path.suffix != ".onnx":
        return load_checkpoint(path).average
    initializers = onnx.load(path).graph.initializer
    return {
        each.name.removeprefix(_EXPORTED): torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in initializers
    }


def begin_with(network: nn.Module, path: Path, frames: int = 1) -> None:
    """Give a network the weights of a file.

    Raises
    ------
    UsageError
        If they are those of another network, or none.
    """
    try:
        network.load_state_dict(of_several_frames(initial_weights(path), frames))
    except (RuntimeError, DecodeError, KeyError, UnpicklingError) as error:
        why = str(error).splitlines()[-1].strip()
        raise UsageError(
            f"cannot begin with {path}: it is not of a network of this task and widths ({why})"
        ) from error


def of_several_frames(weights: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    """Return the weights of a U-Net for one frame as those of one for several: it sees their mean.

    Those of a network for several are returned as they are.
    """
    stem = weights.get(_STEM)
    if frames == 1 or stem is None or stem.shape[1] != FOLD**2 + 1:
        return weights
    pixels, noise = stem[:, :-1], stem[:, -1:]
    return {**weights, _STEM: torch.cat([pixels / frames] * frames + [noise], dim=1)}
