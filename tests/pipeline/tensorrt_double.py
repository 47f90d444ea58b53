"""TensorRT's Python interface of a given version, on `CudaDouble`; the networks are computed by ONNX Runtime.

Names, signatures and enumerations are those that the real bindings of that version were seen to have
(``cuda_api/VERSION.json``): what a version lacks is not there, and a call that its bindings would refuse is
refused. What the objects do is written here, from TensorRT's documentation: it proves this program's use of
the interface, not TensorRT.
"""

import enum
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.pipeline.cuda_double import CudaDouble

__all__ = ["VERSIONS", "Faults", "make_tensorrt"]

FOLDER = Path(__file__).parent / "cuda_api"
VERSIONS = ("8.6", "10.0", "10.16", "11.0", "11.4")
_PLAN = b"plan of TensorRT "


class Faults:
    """What goes wrong on request."""

    build = ""  # an error in the log, and no engine
    parse = ""  # an error of the parser
    weakly_f32 = False  # engines silently compute in float32
    empty_graph = False  # nothing of an engine gets into a graph
    no_context = False
    no_device = (
        False  # as with a driver that is too old: the builder is not made, and only a warning says why
    )
    refuse_enqueue: "set[int]"  # which calls of execute_async_v3 return False

    def __init__(self) -> None:
        self.building: Callable[[], None] = lambda: None  # called while an engine is built
        self.refuse_enqueue = set()
        self.enqueued = 0
        self.built: list[str] = []


def make_tensorrt(cuda: CudaDouble, version: str, faults: Faults | None = None) -> Any:
    """Return a module `tensorrt` of one of `VERSIONS`."""
    api = json.loads((FOLDER / f"{version}.json").read_text())
    module = ModuleType("tensorrt")
    module.__dict__["__version__"] = api["version"]
    enums = {name: enum.IntEnum(name, names, start=0) for name, names in api["enums"].items()}
    for name, kind in enums.items():
        if "." not in name:
            setattr(module, name, kind)
    machine = _Machine(cuda, api, faults or Faults(), enums)
    for name in api["classes"]:
        setattr(module, name, machine.make_class(name))
    machine.module = module
    module.ILogger.Severity = enums["ILogger.Severity"]  # type: ignore[attr-defined]
    return module


