"""The TensorRT backend on the double: every backend's suite, each version, and many orders of events."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipeline.backends import IN_FLIGHT, Backend, BatchShape, NetworkOutput
from pipeline.backends.checks import check_output
from pipeline.backends.cuda_errors import cuda_errors
from pipeline.backends.tensorrt_backend import TensorRtBackend
from pipeline.networks import Networks
from pipeline.particle_networks import AnyNetworks
from streamer.errors import BackendError, DeviceLostError
from tests.pipeline.backend_suite import SHAPE, BackendSuite, batch, give, take
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.tensorrt_double import VERSIONS, Faults, make_tensorrt


class Machine:
    """A machine with the double of one version installed."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, version: str = "11.4", **draw: Any
    ) -> None:
        self.cuda = CudaDouble(**draw)
        self.faults = Faults()
        self.folder = folder
        monkeypatch.setitem(sys.modules, "cupy", make_cupy(self.cuda))
        monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(self.cuda, version, self.faults))

    def backend(self, networks: AnyNetworks, **options: Any) -> TensorRtBackend:
        return TensorRtBackend(networks, engines=self.folder, **options)


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


class _OnDouble(BackendSuite):
    name = "tensorrt"
    version = "11.4"
    options: ClassVar[dict[str, Any]] = {}
    draw: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch: pytest.MonkeyPatch, engines: Path) -> Iterator[None]:
        self.machine = Machine(monkeypatch, engines, self.version, **self.draw)
        yield
        assert self.machine.cuda.live_bytes == 0, "device or pinned memory was left behind"

    def make(self, networks: AnyNetworks) -> Backend:
        return self.machine.backend(networks, **self.options)


class TestOnDevice(_OnDouble):
    pass


class TestFromHost(_OnDouble):
    options: ClassVar[dict[str, Any]] = {"on_device": False}


class TestFromHostLazily(_OnDouble):
    options: ClassVar[dict[str, Any]] = {"on_device": False}
    draw: ClassVar[dict[str, Any]] = {"lazy": True}


class TestWithoutGraphs(_OnDouble):
    options: ClassVar[dict[str, Any]] = {"graphs": False}


class TestFloat32(_OnDouble):
    options: ClassVar[dict[str, Any]] = {"precision": "f32"}


class TestVersion86(_OnDouble):
    version = "8.6"


class TestVersion10(_OnDouble):
    version = "10.0"
    options: ClassVar[dict[str, Any]] = {"on_device": False}


class TestVersion1016(_OnDouble):
    version = "10.16"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@pytest.mark.parametrize("on_device", [True, False], ids=["on the device", "from the host"])
@pytest.mark.parametrize("seed", range(8))
def test_answers_are_right_whatever_order_the_streams_take(
    seed: int,
    on_device: bool,
    tiny_networks: Networks,
    monkeypatch: pytest.MonkeyPatch,
    engines: Path,
) -> None:
    """Thirty batches, two in flight, each with other counts; a batch's memory changes once it is answered."""
    machine = Machine(monkeypatch, engines, seed=seed, lazy=seed == 0)
    with closing(machine.backend(tiny_networks, on_device=on_device)) as backend:
        backend.load(SHAPE)
        xp = backend.device.xp
        memory = [backend.device.zeros((2, 2, 64, 96)) for _ in range(IN_FLIGHT + 1)]
        for k in range(30 + IN_FLIGHT):
            if k < 30:
                memory[k % 3][...] = xp.asarray(batch((20, 30, 1 + k % 9), (40, 60, 9 - k % 9)))
                backend.submit(memory[k % 3])
            if k >= IN_FLIGHT - 1 and k - IN_FLIGHT + 1 < 30:
                output, n = take(backend), k - IN_FLIGHT + 1
                assert output.count_logits[0, :, 20, 30].argmax() == n % 9
                assert output.count_logits[1, :, 40, 60].argmax() == 8 - n % 9
                assert output.denoised[0, 20, 30] == pytest.approx(2 + (1 + n % 9) / 10, abs=0.02)
                memory[n % 3][...] = float("nan")
        assert machine.cuda.live_bytes > 0
    n_bytes = sum(m.nbytes for m in memory)
    del output
    assert machine.cuda.live_bytes == n_bytes, "the backend left memory behind"


