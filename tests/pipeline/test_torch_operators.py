"""Each ONNX operator that the torch backend knows, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from streamer.errors import BackendError

torch = pytest.importorskip("torch", reason="PyTorch is optional at run time")
runtime = pytest.importorskip("onnxruntime")

from pipeline.backends.torch_operators import _operators, read_graph  # noqa: E402

torch.set_num_threads(1)  # many tiny calls: on a busy machine threads only wait for one another
RNG = np.random.default_rng(1)
X = RNG.normal(size=(2, 8, 6, 10)).astype(np.float32)


def values(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "dilations": [1, 1]}
NEAREST = {
    "mode": "nearest",
    "nearest_mode": "floor",
    "coordinate_transformation_mode": "asymmetric",
}
SCALES = np.array([1, 1, 2, 2], np.float32)
NOTHING = np.zeros(0, np.float32)

CASES: list[tuple[str, dict[str, Any], list[NDArray[Any]]]] = [
    ("Add", {}, [values(8, 1, 1)]),
    ("Cast", {"to": TensorProto.FLOAT16}, []),
    ("Clip", {}, [np.float32(-0.5), np.float32(0.7)]),  # type: ignore[list-item]
    ("Concat", {"axis": 1}, [values(2, 3, 6, 10)]),
    ("Conv", CONV, [values(4, 8, 3, 3), values(4)]),
    ("Conv", {**CONV, "group": 2}, [values(4, 4, 3, 3)]),
    ("ConvTranspose", {"kernel_shape": [2, 2], "strides": [2, 2]}, [values(8, 3, 2, 2), values(3)]),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, []),
    ("Div", {}, [values(1) + 3]),
    ("Erf", {}, []),
    ("Identity", {}, []),
    ("InstanceNormalization", {"epsilon": 1e-5}, [values(8), values(8)]),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 0}, []),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}, []),
    ("Mul", {}, [values(2, 8, 6, 10)]),
    ("Pow", {}, [np.float32(2.0)]),  # type: ignore[list-item]
    ("Reciprocal", {}, []),
    ("ReduceMax", {"keepdims": 0}, [whole(2, 3)]),
    ("ReduceMean", {"keepdims": 1}, [whole(1)]),
    ("Relu", {}, []),
    ("Reshape", {}, [whole(0, 4, -1)]),
    ("Resize", NEAREST, [NOTHING, SCALES]),
    ("Shape", {}, []),
    ("Sigmoid", {}, []),
    ("Exp", {}, []),
    ("Sqrt", {}, []),
    ("Slice", {}, [whole(1, 0), whole(100, -1), whole(2, 3), whole(2, 3)]),
    ("Slice", {}, [whole(1), whole(2)]),
    ("Sub", {}, [values(10)]),
    ("Transpose", {"perm": [0, 2, 3, 1]}, []),
    ("Unsqueeze", {}, [whole(0, 3)]),
]
INDIRECTLY = {"Constant", "Gemm", "Squeeze"}  # tested below


def write(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]]) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)
    y = helper.make_empty_tensor_value_info("y")
    initialisers = [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "one", [x], [y], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def both(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (ours,) = read_graph(path, torch.device("cpu"), ("y",))(torch.from_numpy(X))
    return ours.numpy(), session.run(["y"], {"x": X})[0]


@pytest.mark.parametrize(
    ("operator", "attributes", "inputs"), CASES, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(CASES)]
)
def test_operator(
    tmp_path: Path, operator: str, attributes: dict[str, Any], inputs: list[NDArray[Any]]
) -> None:
    weights = {f"w{i}": array for i, array in enumerate(inputs)}
    node = helper.make_node(operator, ["x", *weights], ["y"], **attributes)
    ours, expected = both(write(tmp_path / "one.onnx", [node], weights))
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_constants_and_squeezing(tmp_path: Path) -> None:
    axis = numpy_helper.from_array(whole(2), "axis")
    nodes = [
        helper.make_node("Constant", [], ["axis"], value=axis),
        helper.make_node("Unsqueeze", ["x", "axis"], ["wide"]),
        helper.make_node("Squeeze", ["wide", "axis"], ["y"]),
    ]
    ours, expected = both(write(tmp_path / "three.onnx", nodes, {}))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("transposed", [0, 1])
def test_linear_layers(tmp_path: Path, transposed: int) -> None:
    weights = {"axes": whole(2, 3), "w": values(3, 8) if transposed else values(8, 3), "b": values(3)}
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "w", "b"], ["y"], transB=transposed),
    ]
    ours, expected = both(write(tmp_path / "two.onnx", nodes, weights))
    assert ours.shape == (2, 3)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_linear_layer_with_factors_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "w"], ["y"], alpha=2.0),
    ]
    path = write(tmp_path / "two.onnx", nodes, {"axes": whole(2, 3), "w": values(8, 3)})
    with pytest.raises(BackendError, match="use openvino"):
        read_graph(path, torch.device("cpu"), ("y",))(torch.from_numpy(X))


def test_every_operator_in_the_table_is_tested() -> None:
    assert {name for name, _, _ in CASES} | INDIRECTLY == _operators().keys()


@pytest.mark.parametrize(
    ("operator", "attributes", "inputs"),
    [
        ("Conv", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]}, [values(4, 8, 3, 3)]),
        ("Conv", {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, [values(4, 8, 3, 3)]),
        ("DepthToSpace", {"blocksize": 2, "mode": "DCR"}, []),
        ("MaxPool", {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1}, []),
        ("Resize", {"mode": "linear"}, [NOTHING, SCALES]),
    ],
)
def test_a_use_that_is_not_implemented_is_refused(
    tmp_path: Path, operator: str, attributes: dict[str, Any], inputs: list[NDArray[Any]]
) -> None:
    weights = {f"w{i}": array for i, array in enumerate(inputs)}
    path = write(
        tmp_path / "one.onnx", [helper.make_node(operator, ["x", *weights], ["y"], **attributes)], weights
    )
    with pytest.raises(BackendError, match="use openvino"):
        read_graph(path, torch.device("cpu"), ("y",))(torch.from_numpy(X))