class _Machine:
    """Makes the classes of one version and holds what their objects share."""

    def __init__(self, cuda: CudaDouble, api: Any, faults: Faults, enums: dict[str, Any]) -> None:
        self.cuda, self.api, self.faults, self.enums = cuda, api, faults, enums
        self.module: Any = None

    @property
    def strong(self) -> bool:
        """Whether this version has strongly typed networks."""
        return "STRONGLY_TYPED" in self.api["enums"]["NetworkDefinitionCreationFlag"]

    def new(self, name: str, *state: Any) -> Any:
        """Make an object as the library would, with what its behaviour needs."""
        made = object.__new__(getattr(self.module, name))
        object.__setattr__(made, "do", _BEHAVIOUR[name](self, *state))
        return made

    def make_class(self, name: str) -> type:
        members = self.api["classes"][name]
        behaviour = _BEHAVIOUR.get(name, _Nothing)
        body: dict[str, Any] = {
            member: self._property(member)
            if signatures == "property"
            else self._method(name, member, signatures, behaviour)
            for member, signatures in members.items()
            if member not in ("__init__", "__enter__", "Severity")
        }
        machine = self

        def __init__(self: Any, *args: Any) -> None:
            if signatures := members["__init__"]:
                machine.check(f"{name}.__init__", signatures, (self, *args), {})
            object.__setattr__(self, "do", behaviour(machine, *args))

        def __setattr__(self: Any, attribute: str, value: Any) -> None:
            if type(self).__module__ == __name__ and members.get(attribute) != "property":
                raise AttributeError(f"TensorRT {machine.api['version']} has no {name}.{attribute}")
            object.__setattr__(self, attribute, value)

        return type(
            name, (), {**body, "__init__": __init__, "__setattr__": __setattr__, "__module__": __name__}
        )

    def _property(self, member: str) -> property:
        return property(lambda s: getattr(s.do, member), lambda s, value: setattr(s.do, member, value))

    def _method(self, name: str, member: str, signatures: list[str], behaviour: type) -> Callable[..., Any]:
        def call(obj: Any, *args: Any, **options: Any) -> Any:
            self.check(f"{name}.{member}", signatures, (obj, *args), options)
            return getattr(obj.do, member)(*args, **options)

        if not hasattr(behaviour, member):
            return lambda *_, **__: (_ for _ in ()).throw(NotImplementedError(f"{name}.{member}"))
        return call

    def check(self, what: str, signatures: list[str], args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Raise the TypeError that pybind11 raises where no overload fits."""
        for signature in signatures:
            parameters = _parameters(signature)
            try:
                bound = inspect.Signature([p for p, _ in parameters]).bind(*args, **options)
            except TypeError:
                continue
            kinds = {p.name: kind for p, kind in parameters}
            if all(self._fits(value, kinds[name]) for name, value in bound.arguments.items()):
                return
        raise TypeError(f"{what}(): incompatible function arguments {args[1:]} {options}; {signatures}")

    def _fits(self, value: Any, kind: str) -> bool:
        kind = kind.replace("::", ".").removeprefix("nvinfer1.")
        if kind in self.enums:
            return isinstance(value, self.enums[kind])
        if hasattr(self.module, kind) and isinstance(getattr(self.module, kind), type):
            return isinstance(value, getattr(self.module, kind))
        if kind in ("int", "typing.SupportsInt"):
            return isinstance(value, int)
        if kind in ("buffer", "typing_extensions.Buffer"):
            return isinstance(value, bytes | memoryview)
        expected = {"str": str, "Dims": tuple | list, "tuple": tuple, "list": list, "bool": bool}
        return isinstance(value, expected[kind]) if kind in expected else True


def _parameters(signature: str) -> list[tuple[inspect.Parameter, str]]:
    """Read ``name(self: Builder, flags: int = 0) -> X``."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    found = []
    for part in re.split(r", (?=\w+: )", inside):
        name, _, rest = part.partition(": ")
        kind, _, default = rest.partition(" = ")
        empty = inspect.Parameter.empty
        parameter = inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default if default else empty
        )
        found.append((parameter, kind))
    return found


class _Nothing:
    def __init__(self, machine: _Machine, *args: Any) -> None:
        self.machine = machine


class _Logger(_Nothing):
    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError("a logger must say what it does")


