"""A training that begins with weights from a file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamer.errors import UsageError
from training.checkpoint import load_checkpoint
from training.export import export
from training.initial import begin_with
from training.model import ModelConfig, Network, make_model

SMALL = ModelConfig("heights", (8, 12, 16))


def trained() -> Network:
    """Return a network of weights that float16 holds, no two of them equal: the exporter would keep one."""
    generator = torch.Generator().manual_seed(3)
    network = make_model(SMALL)
    for weight in network.parameters():
        weight.data = (0.1 * torch.randn(weight.shape, generator=generator)).half().float()
    return network


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = tmp_path / "heights.onnx"
    export(trained(), "heights", {"temperature": "1.3"}, path)
    return path


def test_an_exported_network_answers_as_before_when_a_run_begins_with_it(exported: Path) -> None:
    begun = make_model(SMALL)
    begin_with(begun, exported)
    frames = torch.randn(1, 2, 32, 32)
    for before, after in zip(trained()(frames), begun(frames), strict=True):
        torch.testing.assert_close(before, after)


def test_further_blocks_change_nothing_at_first_and_learn(exported: Path) -> None:
    begun = make_model(replace(SMALL, blocks=(1, 2, 3, 2, 2)))
    begin_with(begun, exported)
    frames = torch.randn(1, 2, 32, 32)
    for before, after in zip(trained()(frames), begun(frames), strict=True):
        torch.testing.assert_close(before, after)
    begun(frames)[1].square().sum().backward()
    further = dict(begun.named_parameters())["trunk.encoders.1.1.second.weight"]
    assert further.grad is not None
    assert further.grad.abs().max() > 0


@pytest.mark.parametrize("other", [ModelConfig("heights", (8, 12, 24)), ModelConfig("denoise", (8, 12, 16))])
def test_weights_of_another_network_are_refused(exported: Path, other: ModelConfig) -> None:
    with pytest.raises(UsageError, match="not of a network of this task and widths"):
        begin_with(make_model(other), exported)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_bytes(b"not a network at all")
    with pytest.raises(UsageError, match=r"notes\.onnx"):
        begin_with(make_model(SMALL), path)


@pytest.mark.parametrize("content", [b"weights", b"", b"PK\x03\x04 and no more"])
def test_what_is_no_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"last.pt is no checkpoint of a training, or is damaged"):
        load_checkpoint(path)


def test_a_file_of_other_tensors_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"model": [1, 2]}, path)
    with pytest.raises(UsageError, match=r"last.pt is no checkpoint of a training, or is damaged"):
        load_checkpoint(path)
