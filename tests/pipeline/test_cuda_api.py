"""Every name of TensorRT and CuPy in our source exists in the versions this program is for.

The names come from the source itself; what exists was read from the real packages (``cuda_api``). Methods of
objects are checked where they are called: the doubles have none that the real classes lack.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.tensorrt_double import FOLDER, VERSIONS

PIPELINE = Path(__file__).parents[2] / "pipeline"
ONLY_SOME_VERSIONS = {
    "BuilderFlag.FP16": {"8.6", "10.0", "10.16"},
    "BuilderFlag.PREFER_PRECISION_CONSTRAINTS": {"8.6", "10.0", "10.16"},
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": {"8.6", "10.0", "10.16"},
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": {"10.0", "10.16", "11.0", "11.4"},
    "IProgressMonitor": {"10.0", "10.16", "11.0", "11.4"},
}
"""Names behind a branch of `pipeline.backends.tensorrt_api`, and where they exist."""
LOCAL_NAMES = {"kinds": ("NetworkDefinitionCreationFlag", "LayerType"), "severity": ("ILogger.Severity",)}
"""Variables of that module that stand for a part of TensorRT's."""


def chains(path: Path) -> Iterator[str]:
    """Yield each dotted name in a file, the longest of nested ones: ``trt.BuilderFlag.TF32``."""
    tree = ast.parse(path.read_text())
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            yield ast.unparse(node)


def names_after(prefixes: tuple[str, ...], paths: list[Path]) -> set[str]:
    """Return what follows one of `prefixes` in the dotted names of these files."""
    return {
        name.removeprefix(prefix)
        for path in paths
        for name in chains(path)
        for prefix in prefixes
        if name.startswith(prefix) and name.replace(".", "").replace("_", "").isalnum()
    }


def tensorrt_names() -> set[str]:
    paths = sorted((PIPELINE / "backends").glob("tensorrt_*.py"))
    names = {n for n in names_after(("trt.", "self._trt."), paths) if "__" not in n}
    for variable, parts in LOCAL_NAMES.items():
        for member in names_after((f"{variable}.",), [PIPELINE / "backends" / "tensorrt_api.py"]):
            names |= {f"{part}.{member}" for part in parts if known_somewhere(f"{part}.{member}")}
    return names


def exists(name: str, version: str) -> bool:
    api = json.loads((FOLDER / f"{version}.json").read_text())
    part, _, member = name.rpartition(".")
    if part in api["enums"]:
        return member in api["enums"][part]
    if part in api["classes"]:
        return member in api["classes"][part]
    return member in api["module"]


def known_somewhere(name: str) -> bool:
    return any(exists(name, version) for version in VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_of_tensorrt_exists(version: str) -> None:
    names = tensorrt_names()
    assert {"Builder", "OnnxParser", "Runtime", "BuilderFlag.TF32", "ProfilingVerbosity.DETAILED"} <= names
    assert names >= ONLY_SOME_VERSIONS.keys()
    for name in names - ONLY_SOME_VERSIONS.keys() - {"DataType.BF16"}:
        assert exists(name, version), f"TensorRT {version} has no {name}"
    for name, versions in ONLY_SOME_VERSIONS.items():
        assert exists(name, version) == (version in versions), name


def test_every_name_of_cupy_exists() -> None:
    api = json.loads((FOLDER / "cupy.json").read_text())
    names = names_after(("cupy.", "self._cupy."), sorted((PIPELINE / "backends").glob("*.py")))
    assert {"cuda.Stream", "cuda.alloc_pinned_memory", "cuda.runtime.getDeviceProperties"} <= names
    for name in names:
        part, _, member = name.rpartition(".")
        streams = api["classes"]["cuda.Stream"]
        places = {"cuda": api["cuda"], "cuda.runtime": api["runtime"], "cuda.Stream": streams}
        places |= {"": api["module"], "cuda.Stream.null": streams}
        assert member in places[part], f"CuPy {api['version']} has no {name}"


def test_every_array_function_exists_in_cupy_and_numpy() -> None:
    import numpy as np

    api = json.loads((FOLDER / "cupy.json").read_text())
    paths = sorted(PIPELINE.rglob("*.py"))
    names = names_after(("xp.", "self._xp."), paths) - {"__name__", "asnumpy"}
    names |= {f"fft.{name}" for name in names_after(("fft.",), paths)}  # of `transforms_of`
    assert {"flatnonzero", "median", "stack", "fft.rfft2"} <= names
    for name in names:
        part, _, member = name.rpartition(".")
        ours, theirs = (np.fft, api["fft"]) if part == "fft" else (np, api["module"])
        assert member in theirs, f"CuPy {api['version']} has no {name}"
        assert hasattr(ours, member) or name == "fft", f"NumPy has no {name}"
