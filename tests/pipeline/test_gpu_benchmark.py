"""The GPU's benchmark runs without one: on a CPU's backends and on doubles; no figure means anything."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import analyse, gpu, gpu_fused, gpu_parts
from pipeline.backends import BatchShape
from pipeline.backends.cuda_device import device_count
from pipeline.backends.tensorrt_backend import TensorRtBackend
from pipeline.networks import Networks
from pipeline.warm_up import expected_tile
from tests.pipeline.backend_suite import NAMES, batch, give, take
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.tensorrt_double import Faults, make_tensorrt


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_is_rehearsed_from_the_engine_to_the_whole_program(tmp_path: Path) -> None:
    options = ["--rehearse", "--backends", "openvino", "--sizes", "256", "--batches", "2"]
    assert gpu.main([*options, "--seconds", "0.3", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "gpu-rehearsal.json").read_text())
    assert results["rehearsal"]
    (row,) = results["rows"]
    assert "error" not in row
    for part in ("one_by_one", "batches"):
        assert row[part]["p50_ms"] <= row[part]["p99_ms"] <= row[part]["p99.9_ms"]
    assert row["engine"] is None  # OpenVINO has no graph to launch
    assert row["whole"]["frames_per_s"] > 0
    assert row["run"]["counts"]["analysed"] == row["run"]["counts"]["received"] > 0
    assert row["run"]["latency_ms"]["p99"] > 0 < row["run"]["p99_of_goal"]
    assert 0 < row["roofline"]["share_of_bound"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["gpu-rehearsal-roofline.png", "gpu-rehearsal-stages.png", "gpu-rehearsal.json"]


@pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 1
    assert "nothing was measured" in capsys.readouterr().err


@pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")
def test_a_row_that_cannot_be_measured_says_why() -> None:
    row = gpu.measured(gpu.find_networks(None, "ceria"), "tensorrt", 256, 1, gpu._options([]))
    assert row["error"].startswith("BackendError: the tensorrt backend needs tensorrt, which is not")


def test_what_was_measured_before_an_error_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("the analyser did not start")

    monkeypatch.setattr(gpu, "measure_whole", fail)
    row = gpu.measured(gpu.find_networks(None, "ceria"), "null", 256, 1, gpu._options(["--seconds", "0.01"]))
    assert row["error"] == "ValueError: the analyser did not start"
    assert row["batches"]["frames_per_s"] > 0
    assert "whole" not in row


def test_the_analyser_is_loaded_for_the_frames_that_it_gets() -> None:
    """An engine for 512 x 512 px beside the one that is measured would have to be built first."""
    networks = gpu.find_networks(None, "ceria")
    config = analyse.run_config(analyse.Setting(size_px=1024), (1024, 768), "")
    assert expected_tile(config, networks) == (1024, 768)


def test_a_machine_without_git_and_nvidia_smi_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    machine = gpu.describe_gpu_machine()
    assert (machine["commit"], machine["gpu"]) == ("unknown", [])


@pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")
def test_the_engine_alone_is_the_graph_and_nothing_else(
    tiny_networks: Networks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda, faults = CudaDouble(), Faults()
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(cuda))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(cuda, "11.4", faults))
    monkeypatch.setattr(gpu_parts, "_SIDE", 64)
    with closing(TensorRtBackend(tiny_networks, engines=tmp_path)) as backend:
        backend.load(BatchShape(2, 64, 64))
        batch = backend.device.zeros((2, 2, 64, 64))
        enqueued = faults.enqueued
        step = gpu_parts.engine_alone(backend)
        assert step is not None
        measured = gpu_parts.rate(step, 2, 0.05)
        assert measured["batches"] >= 1
        assert faults.enqueued == enqueued  # launched, not enqueued anew
        assert gpu_parts.rate(gpu_parts.pipelined(backend, batch), 2, 0.05)["frames_per_s"] > 0
        backend.collect()
        most = gpu_parts.ceilings(backend)
    assert min(most.values()) > 0


@pytest.mark.skipif(device_count() > 0, reason="this machine has a CUDA device")
def test_both_networks_in_one_engine_answer_as_in_two(
    tiny_networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, faults = CudaDouble(), Faults()
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(cuda))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(cuda, "11.4", faults))
    shape, frames = BatchShape(2, 64, 96), batch((20, 30, 3), (40, 60, 5))
    answers = []
    for networks in (tiny_networks, gpu_fused.fused(tiny_networks, tmp_path)):
        with closing(TensorRtBackend(networks, engines=tmp_path)) as backend:  # type: ignore[arg-type]
            backend.load(shape)
            give(backend, frames)
            answers.append(take(backend))
    for part in NAMES:
        np.testing.assert_array_equal(getattr(answers[0], part), getattr(answers[1], part))
    assert len(faults.built) == 3
    monkeypatch.setattr("pipeline.backends.tensorrt_backend.default_folder", lambda: tmp_path)
    alone = gpu_fused.one_engine(tiny_networks, shape, 0.05)
    assert alone is not None
    assert alone["frames_per_s"] > 0


def test_the_fastest_run_is_held_against_the_goals() -> None:
    def row(size_px: int, fps: float, share: float, p99: float) -> dict[str, Any]:
        run = {"frames_per_s": fps, "p99_of_goal": p99}
        return {"backend": "tensorrt", "size_px": size_px, "batch": 16, "run": run, "run_of_engine": share}

    rows = [row(1024, 900.0, 0.9, 0.5), row(1024, 1100.0, 0.86, 0.9), row(512, 4100.0, 0.8, 0.9)]
    rows += [row(256, 9000.0, 0.9, 0.9), row(2048, 300.0, 0.9, 0.9), {"size_px": 256, "error": "no memory"}]
    goals = {goal["size_px"]: goal for goal in gpu.reached(rows)}
    assert {size: goal["met"] for size, goal in goals.items()} == {256: False, 512: False, 1024: True}
    assert (goals[1024]["frames_per_s"], goals[1024]["wanted_frames_per_s"]) == (1100.0, 1000)
    late = row(1024, 1200.0, 0.9, 1.1)
    assert not gpu.reached([late])[0]["met"]


def test_the_bound_of_the_roofline_is_the_lower_ceiling(tiny_networks: Networks) -> None:
    ample = {"TFLOP_per_s": 1e3, "GB_per_s": 1e9}
    by_operations = gpu_parts.roofline(tiny_networks, (64, 64), 1e6, ample)
    assert by_operations["bound_TFLOP_per_s"] == 1e3
    by_memory = gpu_parts.roofline(tiny_networks, (64, 64), 1e6, ample | {"GB_per_s": 10.0})
    assert by_memory["bound_TFLOP_per_s"] == pytest.approx(0.01 * by_memory["FLOP_per_byte"])
    assert by_memory["share_of_bound"] == pytest.approx(by_memory["GB_per_s"] / 10.0)
    assert np.isfinite(list(by_memory.values())).all()
