"""From a checkpoint to the ONNX file that the program ships.

The exported graph is what the pipeline relies on: one input ``frames`` (N, 2, H, W) float32, the output of
``pipeline.preprocess.normalise``, N, H and W free, H and W multiples of 16. The denoiser gives ``denoised``
(N, 1, H, W) in units of the vacuum level. The height network gives ``column_probability`` (N, 1, H, W) in
0..1 and ``count_logits`` (N, 12, H / 2, W / 2), class k for k + 1 atoms, divided by the calibration's
temperature.

Gold's denoiser is one more of the first kind: it gives the particle without carbon at best focus, on a
pedestal of ``pedestal_per_A`` an ångström of gold. The shape network takes ``patches`` (N, 1, 128, 128) of
restored pictures, binned to its own pixel of 0.8 Å, vacuum 1, and gives ``shape_logits`` (N, 6), divided by
the temperature.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from pipeline.backends.onnx_weights import stored_in_half
from pipeline.particle_networks import PATCH_PX, SHAPE_ORIENTATIONS
from pipeline.preprocess import PIXEL_SIZE_A
from simulator.crystals import crystal_of
from simulator.gold import SHAPES
from training.checkpoint import Checkpoint, load_checkpoint
from training.gold_data import PEDESTAL_PER_A
from training.gold_pools import BINNING
from training.model import CLASSES, HeightNet, Network, ShapeNet, make_model

OPSET = 18
OUTPUTS = {
    "heights": ["column_probability", "count_logits"],
    "denoise": ["denoised"],
    "shapes": ["shape_logits"],
}


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Which checkpoint to export and where to."""

    checkpoint: str = "data/runs/heights/last.pt"
    out: str = "pipeline/models/ceria_heights.onnx"


class ShippedHeights(nn.Module):
    """The height network with the sigmoid and the temperature inside."""

    def __init__(self, network: HeightNet, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute column probability and calibrated logits."""
        column, count = self.network(frames)
        return column.sigmoid(), count / self.temperature


class ShippedShapes(nn.Module):
    """The shape network with the temperature inside."""

    def __init__(self, network: ShapeNet, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, patches: Tensor) -> Tensor:
        """Compute calibrated logits."""
        return self.network(patches) / self.temperature  # type: ignore[no-any-return]


def shipped(network: Network, temperature: float) -> nn.Module:
    """Return the module whose outputs are those of the file."""
    if isinstance(network, HeightNet):
        return ShippedHeights(network, temperature)
    return ShippedShapes(network, temperature) if isinstance(network, ShapeNet) else network


def example_of(task: str, frames: int) -> tuple[str, Tensor, dict[int, str]]:
    """Return the input's name, an example of it, and which of its axes are free."""
    if task == "shapes":
        return "patches", torch.ones(1, 1, PATCH_PX, PATCH_PX), {0: "N"}
    return "frames", torch.zeros(1, frames + 1, 64, 64), {0: "N", 2: "H", 3: "W"}


def export(network: Network, task: str, metadata: dict[str, str], out: Path) -> None:
    """Write the ONNX file of a network with its metadata, weights in half precision, once it is checked."""
    module = shipped(network, float(metadata.get("temperature", 1.0))).eval()
    names = OUTPUTS[task]
    input_name, example, free = example_of(task, int(metadata.get("frames", 1)))
    axes, partial = dict.fromkeys([input_name, *names], free), out.with_suffix(".partial")
    with warnings.catch_warnings():
        # The newer exporter fixes the folding's sizes; this one, which warns of its age, leaves them free.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            partial,
            input_names=[input_name],
            output_names=names,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(partial)
    partial.unlink()
    onnx.helper.set_model_props(model, metadata)
    model = stored_in_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, out)


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what the file says about itself."""
    gold = checkpoint.material == "gold"  # turned at random, seen on carbon
    draw = checkpoint.config["pictures"]["lens"] if gold else lens_of(checkpoint.config)
    return {
        "task": checkpoint.task,
        "material": "Au" if gold else crystal_of(checkpoint.material).formula,
        "zone_axes": "any" if gold else "[110],[100]",
        "energy_eV": "300000",
        "pixel_size_A": str(PIXEL_SIZE_A * BINNING if checkpoint.task == "shapes" else PIXEL_SIZE_A),
        "classes": json.dumps(classes_of(checkpoint.task)),
        "dose_e_per_A2": json.dumps(draw["dose_e_per_A2"]),
        "training_steps": str(checkpoint.step),
        "training_commit": checkpoint.commit,
        "data_sha256": checkpoint.data_sha256,
        "seed": str(checkpoint.config["seed"]),
        "temperature": f"{checkpoint.temperature:.4f}",
        **(
            {"frames": str(checkpoint.model.frames), "gives": "newest"}
            if checkpoint.task == "denoise"
            else {}
        ),
        **(of_gold(checkpoint) if gold else {}),
    }


def lens_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the ranges of the frames that a network of columns was trained on, single ones or movies'."""
    lens: dict[str, Any] = config["movies"]["lens"] if "movies" in config else config["draw"]
    return lens


def classes_of(task: str) -> list[int] | list[str]:
    """Return what the classes of a network's logits stand for."""
    if task == "shapes":
        return list(SHAPES)
    return list(range(1, CLASSES + 1)) if task == "heights" else []


def of_gold(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what only gold's networks say."""
    if checkpoint.task == "shapes":
        said = {"input": "restored", "orientations": str(SHAPE_ORIENTATIONS)}
        return {**said, "unsure_below": f"{checkpoint.unsure_below:.4f}"}
    return {"target": "particle without carbon at best focus", "pedestal_per_A": str(PEDESTAL_PER_A)}


def main(config: ExportConfig) -> Path:
    """Export the averaged weights of a checkpoint."""
    checkpoint = load_checkpoint(Path(config.checkpoint))
    network = make_model(checkpoint.model)
    network.load_state_dict(checkpoint.average)
    export(network, checkpoint.task, metadata_of(checkpoint), Path(config.out))
    return Path(config.out)
