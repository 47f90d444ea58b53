"""Networks small enough to know the answer, and frames made for them.

A column of k atoms is a Gaussian of contrast 1 + k / 10 above the vacuum level. The networks undo the
preprocessing's scaling (which is constant for a frame without noise) and read k off the contrast: what goes
in comes back, through the real engine.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.preprocess import CONTRAST_UNIT, NOISE_FLOOR

MATERIAL = "tiny"
MAX_COUNT = 9
SIGMA_PX = 4.0
PIXEL_SIZE_A = 0.2
VACUUM_COUNTS = 2000.0

_UNSCALE = float(np.hypot(NOISE_FLOOR, CONTRAST_UNIT))


def write_networks(folder: Path, coarse_logits: bool = False, fragile: bool = False, **metadata: str) -> Path:
    """Write both networks into `folder` and return it.

    `coarse_logits` gives the counts at half the frame's size; a `fragile` denoiser answers with NaN where a
    pixel has less than half the vacuum level.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for task, model in (("denoise", _denoise(fragile)), ("heights", _heights(coarse_logits))):
        onnx.checker.check_model(model)
        properties = {"task": task, "material": MATERIAL, "pixel_size_A": str(PIXEL_SIZE_A), **metadata}
        helper.set_model_props(model, properties)
        onnx.save(model, folder / f"{MATERIAL}_{task}.onnx")
    return folder


def frame_with_columns(
    shape: tuple[int, int], columns: list[tuple[float, float, int]], sigma_px: float = SIGMA_PX
) -> NDArray[np.uint16]:
    """Draw columns (y, x, count) on vacuum; they must leave more than half of the rows untouched."""
    contrast = np.zeros(shape)
    for y, x, count in columns:
        rows = np.exp(-((np.arange(shape[0]) - y) ** 2) / (2 * sigma_px**2))
        places = np.exp(-((np.arange(shape[1]) - x) ** 2) / (2 * sigma_px**2))
        contrast += (1 + count / 10) * np.outer(rows, places)
    return np.rint(VACUUM_COUNTS * (1 + contrast)).astype(np.uint16)


def network_input(counts: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Prepare a frame (H, W) of known vacuum level as `normalise` would, shape (1, 2, H, W)."""
    contrast = counts / np.float32(VACUUM_COUNTS) - 1
    noise = np.full_like(contrast, np.log(NOISE_FLOOR))
    return np.stack([contrast / _UNSCALE, noise])[np.newaxis].astype(np.float32)


def _denoise(fragile: bool) -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["frames", "unscale", "vacuum"], ["denoised"])]
    weights = {"unscale": _weights([_UNSCALE]), "vacuum": np.ones(1)}
    if fragile:
        nodes = [
            helper.make_node("Conv", ["frames", "unscale", "half"], ["positive"]),
            helper.make_node("Sqrt", ["positive"], ["denoised"]),
        ]
        weights = {"unscale": _weights([_UNSCALE]), "half": np.array([0.5])}
    return _model(nodes, weights, {"denoised": 1})


def _heights(coarse_logits: bool) -> onnx.ModelProto:
    classes = np.arange(1, MAX_COUNT + 1)
    stride = [2, 2] if coarse_logits else [1, 1]
    nodes = [
        helper.make_node("Conv", ["frames", "half", "nothing"], ["raw"]),
        helper.make_node("Clip", ["raw", "low", "high"], ["column_probability"]),
        helper.make_node("Conv", ["frames", "tenths", "offsets"], ["distance"], strides=stride),
        helper.make_node("Mul", ["distance", "distance"], ["square"]),
        helper.make_node("Mul", ["square", "minus"], ["count_logits"]),
    ]
    weights = {
        "half": _weights([_UNSCALE / 2]),
        "nothing": np.zeros(1),
        "low": np.array(0.0),
        "high": np.array(1.0),
        "tenths": _weights([10 * _UNSCALE] * MAX_COUNT),
        "offsets": -10.0 - classes,
        "minus": np.array(-2.0),
    }
    return _model(nodes, weights, {"column_probability": 1, "count_logits": MAX_COUNT})


def _weights(of_contrast: list[float]) -> NDArray[np.float64]:
    """Weights of a 1 x 1 convolution that ignores the noise channel, shape (outputs, 2, 1, 1)."""
    return np.array([[w, 0.0] for w in of_contrast])[:, :, None, None]


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, NDArray[np.float64]], outputs: dict[str, int]
) -> onnx.ModelProto:
    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["N", channels, f"H_{name}", f"W_{name}"]
        )

    initialisers = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(
        nodes, "tiny", [value("frames", 2)], [value(*o) for o in outputs.items()], initialisers
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