class _Builder(_Nothing):
    def __init__(self, machine: _Machine, logger: Any) -> None:
        self.machine, self.logger = machine, logger
        if machine.faults.no_device:  # seen of 8.6.1 on a machine without a GPU
            warning = machine.enums["ILogger.Severity"].WARNING
            logger.log(warning, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> Any:
        kinds = self.machine.enums["NetworkDefinitionCreationFlag"]
        wanted = kinds.STRONGLY_TYPED if self.machine.strong else kinds.EXPLICIT_BATCH
        assert flags == 1 << wanted, f"flags {flags}"
        return self.machine.new("INetworkDefinition")

    def create_builder_config(self) -> Any:
        return self.machine.new("IBuilderConfig")

    def create_optimization_profile(self) -> Any:
        return self.machine.new("IOptimizationProfile")

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        faults, machine = self.machine.faults, self.machine
        if faults.build:
            self.logger.log(machine.enums["ILogger.Severity"].ERROR, faults.build)
            return None
        faults.building()
        (profile,) = config.do.profiles
        kernels = [s.name for s in machine.enums["TacticSource"] if config.do.sources >> s & 1]
        assert kernels == ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"], kernels
        if config.do.progress_monitor is not None:
            monitor = config.do.progress_monitor
            monitor.phase_start("Tactic search", None, 3)
            assert all(monitor.step_complete("Tactic search", step) for step in range(3))
            monitor.phase_finish("Tactic search")
        flags = machine.enums["BuilderFlag"]
        # Weakly typed, TensorRT takes whichever kernel is the faster: here, of layers left free, the other.
        half_allowed = machine.strong or (
            {flags.FP16, flags.PREFER_PRECISION_CONSTRAINTS} <= config.do.flags and network.do.pinned
        )
        plan = {
            "version": machine.api["version"],
            "shape": profile.do.shape,
            "detailed": config.profiling_verbosity == machine.enums["ProfilingVerbosity"].DETAILED,
            "half": half_allowed and not faults.weakly_f32,
        }
        faults.built.append(machine.api["version"])
        return _PLAN + json.dumps(plan).encode() + b"\n" + network.do.model


class _Network(_Nothing):
    def __init__(self, machine: _Machine) -> None:
        self.machine, self.model = machine, b""
        self.layers: list[Any] = []

    num_layers = property(lambda self: len(self.layers))

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    @property
    def pinned(self) -> bool:
        """Whether each layer that the model has in a type of its own is pinned to it."""
        kinds = self.machine.enums["LayerType"]
        fixed = {kinds.CONVOLUTION: 10, kinds.REDUCE: 1}  # half precision, float32
        return all(
            layer.precision == layer.get_output(0).dtype
            for layer in self.layers
            if fixed.get(layer.type) == layer.do.element
        )

    def parsed(self, model: bytes) -> None:
        """Make a layer for each node, with the type of its output."""
        self.model = model
        loaded = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
        types = {v.name: v.type.tensor_type.elem_type for v in (*loaded.value_info, *loaded.output)}
        for node in loaded.node:
            self.layers.append(self.machine.new("ILayer", node.op_type, types.get(node.output[0], 0)))


_LAYER_KINDS = {
    "Conv": "CONVOLUTION", "InstanceNormalization": "NORMALIZATION", "Relu": "ACTIVATION",
    "Add": "ELEMENTWISE", "Mul": "ELEMENTWISE", "Sqrt": "UNARY", "ReduceMean": "REDUCE",
}  # fmt: skip


class _Layer(_Nothing):
    def __init__(self, machine: _Machine, operator: str, element: int) -> None:
        self.machine, self.operator, self.element = machine, operator, element
        self.type = machine.enums["LayerType"][_LAYER_KINDS.get(operator, "SHUFFLE")]
        self.precision: Any = None

    def get_output(self, index: int) -> Any:
        return self.machine.new("ITensor", self.element)


class _Tensor(_Nothing):
    def __init__(self, machine: _Machine, element: int) -> None:
        names = {1: "FLOAT", 10: "HALF", 16: "BF16", 7: "INT32"}
        self.dtype = machine.enums["DataType"][names.get(element, "INT32")]


class _Config(_Nothing):
    def __init__(self, machine: _Machine) -> None:
        self.machine = machine
        self.flags = {machine.enums["BuilderFlag"].TF32}
        self.profiles: list[Any] = []
        self.progress_monitor = self.profiling_verbosity = None
        self.sources = sum(1 << source for source in machine.enums["TacticSource"])

    def get_tactic_sources(self) -> int:
        return self.sources

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self.sources = tactic_sources
        return True

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class _Profile(_Nothing):
    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert tuple(min) == tuple(opt) == tuple(max)
        self.shape = list(opt)


class _Parser(_Nothing):
    def __init__(self, machine: _Machine, network: Any, logger: Any) -> None:
        self.machine, self.network = machine, network
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        if self.machine.faults.parse:
            self.num_errors = 1
            return False
        # 8.6 does not look at axes that are an input, and reduces over all: no version may be given any.
        nodes = onnx.load_from_string(bytes(model)).graph.node
        assert all(len(n.input) == 1 for n in nodes if n.op_type.startswith("Reduce")), "axes as an input"
        self.network.do.parsed(bytes(model))
        return True

    def get_error(self, index: int) -> Any:
        return self.machine.new("ParserError", self.machine.faults.parse)


class _ParserError(_Nothing):
    def __init__(self, machine: _Machine, text: str) -> None:
        self.text = text

    def desc(self) -> str:
        return self.text


class _Runtime(_Nothing):
    def __init__(self, machine: _Machine, logger: Any) -> None:
        self.machine, self.logger = machine, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        head, _, model = bytes(serialized_engine).partition(b"\n")
        plan = json.loads(head.removeprefix(_PLAN)) if head.startswith(_PLAN) else {"version": "?"}
        if plan["version"] != self.machine.api["version"]:
            self.logger.log(
                self.machine.enums["ILogger.Severity"].ERROR, f"the plan is of version {plan['version']}"
            )
            return None
        return self.machine.new("ICudaEngine", plan, model)


class _Engine(_Nothing):
    def __init__(self, machine: _Machine, plan: Any, model: bytes) -> None:
        self.machine, self.plan, self.model = machine, plan, model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.shapes = self._shapes()

    num_io_tensors = property(lambda self: 1 + len(self.outputs))

    def get_tensor_name(self, index: int) -> str:
        return [self.input, *self.outputs][index]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.machine.enums["DataType"].FLOAT

    def create_execution_context(self) -> Any:
        return None if self.machine.faults.no_context else self.machine.new("IExecutionContext", self)

    def create_engine_inspector(self) -> Any:
        return self.machine.new("EngineInspector", self)

    def compute(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(self.outputs, {self.input: frames}), strict=True))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        answer = self.compute(np.zeros(self.plan["shape"], np.float32))
        return {self.input: tuple(self.plan["shape"]), **{k: v.shape for k, v in answer.items()}}


