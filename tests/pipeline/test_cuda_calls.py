"""Every use of a CUDA library's objects in our source, read from the source: none escapes this list.

`test_cuda_api` checks the names of modules; here are methods and properties of their objects, and what is
handed to them. Each variable in the CUDA modules that has a dotted name is either a library's object, and
then listed with its class, or our own, and then listed as such: a new one fails until it is placed.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.tensorrt_double import FOLDER, VERSIONS

PIPELINE = Path(__file__).parents[2] / "pipeline"
FILES = sorted(path for name in ("tensorrt_*.py", "cuda_*.py") for path in (PIPELINE / "backends").glob(name))

TENSORRT = {
    "builder": "Builder", "definition": "INetworkDefinition", "network_of_trt": "INetworkDefinition",
    "parser": "OnnxParser", "config": "IBuilderConfig", "profile": "IOptimizationProfile",
    "layer": "ILayer", "layer.get_output(0)": "ITensor", "parser.get_error(i)": "ParserError",
    "self._runtime": "Runtime", "engine": "ICudaEngine", "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext", "inspector": "EngineInspector",
}  # fmt: skip
CUPY = {
    "stream": "cuda.Stream", "self._stream": "cuda.Stream", "self._compute": "cuda.Stream",
    "self._upload": "cuda.Stream", "self._download": "cuda.Stream", "self._caller": "cuda.Stream",
    "self._cupy.cuda.get_current_stream()": "cuda.Stream", "self._cupy.cuda.Stream.null": "cuda.Stream",
    "buffers.uploaded": "cuda.Event", "buffers.computed": "cuda.Event", "buffers.downloaded": "cuda.Event",
    "copied": "cuda.Event", "self._copying[0][1]": "cuda.Event", "graph": "cuda.Graph",
    "buffers.graph": "cuda.Graph", "buffers.frames": "ndarray", "output": "ndarray", "array": "ndarray",
    "image": "ndarray", "self._patches": "ndarray", "self._logits": "ndarray", "batch": "ndarray",
    "buffers.frames.data": "cuda.MemoryPointer", "output.data": "cuda.MemoryPointer",
    "array.data": "cuda.MemoryPointer", "self._patches.data": "cuda.MemoryPointer",
    "self._logits.data": "cuda.MemoryPointer", "batch.data": "cuda.MemoryPointer",
    "frames.data": "cuda.MemoryPointer", "frames": "ndarray",
    "cupy.isnan(output)": "ndarray", "self._cupy.get_default_memory_pool()": "cuda.MemoryPool",
}  # fmt: skip
IN_FILES = {
    "tensorrt_api.py": {"network": "INetworkDefinition", "layer": "ILayer", "config": "IBuilderConfig"},
}
"""Variables that mean something else in other files."""
OURS = {
    "self", "logging", "time", "json", "re", "os", "sys", "platform", "tempfile", "hashlib", "ctypes", "math",
    "np", "trt", "cupy", "self._cupy", "self._trt", "network", "network.path", "shape", "shapes", "file",
    "path", "key", "folder", "content", "log", "_log", "self._log", "error", "status", "count", "driver",
    "layer_types", "found", "weights", "spelling", "text", "information", "buffers", "runner", "header",
    "pixels", "dtype", "runtime", "memory", "self._turns", "self._in_flight", "self._runners", "self._link",
    "self._engines", "self._networks", "self._used_link", "self.device", "self.outputs", "self._free",
    "self._copying", "self.errors", "self.steps", "severity", "kinds", "sources", "level", "parts", "names",
    "arrays", "outputs", "_SPELLINGS",
    "_WEIGHTED", "t", "engines", "name", "buffers.outputs", "buffers.host", "cls", "head", "engine.bytes",
    "lock", "path.parent", "paths", "pinned", "told",
}  # fmt: skip


ONLY_SOME = {("IBuilderConfig", "progress_monitor"): {"10.0", "10.16", "11.0", "11.4"}} | {
    ("ILayer", "precision"): {"8.6", "10.0", "10.16"}
}
"""Behind a branch of `pipeline.backends.tensorrt_api`, and where they exist."""
OF_INSTANCES = {("cuda.Stream", "ptr")}
"""Set by CuPy's constructors, so that the classes do not have them: documented, "raw stream handle"."""


