"""The ONNX operators that our networks consist of, in terms of PyTorch.

A graph is a list of nodes in the order of computation; running it is a walk along that list. What is not in
the table, or uses an operator in a way that is not implemented, is refused when the file is read or at the
warm-up, never computed approximately. Semantics: ONNX operator specification, opset 18.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.backends.onnx_precision import in_precision
from streamer.errors import BackendError

__all__ = ["read_graph"]

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]


def read_graph(
    path: Path, device: Any, outputs: tuple[str, ...], precision: str = "f32"
) -> Callable[[Any], list[Any]]:
    """Return a function from the batch (a tensor) to the outputs of these names, both float32.

    Parameters
    ----------
    precision : str
        What is computed in: ``f16``, ``bf16`` or ``f32`` (`pipeline.backends.onnx_precision`).

    Raises
    ------
    BackendError
        If the graph has an operator that is not in the table, or its weights do not fit into the precision.
    """
    import onnx

    graph = onnx.load_from_string(in_precision(path.read_bytes(), precision)).graph
    table = _operators()
    if unknown := {node.op_type for node in graph.node} - table.keys():
        raise BackendError(
            f"{path}: no PyTorch counterpart here for {', '.join(sorted(unknown))}; use openvino"
        )
    weights = {tensor.name: _tensor(tensor, device) for tensor in graph.initializer}
    steps = [(table[n.op_type], _attributes(n, device), tuple(n.input), tuple(n.output)) for n in graph.node]

    def run(frames: Any) -> list[Any]:
        values = {graph.input[0].name: frames, "": None, **weights}
        for operator, attributes, inputs, (name,) in steps:
            values[name] = operator(attributes, *(values[i] for i in inputs))
        return [values[name] for name in outputs]

    return run


def _tensor(proto: Any, device: Any) -> Any:
    """Weights go to the device; whole numbers (shapes, axes) stay on the host, where they are read."""
    import torch
    from onnx import TensorProto, numpy_helper

    values = numpy_helper.to_array(proto).copy()
    if proto.data_type == TensorProto.BFLOAT16:  # NumPy has it from an extension unknown to PyTorch
        tensor = torch.from_numpy(values.view("int16")).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(values)
    if not tensor.is_floating_point():
        return tensor
    on_gpu = torch.device(device).type == "cuda"  # whose half-precision convolutions want channels last
    return tensor.to(device, memory_format=torch.channels_last if on_gpu and tensor.ndim == 4 else None)


def _attributes(node: Any, device: Any) -> Attributes:
    from onnx import TensorProto, helper

    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: _tensor(v, device) if isinstance(v, TensorProto) else v for k, v in values.items()}


def _operators() -> dict[str, Operator]:
    """Return the table: operator type → function of (attributes, inputs)."""
    import torch
    from torch.nn import functional as F

    return {
        "Add": lambda a, x, y: x + y,
        "Cast": _cast,
        "Clip": lambda a, x, low=None, high=None: torch.clamp(x, low, high),
        "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
        "Constant": lambda a: a["value"],
        "Conv": lambda a, x, w, b=None: F.conv2d(x, w, b, **_geometry(a)),
        "ConvTranspose": lambda a, x, w, b=None: F.conv_transpose2d(x, w, b, **_geometry(a)),
        "DepthToSpace": _depth_to_space,
        "Div": lambda a, x, y: x / y,
        "Erf": lambda a, x: torch.erf(x),
        "Exp": lambda a, x: torch.exp(x),
        "Gemm": _gemm,
        "Identity": lambda a, x: x,
        "InstanceNormalization": lambda a, x, w, b: F.instance_norm(
            x, weight=w, bias=b, eps=a.get("epsilon", 1e-5)
        ),
        "MaxPool": _max_pool,
        "Mul": lambda a, x, y: x * y,
        "Pow": lambda a, x, y: x**y,
        "Reciprocal": lambda a, x: 1 / x,
        "ReduceMax": _reduce_max,
        "ReduceMean": _reduce_mean,
        "Relu": lambda a, x: F.relu(x),
        "Reshape": _reshape,
        "Resize": _resize,
        "Shape": lambda a, x: torch.tensor(x.shape),
        "Sigmoid": lambda a, x: torch.sigmoid(x),
        "Slice": _slice,
        "Sqrt": lambda a, x: torch.sqrt(x),
        "Squeeze": lambda a, x, axes: x.squeeze(tuple(axes.tolist())),
        "Sub": lambda a, x, y: x - y,
        "Transpose": lambda a, x: x.permute(a["perm"]),
        "Unsqueeze": _unsqueeze,
    }


def _cast(attributes: Attributes, x: Any) -> Any:
    import torch
    from onnx import TensorProto

    kinds = {
        TensorProto.FLOAT: torch.float32,
        TensorProto.FLOAT16: torch.float16,
        TensorProto.BFLOAT16: torch.bfloat16,
    }
    if attributes["to"] not in kinds:
        raise BackendError(f"a cast to ONNX's type {attributes['to']} is not implemented; use openvino")
    return x.to(kinds[attributes["to"]])


def _gemm(attributes: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    """Multiply x (N, C) by w, and add b; factors other than 1 do not come from a linear layer."""
    if attributes.get("transA", 0) or {attributes.get(n, 1.0) for n in ("alpha", "beta")} != {1.0}:
        raise BackendError(f"Gemm with {dict(attributes)} is not implemented; use openvino")
    product = x @ (w.T if attributes.get("transB", 0) else w)
    return product if b is None else product + b


def _reduce_max(attributes: Attributes, x: Any, axes: Any = None) -> Any:
    return x.amax(_axes("ReduceMax", attributes, axes), keepdim=bool(attributes.get("keepdims", 1)))


def _reduce_mean(attributes: Attributes, x: Any, axes: Any = None) -> Any:
    return x.mean(_axes("ReduceMean", attributes, axes), keepdim=bool(attributes.get("keepdims", 1)))


def _axes(operator: str, attributes: Attributes, axes: Any) -> tuple[int, ...]:
    axes = attributes.get("axes") if axes is None else axes.tolist()
    if not axes:
        raise BackendError(f"{operator} without axes is not implemented; use openvino")
    return tuple(axes)


def _geometry(attributes: Attributes) -> dict[str, Any]:
    """Return stride, padding, dilation and groups of a convolution; the padding must be symmetric."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right) or attributes.keys() & {"auto_pad", "output_padding", "output_shape"}:
        raise BackendError(f"a convolution padded as in {dict(attributes)} is not implemented; use openvino")
    return {
        "stride": attributes.get("strides", (1, 1)),
        "padding": (top, left),
        "dilation": attributes.get("dilations", (1, 1)),
        "groups": attributes.get("group", 1),
    }


