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

from pipeline.particle_networks import PATCH_PX
from pipeline.particles import EDGE_A
from pipeline.preprocess import CONTRAST_UNIT, NOISE_FLOOR

MATERIAL = "tiny"
MAX_COUNT = 9
SIGMA_PX = 4.0
PIXEL_SIZE_A = 0.2
VACUUM_COUNTS = 2000.0
PARTICLES = "tinygold"
SHAPES = ("small", "large")
SHAPE_PIXEL_A = 0.8
SHAPE_LIMIT_NM = 4.5
UNSURE_BELOW = 0.8
PEDESTAL_PER_A = 0.01

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


def write_denoiser(folder: Path, frames: int, gives: str = "newest") -> Path:
    """Write a denoiser that gives the mean of so many frames into `folder`, and return it."""
    weights = np.full((1, frames + 1, 1, 1), _UNSCALE / frames)
    weights[:, 1] = 0.0  # the noise level
    nodes = [helper.make_node("Conv", ["frames", "unscale", "vacuum"], ["denoised"])]
    model = _model(nodes, {"unscale": weights, "vacuum": np.ones(1)}, {"denoised": 1}, frames + 1)
    properties = {"task": "denoise", "material": MATERIAL, "pixel_size_A": str(PIXEL_SIZE_A)}
    helper.set_model_props(model, {**properties, "gives": gives})
    onnx.save(model, folder / f"{MATERIAL}_denoise{frames}.onnx")
    return folder


def write_particle_networks(folder: Path, patch_of: str = "restored", **of_shapes: str) -> Path:
    """Write networks that restore a particle and tell small ones from large ones; return `folder`.

    The shape network measures the area in which its patch differs from 1 (of a restored picture) or 0 (of a
    frame) by a tenth or more; a diameter of 4.5 nm is as good as the one or the other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    level = {"restored": 1.0, "frame": 0.0}[patch_of]
    shapes = {"classes": '["small", "large"]', "unsure_below": str(UNSURE_BELOW), "input": patch_of}
    shapes |= {"task": "shapes", "pixel_size_A": str(SHAPE_PIXEL_A), "orientations": "8", **of_shapes}
    restore = {"task": "denoise", "pedestal_per_A": str(PEDESTAL_PER_A)}
    for name, model, more in (("restore", _denoise(False), restore), ("shapes", _shapes(level), shapes)):
        onnx.checker.check_model(model)
        helper.set_model_props(model, {"material": PARTICLES, "pixel_size_A": str(PIXEL_SIZE_A), **more})
        onnx.save(model, folder / f"{PARTICLES}_{name}.onnx")
    return folder


def frame_with_discs(
    shape: tuple[int, int],
    discs: list[tuple[float, float, float]],
    contrast: float = 2 * EDGE_A * PEDESTAL_PER_A,
    pixel_size_A: float = PIXEL_SIZE_A,
) -> NDArray[np.uint16]:
    """Draw flat particles (y, x [px], diameter [nm]) on vacuum; half of the rows must stay untouched.

    With the usual contrast, a smoothed edge has the thickness that counts as one where it was before.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for cy, cx, diameter in discs:
        inside |= np.hypot(y - cy, x - cx) * pixel_size_A < 5 * diameter
    return np.rint(VACUUM_COUNTS * (1 + contrast * inside)).astype(np.uint16)


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


def _shapes(level: float) -> onnx.ModelProto:
    """Logits of ±40 (share of the patch - that of a disc of 4.5 nm)."""
    side_nm = PATCH_PX * SHAPE_PIXEL_A / 10
    limit = np.pi / 4 * (SHAPE_LIMIT_NM / side_nm) ** 2
    nodes = [
        helper.make_node("Conv", ["patch", "tenfold", "level"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("Clip", ["square", "low", "high"], ["inside"]),
        helper.make_node("ReduceMean", ["inside", "axes"], ["share"], keepdims=0),
        helper.make_node("Mul", ["share", "slopes"], ["steep"]),
        helper.make_node("Add", ["steep", "offsets"], ["logits"]),
    ]
    slopes = np.array([-40.0, 40.0])
    weights = {
        "tenfold": np.full((1, 1, 1, 1), 10.0), "level": np.array([-10 * level]),
        "low": np.array(0.0), "high": np.array(1.0), "slopes": slopes, "offsets": -slopes * limit,
    }  # fmt: skip
    initialisers = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    initialisers.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    patch = helper.make_tensor_value_info("patch", TensorProto.FLOAT, ["N", 1, PATCH_PX, PATCH_PX])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(SHAPES)])
    graph = helper.make_graph(nodes, "tiny shapes", [patch], [logits], initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _weights(of_contrast: list[float]) -> NDArray[np.float64]:
    """Weights of a 1 x 1 convolution that ignores the noise channel, shape (outputs, 2, 1, 1)."""
    return np.array([[w, 0.0] for w in of_contrast])[:, :, None, None]


def _model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.float64]],
    outputs: dict[str, int],
    channels: int = 2,
) -> onnx.ModelProto:
    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["N", channels, f"H_{name}", f"W_{name}"]
        )

    initialisers = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(
        nodes, "tiny", [value("frames", channels)], [value(*o) for o in outputs.items()], initialisers
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