def uses(path: Path) -> Iterator[tuple[str, str, ast.Call | None]]:
    """Yield what stands before and after each dot, and the call if it is one."""
    tree = ast.parse(path.read_text())
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load | ast.Store):
            yield ast.unparse(node.value), node.attr, calls.get(id(node))


def library_uses() -> Iterator[tuple[Path, str, str, str, ast.Call | None]]:
    """Yield file, library, class, member and call."""
    for path in FILES:
        own = IN_FILES.get(path.name, {})
        theirs = {**TENSORRT, **own}
        for owner, member, call in uses(path):
            if path.name.startswith("tensorrt_") and owner in theirs and owner not in ours_in(path):
                yield path, "tensorrt", theirs[owner], member, call
            elif owner in CUPY and owner not in ours_in(path):
                yield path, "cupy", CUPY[owner], member, call


def ours_in(path: Path) -> set[str]:
    """Return names that a file uses for something of our own."""
    return {
        "tensorrt_cache.py": {"engine"},
        "tensorrt_backend.py": {"frames", "output"},
        "tensorrt_engines.py": {"engine"},
        "tensorrt_inspect.py": {"layer"},
    }.get(path.name, set())


def parameters_of(signature: str) -> list[inspect.Parameter]:
    """Read ``name(self: X, a: int, *, b=(1, 2), **more) -> Y``."""
    kind, found = inspect.Parameter.POSITIONAL_OR_KEYWORD, []
    for part in top_level_parts(signature[signature.index("(") + 1 :]):
        name = re.split(r"[:=]", part)[0].split()[-1]
        if part in ("*", "/"):
            kind = inspect.Parameter.KEYWORD_ONLY if part == "*" else kind
        elif name.startswith("**"):
            found.append(inspect.Parameter(name[2:], inspect.Parameter.VAR_KEYWORD))
        elif name.startswith("*"):
            found.append(inspect.Parameter(name[1:], inspect.Parameter.VAR_POSITIONAL))
        elif name not in ("self", "cls"):
            default = 0 if "=" in part else inspect.Parameter.empty
            found.append(inspect.Parameter(name, kind, default=default))
    return found