class _Context(_Nothing):
    def __init__(self, machine: _Machine, engine: _Engine) -> None:
        self.machine, self.engine = machine, engine
        self.addresses: dict[str, int] = {}
        self.shaped = False

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self.shaped = list(shape) == self.engine.plan["shape"]
        return self.shaped

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.engine.shapes[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine.shapes:
            return False
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        faults, cuda = self.machine.faults, self.machine.cuda
        faults.enqueued += 1
        if faults.enqueued in faults.refuse_enqueue or not self.shaped:
            return False
        addresses, shapes = dict(self.addresses), self.engine.shapes
        stream = cuda.streams[stream_handle]
        if stream.captured is not None and faults.empty_graph:
            return True

        def tensor(name: str) -> np.ndarray:
            n_bytes = 4 * int(np.prod(shapes[name]))
            return cuda.view(addresses[name], n_bytes).view(np.float32).reshape(shapes[name])

        def work() -> None:
            for name, values in self.engine.compute(tensor(self.engine.input).copy()).items():
                tensor(name)[...] = values

        cuda.enqueue(stream, work)
        return True


class _Inspector(_Nothing):
    def __init__(self, machine: _Machine, engine: _Engine) -> None:
        self.machine, self.engine = machine, engine
        self.execution_context: Any = None

    def get_engine_information(self, format: Any) -> str:
        """Spell types as 8.6 and as 10 and 11 do; without shapes or details they are not told."""
        assert format == self.machine.enums["LayerInformationFormat"].JSON
        if not self.engine.plan["detailed"]:
            return json.dumps({"Layers": ["conv 1", "conv 2"], "Bindings": ["frames"]})
        graph = onnx.load_from_string(self.engine.model).graph
        types = {t.name: t.data_type for t in graph.initializer}
        old = self.machine.api["version"].startswith("8.")
        spelt = {
            1: "Row major linear FP32" if old else "Float",
            10: "Two wide channel vectorized row major FP16 format" if old else "Half",
            16: "BFloat16",
        }
        layers = []
        for node in graph.node:
            if node.op_type == "Conv":
                kind = types[node.input[1]] if self.engine.plan["half"] else 1
                told = spelt[kind] if self.execution_context is not None else "N/A due to dynamic shapes"
                layers.append(
                    {
                        "Name": node.name,
                        "LayerType": "CaskConvolution",
                        "Inputs": [{"Name": node.input[0], "Format/Datatype": told}],
                        "Outputs": [{"Name": node.output[0], "Format/Datatype": told}],
                        "ParameterType": "Convolution",
                    }
                )
            else:
                layers.append({"Name": node.name, "LayerType": "PointWiseV2", "Inputs": [], "Outputs": []})
        return json.dumps({"Layers": layers, "Bindings": ["frames"]})


_BEHAVIOUR: dict[str, type] = {
    "Builder": _Builder, "INetworkDefinition": _Network, "ILayer": _Layer, "ITensor": _Tensor,
    "IBuilderConfig": _Config, "IOptimizationProfile": _Profile, "OnnxParser": _Parser,
    "ParserError": _ParserError, "Runtime": _Runtime, "ICudaEngine": _Engine, "IExecutionContext": _Context,
    "EngineInspector": _Inspector, "ILogger": _Logger, "IProgressMonitor": _Nothing,
}  # fmt: skip
