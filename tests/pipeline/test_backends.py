"""Each backend against the suite, and all of them against ONNX Runtime."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import Backend, BatchShape, NetworkOutput, make_backend
from pipeline.backends.openvino_backend import OpenVinoBackend
from pipeline.backends.openvino_precision import convolution_seconds, fastest_precision
from pipeline.backends.quiet_openvino import shared_core
from pipeline.networks import Networks, find_networks
from pipeline.particle_networks import AnyNetworks
from streamer.errors import BackendError, UsageError
from tests.pipeline.backend_suite import BackendSuite
from tests.pipeline.reference import SHAPE, frames, reference, shipped  # noqa: F401  fixtures
from tests.pipeline.tiny_networks import MATERIAL, write_networks


class TestOpenVino(BackendSuite):
    name = "openvino"

    def make(self, networks: AnyNetworks) -> Backend:
        return make_backend("openvino", networks)


class TestOpenVinoFloat32(BackendSuite):
    name = "openvino"

    def make(self, networks: AnyNetworks) -> Backend:
        return OpenVinoBackend(networks, threads=1, precision="f32")


class TestTorch(BackendSuite):
    name = "torch"

    def make(self, networks: AnyNetworks) -> Backend:
        pytest.importorskip("torch", reason="PyTorch is optional at run time")
        return make_backend("torch", networks, threads=1)


class TestNull(BackendSuite):
    name = "null"
    answers = False

    def make(self, networks: AnyNetworks) -> Backend:
        return make_backend("null", networks)


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda n: OpenVinoBackend(n, precision="f32"), 1e-3),
        (lambda n: OpenVinoBackend(n, precision="bf16"), 0.2),
        (lambda n: make_backend("torch", n, threads=1), 1e-3),
    ],
    ids=["openvino f32", "openvino bf16", "torch"],
)
def test_parity(
    make: Callable[[Networks], Backend],
    tolerance: float,
    shipped: Networks,  # noqa: F811
    frames: NDArray[np.float32],  # noqa: F811
    reference: NetworkOutput,  # noqa: F811
) -> None:
    """All pixels of all outputs, in units of each output's own spread; bf16 keeps eight bits of a number.

    Not compared: columns found (tests of the analyser do that) and speed.
    """
    with closing(make(shipped)) as backend:
        backend.load(SHAPE)
        backend.submit(frames)
        output = backend.collect()
        for name in ("denoised", "column_probability", "count_logits"):
            got, expected = getattr(output, name), getattr(reference, name)
            assert got.shape == expected.shape
            spread = expected.std()
            assert spread > 0
            worst = np.abs(got - expected).max() / spread
            assert worst < tolerance, f"{name} is off by {worst:.2g} of its spread"


def test_an_unknown_backend_is_a_usage_error(tiny_networks: Networks) -> None:
    with pytest.raises(UsageError, match="'onnx'; choose auto or one of openvino"):
        make_backend("onnx", tiny_networks)


def test_a_backend_that_is_not_installed_is_named(tiny_networks: Networks) -> None:
    with pytest.raises(BackendError, match=r"tensorrt backend needs .*, which is not installed"):
        make_backend("tensorrt", tiny_networks)


def test_networks_may_answer_with_coarser_counts(tmp_path: Path) -> None:
    networks = find_networks(write_networks(tmp_path, coarse_logits=True), MATERIAL)
    for name in ("openvino", "torch"):
        with closing(make_backend(name, networks, threads=1)) as backend:
            backend.load(BatchShape(1, 64, 32))
            backend.submit(np.zeros((1, 2, 64, 32), np.float32))
            assert backend.collect().count_logits.shape == (1, networks.max_count, 32, 16)


def test_torch_refuses_an_operator_it_does_not_know(tmp_path: Path) -> None:
    import onnx

    folder = write_networks(tmp_path)
    model = onnx.load(folder / f"{MATERIAL}_heights.onnx")
    model.graph.node[1].op_type = "Celu"
    del model.graph.node[1].input[1:]
    onnx.save(model, folder / f"{MATERIAL}_heights.onnx")
    with closing(make_backend("torch", find_networks(folder, MATERIAL))) as backend:
        with pytest.raises(BackendError, match="no PyTorch counterpart here for Celu"):
            backend.load(BatchShape(1, 32, 32))


def test_openvino_reports_to_nobody() -> None:
    """In a fresh process: no telemetry thread, and its package is not loaded."""
    program = (
        "import sys, threading; import pipeline.backends.openvino_backend;"
        "print(sys.modules.get('openvino_telemetry'), threading.active_count())"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["None", "1"]


def test_openvino_measures_which_precision_is_faster() -> None:
    """Judged by the same measurement taken again, with room for what else the machine does."""
    chosen = fastest_precision()
    seconds = convolution_seconds(shared_core())
    assert seconds[chosen] < 2 * min(seconds.values())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals on stacks of their own")
def test_a_signal_is_survived_after_a_backend_was_collected_in_another_thread() -> None:
    """OpenVINO frees the stack that it gave the first thread for signals (on processors with AMX)."""
    program = """
import os, signal, threading, time
from pipeline.backends import BatchShape, make_backend
from pipeline.networks import find_networks

def backend():
    made = make_backend("openvino", find_networks(None, "ceria"), 1)
    made.load(BatchShape(1, 64, 64))
    return made

signals = []
signal.signal(signal.SIGUSR1, lambda number, frame: signals.append(number))
held = [backend()]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.1)
print(len(signals))
"""
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (seen.returncode, seen.stdout) == (0, "1\n"), seen.stderr