def test_a_missing_event_would_be_noticed(
    tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch, engines: Path
) -> None:
    """What the double is worth: without the wait for the upload the answers are wrong in some order."""
    wrong = 0
    for seed in range(8):
        machine = Machine(monkeypatch, engines, seed=seed)
        with closing(machine.backend(tiny_networks, on_device=False)) as backend:
            backend.load(SHAPE)
            waits = machine.cuda.wait_event
            monkeypatch.setattr(
                machine.cuda,
                "wait_event",
                lambda stream, event, waits=waits, b=backend: (
                    stream is b._compute.stream or waits(stream, event)
                ),
            )
            for k in range(20):
                give(backend, batch((20, 30, 1 + k % 9), (40, 60, 5)))
                wrong += take(backend).count_logits[0, :, 20, 30].argmax() != k % 9
    assert wrong


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_is_built_once_for_all_that_it_depends_on(
    version: str, tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(shape: BatchShape = SHAPE, **options: Any) -> int:
        with closing(machine.backend(tiny_networks, **options)) as backend:
            backend.load(shape)
        built, machine.faults.built = len(machine.faults.built), []
        return built

    machine = Machine(monkeypatch, tmp_path, version)
    assert load() == 2
    assert load() == 0
    assert load(precision="f32") == 2
    assert load(BatchShape(1, 64, 96)) == 2
    other = Machine(monkeypatch, tmp_path, version)
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(other.cuda, "Another GPU"))
    machine = other
    assert load() == 2
    newer = Machine(monkeypatch, tmp_path, "11.0" if version != "11.0" else "11.4")
    machine = newer
    assert load() == 2


def test_a_damaged_cache_is_built_again(machine: Machine, tiny_networks: Networks) -> None:
    def built(backend: TensorRtBackend) -> int:
        with closing(backend):
            backend.load(SHAPE)
        count, machine.faults.built = len(machine.faults.built), []
        return count

    assert built(machine.backend(tiny_networks)) == 2
    paths = sorted(machine.folder.glob("*.engine"))
    paths[0].write_bytes(paths[0].read_bytes()[:-10])
    assert built(machine.backend(tiny_networks)) == 1
    paths[1].write_bytes(b"")
    assert built(machine.backend(tiny_networks)) == 1
    assert built(machine.backend(tiny_networks)) == 0
    assert sorted(machine.folder.iterdir()) == sorted([*paths, *(Path(f"{path}.lock") for path in paths)])


def test_an_engine_that_does_not_load_is_built_again(
    machine: Machine, tiny_networks: Networks, caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline.backends.tensorrt_cache import EngineKey, write_engine

    key = EngineKey.of(tiny_networks.denoise, SHAPE, "f16", "11.4.0.106", ("NVIDIA Double", "9.0"))
    write_engine(machine.folder, key, b"not a plan")
    with closing(machine.backend(tiny_networks)) as backend:
        backend.load(SHAPE)
    assert "does not load; it is built again" in caplog.text
    assert len(machine.faults.built) == 2


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    machine: Machine, tiny_networks: Networks, caplog: pytest.LogCaptureFixture
) -> None:
    machine.folder = machine.folder / "a file"
    machine.folder.write_text("")
    with closing(machine.backend(tiny_networks)) as backend:
        backend.load(SHAPE)
        give(backend, batch((20, 30, 3), (40, 60, 5)))
        assert take(backend).count_logits[0, :, 20, 30].argmax() == 2
    assert "the engine cannot be kept" in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_silent_float32_engine_is_refused(
    version: str, tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path, version)
    machine.faults.weakly_f32 = True
    with closing(machine.backend(tiny_networks)) as backend:
        with pytest.raises(BackendError, match=r"asked for in f16, but .* 1 in f32; refused"):
            backend.load(SHAPE)
    with closing(machine.backend(tiny_networks, precision="f32")) as backend:
        assert backend.load(SHAPE).precision == "f32"


