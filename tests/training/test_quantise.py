"""A height network in whole numbers: the same answers to within the rounding, the same interface."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from pipeline.backends.quiet_openvino import shared_core
from pipeline.networks import find_networks
from pipeline.preprocess import normalise
from streamer.errors import UsageError
from tests.training.test_training import data  # noqa: F401  a fixture
from training import quantise
from training.export import export
from training.model import ModelConfig, make_model

METADATA = {"material": "ceria", "pixel_size_A": "0.2"}


@pytest.fixture(autouse=True)
def _no_monitor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of untrained networks."""
    torch.manual_seed(1)
    for task in ("heights", "denoise"):
        model = make_model(ModelConfig(task, (8, 8, 16)))
        export(model, task, {"task": task, **METADATA}, tmp_path / f"ceria_{task}.onnx")
    return tmp_path


def test_it_answers_as_the_network_that_it_is_made_of(models: Path, data: Path) -> None:  # noqa: F811
    path = quantise.main(["--models", str(models), "--data", str(data), "--frames", "4"])
    assert path == models / "ceria_heights_i8.onnx"
    networks = find_networks(models, "ceria")
    whole = find_networks(models, "ceria", whole_numbers=True).heights
    assert whole.header.metadata["calibration_frames"] == "4"
    frames = normalise(np.random.default_rng(1).poisson(12.0, (1, 96, 96))).frames
    answers = [
        shared_core().compile_model(str(network.path), "CPU")([frames]).values()
        for network in (networks.heights, whole)
    ]
    for full, rounded in zip(*answers, strict=True):
        assert full.shape == rounded.shape
        assert 0 < np.sqrt(np.square(rounded - full).mean()) < 0.2 * full.std()


def test_without_data_it_says_how_to_make_them(models: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*; make it: atomstream simulate"):
        quantise.main(["--models", str(models), "--data", str(models / "none.h5")])