def _max_pool(attributes: Attributes, x: Any) -> Any:
    import torch

    geometry = _geometry({k: v for k, v in attributes.items() if k not in ("ceil_mode", "storage_order")})
    if attributes.get("ceil_mode", 0) or attributes.get("storage_order", 0):
        raise BackendError(f"MaxPool with {dict(attributes)} is not implemented; use openvino")
    del geometry["groups"]
    return torch.nn.functional.max_pool2d(x, attributes["kernel_shape"], **geometry)


def _depth_to_space(attributes: Attributes, x: Any) -> Any:
    import torch

    if attributes.get("mode", b"DCR") != b"CRD":
        raise BackendError("DepthToSpace is implemented in the order CRD only; use openvino")
    return torch.nn.functional.pixel_shuffle(x, attributes["blocksize"])


def _reshape(attributes: Attributes, x: Any, shape: Any) -> Any:
    """Reshape; a zero keeps the input's side, unless ``allowzero`` is set."""
    keep = not attributes.get("allowzero", 0)
    return x.reshape([x.shape[i] if side == 0 and keep else side for i, side in enumerate(shape.tolist())])


def _resize(attributes: Attributes, x: Any, roi: Any, scales: Any) -> Any:
    import torch

    mode = attributes.get("mode", b"nearest")
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    place = attributes.get("coordinate_transformation_mode", b"half_pixel")
    batch, channels, *factors = scales.tolist()
    if (mode, rounding, place, batch, channels) != (b"nearest", b"floor", b"asymmetric", 1.0, 1.0):
        raise BackendError(
            f"Resize is implemented as nearest, floor, asymmetric, got {dict(attributes)}; use openvino"
        )
    return torch.nn.functional.interpolate(x, scale_factor=factors, mode="nearest")


def _slice(
    attributes: Attributes, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None
) -> Any:
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _unsqueeze(attributes: Attributes, x: Any, axes: Any) -> Any:
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x
