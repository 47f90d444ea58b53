"""Which backend a run gets: by what is there, with the reason; and another only if that is allowed."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.backends import BatchShape, choice, start_backend
from pipeline.backends.cuda_device import device_count, why_no_device
from pipeline.cli import main
from pipeline.networks import Networks
from streamer.config import AnalysisConfig
from streamer.errors import BackendError, DeviceLostError, UsageError
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.tensorrt_double import Faults, make_tensorrt

SHAPE = BatchShape(1, 32, 32)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A machine with a GPU, TensorRT and CuPy."""
    faults, cuda = Faults(), CudaDouble()
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(cuda))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(cuda, "10.16", faults))
    monkeypatch.setattr(choice, "why_no_device", lambda: "")
    monkeypatch.setattr(choice, "find_spec", lambda name: name)
    monkeypatch.setattr(choice, "_torch_has_cuda", lambda: True)
    return faults


def started(networks: Networks, config: AnalysisConfig) -> tuple[str, str]:
    backend, info = start_backend(config, networks, lambda backend: backend.load(SHAPE))
    with closing(backend):
        return info.backend, info.reason


@pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")
def test_without_a_gpu_auto_is_openvino_and_says_why(tiny_networks: Networks) -> None:
    name, reason = started(tiny_networks, AnalysisConfig())
    assert name == "openvino"
    assert reason.startswith("auto chose openvino (tensorrt: tensorrt and cupy not installed; torch: ")
    assert why_no_device() in reason


def test_with_everything_there_auto_is_tensorrt(
    faults: Faults, tiny_networks: Networks, tmp_path: Path
) -> None:
    assert started(tiny_networks, AnalysisConfig(engines=str(tmp_path))) == (
        "tensorrt",
        "auto chose tensorrt",
    )


def test_analysers_of_a_machine_take_turns_on_its_gpus(
    faults: Faults, tiny_networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "device_count", lambda: 2)
    cuda = sys.modules["cupy"].__dict__["_cuda"]
    config = AnalysisConfig(engines=str(tmp_path))
    for number, given, expected in ((1, -1, 0), (2, -1, 1), (3, -1, 0), (1, 1, 1)):
        config = AnalysisConfig(engines=str(tmp_path), gpu=given)
        backend, _ = start_backend(config, tiny_networks, lambda backend: backend.load(SHAPE), number)
        backend.close()
        assert cuda.device == expected
    with pytest.raises(DeviceLostError, match="looking for a CUDA device"):
        started(tiny_networks, AnalysisConfig(engines=str(tmp_path), gpu=2))


def test_without_tensorrt_the_gpu_computes_with_torch(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name == "tensorrt" else name)
    assert choice.candidates("auto") == (
        ["torch", "openvino"],
        "auto chose torch (tensorrt: tensorrt not installed)",
    )


def test_a_pytorch_for_cpus_is_not_chosen_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(choice, "why_no_device", lambda: "")
    assert choice._torch_has_cuda() == (torch.version.cuda is not None)
    if torch.version.cuda is None:
        names, reason = choice.candidates("auto")
        assert names == ["openvino"]
        assert reason.endswith("; torch: this PyTorch is built for CPUs alone)")


def test_a_failure_is_an_error_unless_another_may_take_over(
    faults: Faults, tiny_networks: Networks, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    faults.build = "no kernel image is available"
    config = AnalysisConfig(backend="tensorrt", engines=str(tmp_path))
    with pytest.raises(BackendError, match=r"no engine was built .* no kernel image is available"):
        started(tiny_networks, config)
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name == "torch" else name)
    config = AnalysisConfig(backend="tensorrt", engines=str(tmp_path), fallback=True)
    name, reason = started(tiny_networks, config)
    assert name == "openvino"
    assert reason.startswith(
        "tensorrt was asked for; tensorrt failed: no engine was built of tiny_denoise.onnx"
    )
    assert "tensorrt cannot be used: no engine was built" in caplog.text


def test_what_was_asked_for_and_is_not_there_is_an_error(tiny_networks: Networks) -> None:
    if device_count():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(BackendError, match="tensorrt backend needs tensorrt, which is not installed here"):
        started(tiny_networks, AnalysisConfig(backend="tensorrt"))
    with pytest.raises(UsageError, match="'onnx'; choose auto"):
        started(tiny_networks, AnalysisConfig(backend="onnx", fallback=True))


def test_the_last_candidate_s_error_is_told(tiny_networks: Networks) -> None:
    with pytest.raises(BackendError, match="OpenVINO computes in i8, bf16 or f32"):
        started(tiny_networks, AnalysisConfig(backend="openvino", precision="f16", fallback=True))


@pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")
def test_looking_for_a_gpu_loads_nothing() -> None:
    program = (
        "import sys; from pipeline.backends.choice import candidates; print(candidates('auto')[0]);"
        "print([name for name in ('torch', 'cupy', 'tensorrt') if name in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.splitlines() == ["['openvino']", "[]"]


def test_engines_are_built_ahead(
    faults: Faults, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'[analysis]\nmaterial = "tiny"\nengines = "{(tmp_path / "engines").as_posix()}"\n')
    command = ["export", "--engine", "--config", str(config), "--size", "60x90", "--batch", "2"]
    assert main([*command, "--models", str(tiny_folder)]) == 0
    assert len(faults.built) == 2
    names = sorted(path.name for path in (tmp_path / "engines").glob("*.engine"))
    assert [name.rpartition("-")[0] for name in names] == [
        "tiny_denoise-f16-2x2x64x96", "tiny_heights-f16-2x2x64x96",
    ]  # fmt: skip
    told = capsys.readouterr().err
    assert all(name in told for name in names)
    assert "for NVIDIA Double (compute capability 9.0), TensorRT 10.16.1.11, f16, 2 x 64 x 96 px" in told


def test_the_shape_network_s_engine_is_built_ahead_too(
    faults: Faults, particle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'[analysis]\nmaterial = "tinygold"\nengines = "{(tmp_path / "engines").as_posix()}"\n')
    command = ["export", "--engine", "--config", str(config), "--size", "64"]
    assert main([*command, "--models", str(particle_folder)]) == 0
    names = sorted(path.name for path in (tmp_path / "engines").glob("*.engine"))
    assert [name.rpartition("-")[0] for name in names] == [
        "tinygold_restore-f16-1x2x64x64", "tinygold_shapes-f16-8x1x128x128",
    ]  # fmt: skip
    told = capsys.readouterr().err
    assert all(name in told for name in names)


def test_exporting_nothing_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export"]) == 2
    assert "or --engine to build TensorRT's engines" in capsys.readouterr().err
