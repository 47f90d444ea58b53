"""The weights that a new run begins with: a checkpoint's averaged ones, or those of an exported network."""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from training.checkpoint import load_checkpoint

__all__ = ["initial_weights"]

_EXPORTED = "network."  # what the exported module calls the network in it


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
