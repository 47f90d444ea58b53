"""A height network in eight-bit whole numbers, for processors that compute fast in them (``--precision i8``).

``python -m training.quantise`` shows the shipped network frames of the training split, takes down between
which values each convolution's input lies, and writes ``MATERIAL_heights_i8.onnx`` beside it: weights and
inputs of convolutions are rounded to 255 steps, with a scale for each of the weights' output channels.
Nothing is trained. What that costs: ``python -m training.widths_table`` with both files.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipeline.backends.onnx_weights import in_full
from pipeline.networks import INPUT_NAME, find_networks
from pipeline.preprocess import normalise
from streamer.errors import UsageError
from training.data import DrawConfig
from training.score import taken
from training.widths_table import FRAME_PX, held_out

__all__ = ["main", "quantise"]

CONVOLUTIONS = ["Conv", "ConvTranspose"]
SEED = 5


class Frames(CalibrationDataReader):  # type: ignore[misc]
    """Frames, one after the other, as ONNX Runtime asks for them."""

    def __init__(self, frames: Sequence[NDArray[np.float32]]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the network's next input; None when there is none left."""
        frame = next(self._frames, None)
        return None if frame is None else {INPUT_NAME: frame}


def quantise(network: Path, frames: Sequence[NDArray[np.float32]], out: Path) -> None:
    """Write a network whose convolutions are computed in eight bits.

    Parameters
    ----------
    network : pathlib.Path
        An exported ONNX file.
    frames : sequence of arrays of float32, shape (1, C, H, W)
        What `pipeline.preprocess.normalise` made of frames like those it will see.
    out : pathlib.Path
    """
    model = onnx.load(network)
    with tempfile.TemporaryDirectory() as folder:
        full, prepared, rounded = (Path(folder, f"{name}.onnx") for name in ("full", "prepared", "rounded"))
        onnx.save(in_full(model), full)
        quant_pre_process(full, prepared, skip_symbolic_shape=True)  # sides are free
        quantize_static(
            prepared, rounded, Frames(frames), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=CONVOLUTIONS, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
        result = onnx.load(rounded)
    onnx.helper.set_model_props(result, _metadata(model, len(frames)))
    onnx.save(result, out)


def _metadata(model: Any, n_frames: int) -> dict[str, str]:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return {**metadata, "weights": "int8", "calibration_frames": str(n_frames)}


def main(arguments: Sequence[str] | None = None) -> Path:
    """Quantise a folder's height network; returns the new file's path."""
    args = _options(arguments)
    if not args.data.exists():
        raise UsageError(f"there is no {args.data}; make it: atomstream simulate --dataset {args.data}")
    network = find_networks(args.models, args.material).heights.path
    draw = DrawConfig()
    particles = held_out(args.data, "train", args.frames, draw)
    shown = taken(particles, FRAME_PX, draw, np.random.default_rng(SEED))
    out: Path = args.out or network.with_stem(f"{network.stem}_i8")
    quantise(network, [normalise(frame[None]).frames for frame, _, _ in shown], out)
    return out


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="networks (default: the shipped ones)")
    parser.add_argument("--material", default="ceria")
    parser.add_argument("--data", type=Path, default=Path("data/ceria.h5"))
    parser.add_argument("--frames", type=int, default=40, help="of the training split, one a particle")
    parser.add_argument("--out", type=Path, help="default: beside the network")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(main())
