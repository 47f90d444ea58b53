"""Record what TensorRT's own Python bindings offer, from several of its versions, as JSON beside this file.

The bindings are small wheels; what they bind (libnvinfer, gigabytes, needs a GPU to do anything) is replaced by
empty libraries that satisfy the loader and are never called. So every name, signature and enumeration below comes
from the real bindings, and none of it from memory. Needs Linux, CPython 3.11 and a C compiler::

    python -m tests.pipeline.tensorrt_api.record
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

WHEELS = {
    "8.6": "tensorrt-bindings==8.6.1",
    "10.0": "tensorrt-cu12-bindings==10.0.1",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11.0": "tensorrt-cu13-bindings==11.0.0.114",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
CLASSES = (
    "Builder", "IBuilderConfig", "INetworkDefinition", "IOptimizationProfile", "IHostMemory", "IProgressMonitor",
    "OnnxParser", "ParserError", "Runtime", "ICudaEngine", "IExecutionContext", "EngineInspector", "ITensor",
    "ILogger", "Logger",
)  # fmt: skip
ENUMS = (
    "BuilderFlag", "NetworkDefinitionCreationFlag", "MemoryPoolType", "DataType", "TensorIOMode",
    "LayerInformationFormat", "ProfilingVerbosity",
)  # fmt: skip
HERE = Path(__file__).parent
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (17, 24, 27, 28)] + ["manylinux2014_x86_64"]


def main() -> None:
    """Record every version, each in an interpreter of its own."""
    for name, requirement in WHEELS.items():
        with tempfile.TemporaryDirectory() as folder:
            bindings = unpack(requirement, Path(folder))
            stand_in_for_libraries(bindings / "tensorrt.so", bindings)
            command = [sys.executable, "-c", f"import {__name__ if __package__ else 'record'} as r; r.dump()"]
            if __package__:
                command[2] = f"import {__package__}.record as r; r.dump()"
            api = subprocess.run(
                command, env={"PYTHONPATH": f"{folder}:{Path.cwd()}"}, check=True, capture_output=True, text=True
            ).stdout
        (HERE / f"{name}.json").write_text(json.dumps(json.loads(api), indent=1, sort_keys=True) + "\n")
        print(f"{requirement} → {name}.json")


def unpack(requirement: str, folder: Path) -> Path:
    """Download one wheel and unpack it; returns the folder of the bindings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.11", "--implementation", "cp", "--dest", str(folder), requirement]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run(command, check=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder / "tensorrt_bindings"


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


def dump() -> None:
    """Print the API of the bindings on the path."""
    import tensorrt_bindings as trt

    print(
        json.dumps(
            {
                "version": trt.__version__,
                "module": sorted(name for name in dir(trt) if not name.startswith("_")),
                "enums": {name: sorted(getattr(trt, name).__members__) for name in ENUMS if hasattr(trt, name)},
                "classes": {name: members(getattr(trt, name)) for name in CLASSES if hasattr(trt, name)},
            }
        )
    )


def members(kind: type) -> dict[str, list[str] | str]:
    """Return a class' methods with their signatures, and its properties."""
    found: dict[str, list[str] | str] = {}
    for name in dir(kind):
        if name.startswith("_") and name != "__init__":
            continue
        member = getattr(kind, name)
        found[name] = signatures(name, member.__doc__ or "") if callable(member) else "property"
    return found


def signatures(name: str, doc: str) -> list[str]:
    """Return the signatures, one for each overload, without the modules' names."""
    lines = [line for line in doc.splitlines() if re.match(rf"(\d+\. )?{name}\(", line)]
    overloads = [line for line in lines if not line.endswith("(*args, **kwargs)")]
    return [re.sub(r"(\d+\. )|tensorrt(_bindings)?\.(tensorrt\.)?", "", line) for line in overloads]


if __name__ == "__main__":
    main()
