"""What a network costs for one frame: multiplications and additions, and values that its layers move.

Counted on the ONNX graph with the shapes that ONNX infers, so the same for every engine; an engine that fuses
layers moves less memory than this.
"""

from math import prod
from pathlib import Path

import onnx

from pipeline.backends.onnx_weights import in_full

__all__ = ["network_cost"]


def network_cost(path: Path, height: int, width: int) -> tuple[int, int]:
    """Return floating-point operations, two for a multiplication with its addition, and values moved.

    Parameters
    ----------
    path : pathlib.Path
        An ONNX network with the input (N, C, H, W).
    height, width : int
        Of the frame [px].
    """
    model = in_full(onnx.load(path))
    for dimension, size in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (1, 0, height, width), strict=True
    ):
        if size:
            dimension.dim_value = size
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    shapes |= {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)
    }
    weights = {t.name: list(t.dims) for t in graph.initializer}
    weights |= {  # whole numbers, with their scale behind them
        n.output[0]: weights[n.input[0]]
        for n in graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in weights
    }
    flops = moved = 0
    for node in graph.node:
        if node.op_type == "Conv":
            flops += 2 * prod(shapes[node.output[0]]) * prod(weights[node.input[1]][1:])
        elif node.op_type == "ConvTranspose":
            flops += 2 * prod(shapes[node.input[0]]) * prod(weights[node.input[1]][1:])
        if node.op_type in ("Conv", "ConvTranspose"):
            values = (*node.input, *node.output)
            moved += sum(prod(shapes.get(name) or weights.get(name, [0])) for name in values)
    return flops, moved