def test_bfloat16_needs_tensorrt_10(
    tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(Machine(monkeypatch, tmp_path, "8.6").backend(tiny_networks, precision="bf16")) as backend:
        with pytest.raises(BackendError, match=r"8.6.1 knows no bfloat16; choose the precision f16"):
            backend.load(SHAPE)


def test_an_unknown_version_is_refused(machine: Machine, tiny_networks: Networks) -> None:
    sys.modules["tensorrt"].__version__ = "12.0.0.1"
    with pytest.raises(BackendError, match=r"TensorRT 12\.0\.0\.1 is installed, expected 8.6, 10 or 11"):
        machine.backend(tiny_networks)


def test_a_failed_build_says_why(machine: Machine, tiny_networks: Networks) -> None:
    machine.faults.build = "Could not find any implementation for node conv1."
    with closing(machine.backend(tiny_networks)) as backend:
        with pytest.raises(BackendError, match=r"tiny_denoise.onnx: Could not find any implementation"):
            backend.load(SHAPE)


def test_a_builder_that_is_not_made_says_why(machine: Machine, tiny_networks: Networks) -> None:
    machine.faults.no_device = True
    with closing(machine.backend(tiny_networks)) as backend:
        with pytest.raises(
            BackendError, match=r"cannot build engines here .*: CUDA initialization failure with error: 35"
        ):
            backend.load(SHAPE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_found_on_host_and_device(value: float) -> None:
    logits = np.zeros((1, 3, 16, 16), np.float32)
    logits[0, 1, 4, 5] = value
    image = np.ones((1, 16, 16), np.float32)
    for xp in (np, make_cupy(CudaDouble())):
        answer = [xp.asarray(part) for part in (image, image, logits)]
        with pytest.raises(BackendError, match=r"(NaN|infinity) in count_logits"):
            check_output(NetworkOutput(*answer), xp)


def test_numbers_of_cublas_are_not_taken_for_cuda_s() -> None:
    class CUBLASError(RuntimeError):
        status = 3  # CUBLAS_STATUS_ALLOC_FAILED; of CUDA's it would be a device that cannot be used

    class CompileException(Exception):
        pass

    with pytest.raises(BackendError, match="the GPU failed while adding") as caught, cuda_errors("adding"):
        raise CUBLASError("CUBLAS_STATUS_ALLOC_FAILED")
    assert not isinstance(caught.value, DeviceLostError)
    with pytest.raises(BackendError, match="cannot compile its kernels while adding: no header"):
        with cuda_errors("adding"):
            raise CompileException("no header\nmore")


def test_a_network_that_does_not_parse_says_why(machine: Machine, tiny_networks: Networks) -> None:
    machine.faults.parse = "No importer registered for op: Celu"
    with closing(machine.backend(tiny_networks)) as backend:
        with pytest.raises(BackendError, match=r"cannot read tiny_denoise.onnx: No importer registered"):
            backend.load(SHAPE)


def test_an_empty_graph_is_refused(machine: Machine, tiny_networks: Networks) -> None:
    machine.faults.empty_graph = True
    with closing(machine.backend(tiny_networks)) as backend:
        with pytest.raises(BackendError, match="captured CUDA graph is empty: it does not compute denoised"):
            backend.load(SHAPE)


def test_a_refused_start_is_noticed_and_the_next_batch_is_computed(
    machine: Machine, tiny_networks: Networks
) -> None:
    frames = batch((20, 30, 3), (40, 60, 5))
    with closing(machine.backend(tiny_networks, graphs=False)) as backend:
        backend.load(SHAPE)
        machine.faults.refuse_enqueue = {machine.faults.enqueued + 2}
        with pytest.raises(BackendError, match=r"did not start the engine of tiny_heights\.onnx"):
            give(backend, frames)
        give(backend, frames)
        assert take(backend).count_logits[0, :, 20, 30].argmax() == 2


def test_no_memory_for_the_engine(machine: Machine, tiny_networks: Networks) -> None:
    machine.faults.no_context = True
    with closing(machine.backend(tiny_networks)) as backend:
        with pytest.raises(
            BackendError, match=r"no memory for the engine of tiny_denoise\.onnx; lower --batch"
        ):
            backend.load(SHAPE)


def test_running_out_of_memory_and_going_on(machine: Machine, tiny_networks: Networks) -> None:
    with closing(machine.backend(tiny_networks)) as backend:
        machine.cuda.fails.extend([None] * 4 + [2])
        with pytest.raises(
            BackendError, match=r"ran out of memory while loading the networks .*lower --batch"
        ):
            backend.load(SHAPE)
        assert backend.load(SHAPE).backend == "tensorrt"


@pytest.mark.parametrize("on_device", [True, False])
def test_a_lost_gpu_ends_it_and_closing_still_works(
    on_device: bool, machine: Machine, tiny_networks: Networks
) -> None:
    with closing(machine.backend(tiny_networks, on_device=on_device)) as backend:
        backend.load(SHAPE)
        give(backend, batch((20, 30, 3), (40, 60, 5)))
        machine.cuda.sticky = 719
        with pytest.raises(
            DeviceLostError, match=r"the GPU was lost while computing a batch \(cudaError 719\)"
        ):
            backend.collect()


def test_progress_of_a_build_is_shown(
    machine: Machine,
    tiny_networks: Networks,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipeline.backends import tensorrt_build

    monkeypatch.setattr(tensorrt_build, "_EVERY_S", 0.0)
    with closing(machine.backend(tiny_networks)) as backend:
        backend.load(SHAPE)
    assert (
        "building the f16 engine of tiny_denoise.onnx for (2, 2, 64, 96): this takes minutes" in caplog.text
    )
    assert "building the engine of tiny_heights.onnx: Tactic search, 2 of 3" in caplog.text
    assert "built the engine of tiny_heights.onnx in 0 s" in caplog.text
