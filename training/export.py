"""From a checkpoint to the ONNX file that the program ships.

The exported graph is what the pipeline relies on: one input ``frames`` (N, 2, H, W) float32, the output of
``pipeline.preprocess.normalise``, N, H and W free, H and W multiples of 16. The denoiser gives ``denoised``
(N, 1, H, W) in units of the vacuum level. The height network gives ``column_probability`` (N, 1, H, W) in
0..1 and ``count_logits`` (N, 12, H / 2, W / 2), class k for k + 1 atoms, divided by the calibration's
temperature.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from pipeline.preprocess import PIXEL_SIZE_A
from training.checkpoint import Checkpoint, load_checkpoint
from training.model import CLASSES, DenoiseNet, HeightNet, make_model

OPSET = 18
OUTPUTS = {"heights": ["column_probability", "count_logits"], "denoise": ["denoised"]}


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


def shipped(network: HeightNet | DenoiseNet, temperature: float) -> nn.Module:
    """Return the module whose outputs are those of the file."""
    return ShippedHeights(network, temperature) if isinstance(network, HeightNet) else network


def export(network: HeightNet | DenoiseNet, task: str, metadata: dict[str, str], out: Path) -> None:
    """Write the ONNX file of a network with its metadata, and check it."""
    module = shipped(network, float(metadata.get("temperature", 1.0))).eval()
    names = OUTPUTS[task]
    axes = {name: {0: "N", 2: "H", 3: "W"} for name in ["frames", *names]}
    with warnings.catch_warnings():
        # The newer exporter fixes the folding's sizes; this one, which warns of its age, leaves them free.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (torch.zeros(1, 2, 64, 64),),
            out,
            input_names=["frames"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(out)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, out)


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what the file says about itself."""
    return {
        "task": checkpoint.task,
        "material": "CeO2",
        "zone_axes": "[110],[100]",
        "energy_eV": "300000",
        "pixel_size_A": str(PIXEL_SIZE_A),
        "classes": json.dumps(list(range(1, CLASSES + 1))) if checkpoint.task == "heights" else "[]",
        "dose_e_per_A2": json.dumps(checkpoint.config["draw"]["dose_e_per_A2"]),
        "training_steps": str(checkpoint.step),
        "training_commit": checkpoint.commit,
        "data_sha256": checkpoint.data_sha256,
        "seed": str(checkpoint.config["seed"]),
        "temperature": f"{checkpoint.temperature:.4f}",
    }


def main(config: ExportConfig) -> Path:
    """Export the averaged weights of a checkpoint."""
    checkpoint = load_checkpoint(Path(config.checkpoint))
    network = make_model(checkpoint.model)
    network.load_state_dict(checkpoint.average)
    export(network, checkpoint.task, metadata_of(checkpoint), Path(config.out))
    return Path(config.out)
