"""Record what TensorRT's own Python bindings and CuPy offer, version by version, as JSON beside this file.

TensorRT's bindings are small wheels; what they bind (libnvinfer, gigabytes, useless without a GPU) is
replaced by empty libraries that satisfy the loader and are never called. CuPy imports without a GPU. So every
name, signature and enumeration comes from the real packages, and none of it from memory. Needs Linux, CPython
3.11 and a C compiler::

    python -m tests.pipeline.cuda_api.record
"""

import inspect
import json
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

WHEELS = {
    "8.6": "tensorrt-bindings==8.6.1",
    "10.0": "tensorrt-cu12-bindings==10.0.1",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11.0": "tensorrt-cu13-bindings==11.0.0.114",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
CUPY = ("cupy-cuda13x==14.2.0", "cuda-pathfinder")
CLASSES = (
    "Builder", "IBuilderConfig", "INetworkDefinition", "ILayer", "IOptimizationProfile", "IHostMemory",
    "IProgressMonitor", "OnnxParser", "ParserError", "Runtime", "ICudaEngine", "IExecutionContext",
    "EngineInspector", "ITensor", "ILogger",
)  # fmt: skip
ENUMS = (
    "BuilderFlag", "NetworkDefinitionCreationFlag", "DataType", "LayerType", "LayerInformationFormat",
    "ProfilingVerbosity", "TacticSource",
)  # fmt: skip
CUPY_CLASSES = (
    "ndarray", "cuda.Stream", "cuda.Event", "cuda.Graph", "cuda.MemoryPointer", "cuda.MemoryPool",
    "cuda.runtime.CUDARuntimeError",
)  # fmt: skip
SIGNATURE_OF_CYTHON = re.compile(r"\w+(\([^()]*\))")
HERE = Path(__file__).parent
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (17, 24, 27, 28)] + ["manylinux2014_x86_64"]


def main() -> None:
    """Record every version, each in an interpreter of its own."""
    for name, requirement in WHEELS.items():
        with tempfile.TemporaryDirectory() as folder:
            unpack(Path(folder), requirement)
            bindings = Path(folder) / "tensorrt_bindings"
            stand_in_for_libraries(bindings / "tensorrt.so", bindings)
            record("dump_tensorrt", folder, name)
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder), *CUPY)
        record("dump_cupy", folder, "cupy")


def record(function: str, folder: str, name: str) -> None:
    """Run one of the functions below with `folder` on the path, and keep what it prints."""
    command = [sys.executable, "-c", f"from tests.pipeline.cuda_api import record; record.{function}()"]
    path = {"PYTHONPATH": f"{folder}:{Path.cwd()}"}
    api = json.loads(subprocess.run(command, env=path, check=True, capture_output=True, text=True).stdout)
    (HERE / f"{name}.json").write_text(json.dumps(api, indent=1, sort_keys=True) + "\n")
    print(f"{name}.json: {api['version']}")


def unpack(folder: Path, *requirements: str) -> None:
    """Download wheels and unpack them into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.11", "--implementation", "cp", "--dest", str(folder), *requirements]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run(command, check=True)
    for path in folder.glob("*.whl"):
        with ZipFile(path) as wheel:
            wheel.extractall(folder)


def stand_in_for_libraries(extension: Path, folder: Path) -> None:
    """Write an empty library for each of NVIDIA's that `extension` asks for; every function returns 0."""
    dynamic = subprocess.run(["readelf", "-d", extension], check=True, capture_output=True, text=True).stdout
    undefined = subprocess.run(
        ["nm", "-D", "--undefined-only", extension], check=True, capture_output=True, text=True
    ).stdout
    theirs = [s for s in re.findall(r"U (\w+)$", undefined, re.M) if re.search(r"(?i)nv|infer|plugin", s)]
    source = folder / "empty.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in theirs))
    for library in re.findall(r"\[(libnv[^\]]+)\]", dynamic):
        command = ["cc", "-shared", "-fPIC", "-o", folder / library, f"-Wl,-soname,{library}", source]
        subprocess.run(command, check=True)


def dump_tensorrt() -> None:
    """Print the API of the TensorRT bindings on the path."""
    trt: Any = import_module("tensorrt_bindings")
    api = {
        "version": trt.__version__,
        "module": sorted(name for name in dir(trt) if not name.startswith("_")),
        "enums": {name: list(getattr(trt, name).__members__) for name in ENUMS if hasattr(trt, name)},
        "classes": {name: members(getattr(trt, name)) for name in CLASSES if hasattr(trt, name)},
    }
    api["enums"]["ILogger.Severity"] = list(trt.ILogger.Severity.__members__)
    print(json.dumps(api))


def dump_cupy() -> None:
    """Print the API of the CuPy on the path."""
    cupy: Any = import_module("cupy")
    runtime = cupy.cuda.runtime
    api = {
        "version": cupy.__version__,
        "module": sorted(name for name in dir(cupy) if not name.startswith("_")),
        "cuda": sorted(name for name in dir(cupy.cuda) if not name.startswith("_")),
        "fft": sorted(name for name in dir(cupy.fft) if not name.startswith("_")),
        "functions": {**functions(cupy, ""), **functions(cupy.fft, "fft."), **functions(cupy.cuda, "cuda.")},
        "runtime": {n: signatures(n, getattr(runtime, n).__doc__ or "") for n in dir(runtime) if n[0] != "_"},
        "classes": {name: members(resolve(cupy, name)) for name in CUPY_CLASSES},
    }
    print(json.dumps(api))


def functions(module: Any, prefix: str) -> dict[str, str]:
    """Return the signatures of a module's functions by name; "ufunc" where it is one."""
    found = {}
    for name in dir(module):
        member = getattr(module, name)
        if name.startswith("_") or isinstance(member, type) or not callable(member):
            continue
        if type(member).__name__ == "ufunc":
            found[prefix + name] = "ufunc"
        elif text := SIGNATURE_OF_CYTHON.match(member.__doc__ or ""):
            found[prefix + name] = text[1]
        else:
            with suppress(ValueError, TypeError):
                found[prefix + name] = re.sub(r"<[^>]*>", "None", str(inspect.signature(member)))
    return found


def resolve(module: Any, name: str) -> Any:
    """Return the attribute with a dotted name."""
    for part in name.split("."):
        module = getattr(module, part)
    return module


def members(kind: type) -> dict[str, list[str] | str]:
    """Return a class' methods with their signatures, and its properties."""
    found: dict[str, list[str] | str] = {}
    for name in dir(kind):
        if name.startswith("_") and name not in ("__init__", "__enter__"):
            continue
        member = getattr(kind, name)
        found[name] = signatures(name, member.__doc__ or "") if callable(member) else "property"
    return found


def signatures(name: str, doc: str) -> list[str]:
    """Return the signatures, one for each overload, without the names of modules."""
    lines = [line for line in doc.splitlines() if re.match(rf"(\d+\. )?(_?\w+\.)?{name}\(", line)]
    overloads = [line for line in lines if not line.endswith("(*args, **kwargs)")]
    return [re.sub(r"^(\d+\. )|tensorrt(_bindings)?\.(tensorrt\.)?", "", line) for line in overloads]


if __name__ == "__main__":
    main()
