"""Weights stored in half precision: files of half the size, with networks that compute as before.

A convolution's weights are kept as float16, with a cast to float32 behind each. Rounding changes them by one
part in two thousand, much less than a step of training. OpenVINO and ONNX Runtime do the casts once, when
they read the file; for the other engines `in_full` does them.
"""

from typing import Any

import numpy as np

__all__ = ["in_full", "stored_in_half"]

_FULL = "{}__full"
_KERNEL_AXES = 4  # (out, in, height, width); biases and factors are few, and stay float32


def stored_in_half(model: Any) -> Any:
    """Return a copy of an ONNX model whose convolutions' weights are stored as float16."""
    from onnx import TensorProto, helper, numpy_helper

    stored = type(model)()
    stored.CopyFrom(model)
    casts = []
    for tensor in stored.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != _KERNEL_AXES:
            continue
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
        full = _FULL.format(tensor.name)
        casts.append(helper.make_node("Cast", [tensor.name], [full], to=TensorProto.FLOAT))
        for node in stored.graph.node:
            node.input[:] = [full if name == tensor.name else name for name in node.input]
    nodes = [*casts, *stored.graph.node]
    del stored.graph.node[:]
    stored.graph.node.extend(nodes)
    return stored


def in_full(model: Any) -> Any:
    """Return a copy of an ONNX model whose weights are float32, without casts behind them."""
    from onnx import TensorProto, numpy_helper

    full = type(model)()
    full.CopyFrom(model)
    halves = {t.name: t for t in full.graph.initializer if t.data_type == TensorProto.FLOAT16}
    casts = {n.output[0]: n.input[0] for n in full.graph.node if n.op_type == "Cast" and n.input[0] in halves}
    for name, tensor in halves.items():
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    nodes = [node for node in full.graph.node if node.output[0] not in casts]
    for node in nodes:
        node.input[:] = [casts.get(name, name) for name in node.input]
    del full.graph.node[:]
    full.graph.node.extend(nodes)
    return full
