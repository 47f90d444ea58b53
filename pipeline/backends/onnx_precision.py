"""A network in half precision: the ONNX model itself is rewritten, so that every engine computes the same.

TensorRT 11 has no switch that would make an engine choose half precision, and older ones may ignore theirs. A
model whose tensors are half precision leaves no choice. Inputs and outputs stay float32 and keep their names.

Three kinds of nodes stay in float32, with casts around them:

- statistics (normalisations, means, powers, roots, exponentials) and the elementwise steps between them: a
  sum of squares over a frame overflows float16, and loses its small terms in bfloat16;
- whatever follows the last convolution on the way to an output: cheap, and where probabilities are made;
- nodes that do not compute with floating-point values.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.backends.onnx_weights import in_full
from streamer.errors import BackendError

__all__ = ["LOW_PRECISIONS", "PRECISIONS", "in_precision"]

PRECISIONS = ("f16", "bf16", "f32")
LOW_PRECISIONS = ("f16", "bf16")

_CONVOLUTIONS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min"}
_STATISTICS = {
    "BatchNormalization", "Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log",
    "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Pow", "Reciprocal", "RMSNormalization",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "GlobalAveragePool", "Softmax", "Sqrt",
}  # fmt: skip
_FLOAT16_MAX = 65504.0


def in_precision(onnx_bytes: bytes, precision: str) -> bytes:
    """Return the model with its computations in `precision`.

    Parameters
    ----------
    onnx_bytes : bytes
        A model in float32 of one graph without subgraphs; weights may be stored in half.
    precision : str
        ``f16``, ``bf16`` or ``f32``.

    Raises
    ------
    BackendError
        If a weight does not fit into the precision.
    ModuleNotFoundError
        If ``onnx`` is not installed.
    """
    import onnx

    model = in_full(onnx.load_from_string(onnx_bytes))
    if precision == "f32":
        return bytes(model.SerializeToString())
    _Rewriter(model, onnx.TensorProto.FLOAT16 if precision == "f16" else onnx.TensorProto.BFLOAT16).run()
    return bytes(model.SerializeToString())


class _Rewriter:
    """Rewrites the graph of `model` in place; `low` is the ONNX element type of the low precision."""

    def __init__(self, model: Any, low: int) -> None:
        import onnx

        self._onnx, self._low, self._full = onnx, low, onnx.TensorProto.FLOAT
        self._graph = model.graph
        self._opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self._constants_to_initialisers()
        self._weights = {tensor.name: tensor for tensor in self._graph.initializer}
        self._floats = self._float_values(model)
        self._types: dict[str, int] = {}  # of values computed so far
        self._made: dict[tuple[str, int], str] = {}  # copies in another type
        self._nodes: list[Any] = []

    def run(self) -> None:
        """Give every node its inputs in the type it computes in, and every output its own type."""
        keep = stays_full(self._graph.node, {o.name for o in self._graph.output})
        self._types.update({i.name: self._full for i in self._graph.input if i.name in self._floats})
        for node, full in zip(list(self._graph.node), keep, strict=True):
            self._add(node, self._full if full else self._low)
        self._restore_outputs()
        del self._graph.node[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | {o.name for o in self._graph.output}
        weights = [tensor for tensor in self._weights.values() if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(weights)

    def _add(self, node: Any, wanted: int) -> None:
        computes = any(name in self._floats for name in node.input)
        for place, name in enumerate(node.input):
            if name in self._floats and (wanted == self._full or self._may_be_low(node, place)):
                node.input[place] = self._in_type(name, wanted)
        explicit = node.op_type in ("Cast", "ConstantOfShape")
        for name in node.output:
            if name in self._floats:
                self._types[name] = wanted if computes and not explicit else self._full
        self._nodes.append(node)

    def _may_be_low(self, node: Any, place: int) -> bool:
        """Whether the operator leaves the type of this input open (the scales of Resize are float32)."""
        formal = self._onnx.defs.get_schema(node.op_type, self._opset, node.domain).inputs
        return not formal[min(place, len(formal) - 1)].type_str.startswith("tensor(")

    def _in_type(self, name: str, wanted: int) -> str:
        """Return the name of this value, or of a copy of it, in the wanted type."""
        if name in self._weights and name not in self._types:
            self._types[name] = self._full
        if self._types[name] == wanted:
            return name
        if (name, wanted) not in self._made:
            copy = f"{name}__{'full' if wanted == self._full else 'low'}"
            self._made[name, wanted] = copy
            if name in self._weights:
                self._weights[copy] = self._low_weight(self._weights[name], copy)
            else:
                self._nodes.append(self._onnx.helper.make_node("Cast", [name], [copy], to=wanted, name=copy))
        return self._made[name, wanted]

    def _low_weight(self, tensor: Any, name: str) -> Any:
        values = self._onnx.numpy_helper.to_array(tensor)
        if self._low == self._onnx.TensorProto.FLOAT16 and np.abs(values).max(initial=0.0) > _FLOAT16_MAX:
            raise BackendError(
                f"the weights {tensor.name} reach {np.abs(values).max():.3g}, more than float16 holds"
                f" ({_FLOAT16_MAX:g}); choose the precision bf16 or f32"
            )
        kind = self._onnx.helper.tensor_dtype_to_np_dtype(self._low)
        return self._onnx.numpy_helper.from_array(values.astype(kind), name)

    def _restore_outputs(self) -> None:
        for output in self._graph.output:
            if self._types.get(output.name) == self._low:
                for node in self._nodes:
                    _rename(node, output.name, f"{output.name}__low")
                cast = self._onnx.helper.make_node(
                    "Cast", [f"{output.name}__low"], [output.name], to=self._full, name=output.name
                )
                self._nodes.append(cast)

    def _constants_to_initialisers(self) -> None:
        rest = []
        for node in self._graph.node:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                self._graph.initializer.add().CopyFrom(value)
                self._graph.initializer[-1].name = node.output[0]
            else:
                rest.append(node)
        del self._graph.node[:]
        self._graph.node.extend(rest)

    def _float_values(self, model: Any) -> set[str]:
        """Return the names of all float32 values and weights."""
        inferred = self._onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        named = {v.name for v in values if v.type.tensor_type.elem_type == self._full}
        return named | {t.name for t in self._weights.values() if t.data_type == self._full}


def stays_full(nodes: Iterable[Any], outputs: set[str]) -> list[bool]:
    """Return for each node whether it stays in float32; see the module's docstring for the three kinds."""
    nodes = list(nodes)
    maker = {name: i for i, node in enumerate(nodes) for name in node.output}
    before = [{maker[name] for name in node.input if name in maker} for node in nodes]
    after: list[set[int]] = [set() for _ in nodes]
    for i, sources in enumerate(before):
        for source in sources:
            after[source].add(i)
    full = [node.op_type in _STATISTICS for node in nodes]
    _fill_between(nodes, before, after, full)
    last = _after_last_convolution(nodes, after)
    return [a or b for a, b in zip(full, last, strict=True)]


def _fill_between(nodes: list[Any], before: list[set[int]], after: list[set[int]], full: list[bool]) -> None:
    """Add the steps of a normalisation that is spelt out: x - mean, its square, + ε, the division."""
    changed = True
    while changed:
        changed = False
        for i, node in enumerate(nodes):
            if full[i] or node.op_type not in _ELEMENTWISE:
                continue
            fed, feeds = any(full[j] for j in before[i]), any(full[j] for j in after[i])
            squares = node.op_type == "Mul" and len(set(node.input)) == 1
            if (fed and (feeds or node.op_type == "Div")) or (squares and feeds):
                full[i] = changed = True


def _after_last_convolution(nodes: list[Any], after: list[set[int]]) -> list[bool]:
    """Return for each node whether no convolution comes after it; nodes stand in the order of computation."""
    free = [False] * len(nodes)
    for i in reversed(range(len(nodes))):
        free[i] = nodes[i].op_type not in _CONVOLUTIONS and all(free[j] for j in after[i])
    return free


def _rename(node: Any, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for place, name in enumerate(names):
            if name == old:
                names[place] = new