def top_level_parts(text: str) -> list[str]:
    """Split at commas outside of brackets, up to the bracket that closes the whole."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            break
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def bound(signature: str, call: ast.Call) -> bool:
    """Whether a call fits a signature, by number and names of arguments."""
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return True  # how many there are is not in the source
    try:
        inspect.Signature(parameters_of(signature)).bind(
            *call.args, **{str(k.arg): k.value for k in call.keywords}
        )
    except TypeError:
        return False
    return True


def test_no_object_is_without_a_place() -> None:
    strangers = {
        (path.name, owner)
        for path in FILES
        for owner, _, _ in uses(path)
        if re.fullmatch(r"[a-z_][\w.]*", owner)
        and owner not in {*TENSORRT, *CUPY, *OURS, *IN_FILES.get(path.name, {})}
        and not owner.startswith(("trt.", "self._trt.", "cupy.", "self._cupy.", "os.", "self.", "sources."))
    }
    assert not strangers


@pytest.mark.parametrize("version", VERSIONS)
def test_every_call_of_tensorrt_fits_its_bindings(version: str) -> None:
    classes = json.loads((FOLDER / f"{version}.json").read_text())["classes"]
    seen = set()
    for path, library, kind, member, call in library_uses():
        if library != "tensorrt":
            continue
        known = classes[kind].get(member)
        if (kind, member) in ONLY_SOME:
            assert bool(known) == (version in ONLY_SOME[kind, member]), f"{kind}.{member}"
            continue
        assert known, f"{path.name}: TensorRT {version} has no {kind}.{member}"
        seen.add((kind, member))
        if call is not None:
            assert any(bound(s, call) for s in known), f"{path.name}: {ast.unparse(call)}: {known}"
    assert seen >= {
        ("IExecutionContext", "execute_async_v3"), ("IExecutionContext", "set_tensor_address"),
        ("IExecutionContext", "set_input_shape"), ("ICudaEngine", "create_engine_inspector"),
        ("Builder", "build_serialized_network"), ("IBuilderConfig", "add_optimization_profile"),
        ("OnnxParser", "parse"), ("EngineInspector", "get_engine_information"),
        ("INetworkDefinition", "get_layer"), ("ITensor", "dtype"), ("ILayer", "type"),
        ("Runtime", "deserialize_cuda_engine"), ("IOptimizationProfile", "set_shape"),
        ("IBuilderConfig", "set_tactic_sources"), ("ParserError", "desc"),
    }  # fmt: skip
    assert len(seen) >= 30


def test_every_call_of_cupy_s_objects_fits() -> None:
    classes = json.loads((FOLDER / "cupy.json").read_text())["classes"]
    seen = set()
    for path, library, kind, member, call in library_uses():
        if library != "cupy":
            continue
        seen.add((kind, member))
        if (kind, member) in OF_INSTANCES:
            continue
        known = classes[kind].get(member)
        assert known, f"{path.name}: CuPy has no {kind}.{member}"
        seen.add((kind, member))
        if call is not None and known != "property":
            assert any(bound(s, call) for s in known), f"{path.name}: {ast.unparse(call)}: {known}"
    assert seen >= {
        ("cuda.Stream", "begin_capture"), ("cuda.Stream", "end_capture"), ("cuda.Stream", "wait_event"),
        ("cuda.Stream", "ptr"), ("cuda.Event", "synchronize"), ("cuda.Graph", "launch"), ("ndarray", "set"),
        ("ndarray", "get"), ("cuda.MemoryPointer", "copy_from_device_async"),
        ("cuda.MemoryPointer", "memset_async"), ("cuda.MemoryPool", "free_all_blocks"),
    }  # fmt: skip


def module_calls(prefixes: tuple[str, ...], paths: list[Path]) -> Iterator[tuple[Path, str, ast.Call]]:
    for path in paths:
        for owner, member, call in uses(path):
            name = f"{owner}.{member}"
            prefix = next((p for p in prefixes if name.startswith(p)), None)
            if prefix and call is not None:
                yield path, name.removeprefix(prefix), call


def array_calls(paths: list[Path]) -> Iterator[tuple[Path, str, ast.Call]]:
    """Yield the calls of an array module's functions, and of its transforms by `transforms_of`."""
    yield from module_calls(("xp.", "self._xp."), paths)
    for path, name, call in module_calls(("fft.",), paths):
        yield path, f"fft.{name}", call


def test_every_function_of_the_array_module_is_called_as_both_know_it() -> None:
    """Keywords and number of arguments of ``xp.…``: what only one of NumPy and CuPy takes is refused."""
    functions = json.loads((FOLDER / "cupy.json").read_text())["functions"]
    seen = set()
    for path, name, call in array_calls(sorted(PIPELINE.rglob("*.py"))):
        signature: Any = functions.get(name)
        if signature is None or name == "asnumpy":
            continue  # a type or a constant: its name is checked elsewhere
        seen.add(name)
        if signature == "ufunc":
            assert len(call.args) <= 3, f"{path.name}: {ast.unparse(call)}"
            assert {k.arg for k in call.keywords} <= {"out", "dtype", "casting"}, ast.unparse(call)
        else:
            assert bound(signature, call), f"{path.name}: {ast.unparse(call)}: CuPy has {name}{signature}"
        assert hasattr(np.fft if name.startswith("fft.") else np, name.removeprefix("fft.")), name
    assert seen >= {"median", "stack", "pad", "take", "fft.irfft2", "clip", "where", "full", "argmax"} - {
        "argmax"
    }
    assert len(seen) >= 25


def test_cupy_s_own_functions_are_called_as_it_knows_them() -> None:
    api = json.loads((FOLDER / "cupy.json").read_text())
    seen = set()
    for path, name, call in module_calls(("cupy.", "self._cupy."), FILES):
        part, _, member = name.rpartition(".")
        if name in api["functions"]:
            known = [api["functions"][name]]
        elif name in api["classes"]:
            known = api["classes"][name]["__init__"]
        elif part == "cuda.runtime":
            known = api["runtime"][member]
        else:
            continue
        seen.add(name)
        fits = [k for k in known if k == "ufunc" or bound(k, call)]
        assert fits or not known, f"{path.name}: {ast.unparse(call)}: {known}"
    assert seen >= {"cuda.Stream", "cuda.Event", "cuda.alloc_pinned_memory", "zeros", "isnan"}
