"""The weights that a new run begins with: a checkpoint's averaged ones, or those of an exported network."""

import re
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from pipeline.backends.onnx_weights import in_full
from streamer.errors import UsageError
from training.checkpoint import load_checkpoint
from training.model import FOLD

__all__ = ["begin_with", "deepened", "initial_weights", "of_several_frames"]

_EXPORTED = "network."  # what the exported module calls the network in it
_STEM = "trunk.stem.weight"
_ONE_BLOCK = re.compile(r"(trunk\.(?:en|de)coders\.\d+)\.(norm|first|second)\.")
_FURTHER_BLOCK = re.compile(r"trunk\.(?:bottom|(?:en|de)coders\.\d+)\.[1-9]\d*\.")
_BRANCH_END = ".second."  # what a residual block adds is this convolution's


def initial_weights(path: Path) -> dict[str, Tensor]:
    """Return weights by name from a checkpoint (``.pt``), or from an ONNX file made of one.

    An ONNX file holds weights alone: no state of the optimiser, so a run can begin with it but not go on.
    """
    if path.suffix != ".onnx":
        return load_checkpoint(path).average
    initializers = in_full(onnx.load(path)).graph.initializer
    return {
        each.name.removeprefix(_EXPORTED): torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in initializers
    }


def begin_with(network: nn.Module, path: Path, frames: int = 1) -> None:
    """Give a network the weights of a file, which may be of one with fewer residual blocks.

    Raises
    ------
    UsageError
        If they are those of another network, or none.
    """
    try:
        weights = of_several_frames(initial_weights(path), frames)
        network.load_state_dict(deepened(weights, network))
    except (RuntimeError, DecodeError, KeyError) as error:
        why = str(error).splitlines()[-1].strip()
        raise UsageError(
            f"cannot begin with {path}: it is not of a network of this task and widths ({why})"
        ) from error


def deepened(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights with a network's further residual blocks, which add nothing at first."""
    own = network.state_dict()
    named = {_ONE_BLOCK.sub(r"\1.0.\2.", name): value for name, value in weights.items()}
    further = [name for name in own if name not in named and _FURTHER_BLOCK.match(name)]
    return {**named, **{n: torch.zeros_like(own[n]) if _BRANCH_END in n else own[n] for n in further}}


def of_several_frames(weights: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    """Return the weights of a U-Net for one frame as those of one for several: it sees their mean.

    Those of a network for several are returned as they are.
    """
    stem = weights.get(_STEM)
    if frames == 1 or stem is None or stem.shape[1] != FOLD**2 + 1:
        return weights
    pixels, noise = stem[:, :-1], stem[:, -1:]
    return {**weights, _STEM: torch.cat([pixels / frames] * frames + [noise], dim=1)}
