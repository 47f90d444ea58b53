"""Which precision OpenVINO computes convolutions in fastest on this processor: it is measured, not looked up.

A processor that "has" bfloat16 is not always faster with it. With AMX, and on AMD from Zen 4, it is about
twice as fast as float32; on Intel's server processors whose AMX is hidden by a virtual machine it is half as
fast, and neither OpenVINO's list of capabilities nor the instruction set tells them apart reliably.
"""

import time
from functools import cache
from math import inf
from typing import Any

import numpy as np

from pipeline.backends.quiet_openvino import ov, shared_core

__all__ = ["convolution_seconds", "fastest_precision"]

_SHAPE = (1, 64, 48, 48)  # as inside the networks
_RUNS = 16
_WORTH = 0.8  # bf16 costs some accuracy: it must save a fifth of the time


@cache
def fastest_precision() -> str:
    """Return ``bf16`` where that is clearly faster on this processor, else ``f32``; takes some 0.3 s."""
    core = shared_core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32"
    seconds = convolution_seconds(core)
    return "bf16" if seconds["bf16"] < _WORTH * seconds["f32"] else "f32"


def convolution_seconds(core: Any) -> dict[str, float]:
    """Return the shortest run in each precision; they take turns, so that other work disturbs both alike."""
    requests = {precision: _request(core, precision) for precision in ("bf16", "f32")}
    data = np.ones(_SHAPE, np.float32)
    shortest = dict.fromkeys(requests, inf)
    for _ in range(_RUNS):
        for precision, request in requests.items():
            started = time.perf_counter()
            request.infer([data])
            shortest[precision] = min(shortest[precision], time.perf_counter() - started)
    return shortest


def _request(core: Any, precision: str) -> Any:
    options = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}
    return core.compile_model(_two_convolutions(), "CPU", options).create_infer_request()


def _two_convolutions() -> Any:
    """Return a model of two 3 x 3 convolutions with a relu between them."""
    op = ov.opset13
    frames = op.parameter(_SHAPE, np.float32)
    weights = op.constant(np.full((64, 64, 3, 3), 0.01, np.float32))
    geometry: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], [1, 1])  # strides, padding, dilation
    hidden = op.relu(op.convolution(frames, weights, *geometry))
    return ov.Model([op.convolution(hidden, weights, *geometry)], [frames])
