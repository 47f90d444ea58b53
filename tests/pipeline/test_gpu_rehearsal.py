"""The tests that need a GPU, run here on doubles: so that what cannot run elsewhere is at least known to run.

It shows that they are whole, that they pass where the answers are right, and nothing about a GPU. PyTorch
computes on this machine's CPU. Not rehearsed: bfloat16, and particles, which need CuPy's own labelling
(``cupyx``).
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import NetworkOutput
from pipeline.backends.cuda_device import device_count
from pipeline.backends.cuda_intake import CudaDevice
from pipeline.networks import Networks
from tests.pipeline import test_gpu
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.reference import frames, reference, shipped  # noqa: F401  fixtures
from tests.pipeline.tensorrt_double import Faults, make_tensorrt

pytestmark = pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device: see test_gpu")


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble(seed=11)
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(double))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(double, "11.4", Faults()))
    return double


@pytest.fixture
def gpu() -> CudaDevice:
    return CudaDevice(sys.modules["cupy"])


@pytest.mark.parametrize("name", [n for n in test_gpu.MAKERS if "bf16" not in n])  # no bf16 in ONNX Runtime
def test_parity(
    name: str,
    shipped: Networks,  # noqa: F811
    frames: NDArray[np.float32],  # noqa: F811
    reference: NetworkOutput,  # noqa: F811
    tmp_path: Path,
    record_property: test_gpu.Note,
) -> None:
    test_gpu.test_parity_with_onnxruntime(name, shipped, frames, reference, tmp_path, record_property)


@pytest.mark.parametrize("name", ["tensorrt f16", "torch f16"])
def test_a_movie(
    name: str,
    shipped: Networks,  # noqa: F811
    tmp_path: Path,
    record_property: test_gpu.Note,
) -> None:
    test_gpu.test_a_movie_in_half_precision(name, 256, 2, 0.99, shipped, tmp_path, record_property)


def test_graphs(
    shipped: Networks,  # noqa: F811
    frames: NDArray[np.float32],  # noqa: F811
    tmp_path: Path,
) -> None:
    test_gpu.test_tensorrt_s_graphs_change_nothing(shipped, frames, tmp_path)


@pytest.mark.parametrize(
    ("test", "values"),
    [
        (test_gpu.test_cupy_prepares_as_numpy, [0.2]),
        (test_gpu.test_cupy_prepares_as_numpy, [0.13]),
        (test_gpu.test_cupy_finds_the_columns_that_numpy_finds, []),
        (test_gpu.test_cupy_finds_no_columns_where_there_are_none, []),
        (test_gpu.test_cupy_measures_the_drift_that_numpy_measures, [0.05]),
        (test_gpu.test_cupy_measures_the_drift_that_numpy_measures, [1.2]),
        (test_gpu.test_cupy_holds_frames_steady_as_numpy, []),
        (test_gpu.test_four_threads_decode_for_cupy_what_one_decodes, []),
    ],
)
def test_arrays(test: Callable[..., None], values: list[Any], gpu: CudaDevice) -> None:
    test(*values, gpu)


def test_leaks_are_looked_for(
    tiny_networks: Networks, tmp_path: Path, record_property: test_gpu.Note
) -> None:
    test_gpu.test_many_tensorrt_batches_leave_nothing_behind(100, tiny_networks, tmp_path, record_property)


def test_a_leak_is_found(
    tiny_networks: Networks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cuda: CudaDouble,
    record_property: test_gpu.Note,
) -> None:
    kept: list[Any] = []
    collect = test_gpu.TensorRtBackend.collect

    def leaking(backend: Any) -> NetworkOutput:
        kept.append(cuda.allocate(2**15))
        return collect(backend)

    monkeypatch.setattr(test_gpu.TensorRtBackend, "collect", leaking)
    with pytest.raises(AssertionError, match="on the device"):
        test_gpu.test_many_tensorrt_batches_leave_nothing_behind(
            100, tiny_networks, tmp_path, record_property
        )


def test_a_session_without_a_gpu_says_so_and_fails(tmp_path: Path) -> None:
    """``make gpu-test`` is run to prove something: what is skipped is no proof."""
    tests = "tests/pipeline/test_gpu.py::test_cupy_holds_frames_steady_as_numpy"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-n", "1", "--gpu-results", str(tmp_path)]
    command.append(tests)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 1 tests were skipped: no proof" in done.stdout
    results = json.loads((tmp_path / "gpu-test.json").read_text())
    assert (results["passed"], results["failed"], results["skipped"]) == (0, 0, 1)
    (test,) = results["tests"].values()
    assert "NVIDIA driver" in test["why"]
    assert results["machine"]["packages"]["torch"]
