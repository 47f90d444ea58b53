"""The table of networks of several widths, on untrained ones and made-up particles."""

import re
from pathlib import Path

import pytest
import torch

from streamer.errors import UsageError
from tests.training.test_training import data  # noqa: F401  a fixture
from training import widths_table
from training.export import export
from training.model import ModelConfig, make_model
from training.network_cost import network_cost


def network(task: str, widths: tuple[int, int, int], folder: Path) -> tuple[Path, int]:
    """Export an untrained network; return its file and number of parameters."""
    torch.manual_seed(1)
    model = make_model(ModelConfig(task, widths))
    path = folder / f"{task}-{widths[0]}.onnx"
    export(model, task, {"task": task}, path)
    return path, sum(p.numel() for p in model.parameters())


def test_every_network_has_its_row(data: Path, tmp_path: Path) -> None:  # noqa: F811
    wide, wide_parameters = network("heights", (16, 24, 32), tmp_path)
    narrow, narrow_parameters = network("heights", (8, 8, 16), tmp_path)
    denoiser, _ = network("denoise", (8, 8, 8), tmp_path)
    files = [str(path) for path in (wide, narrow, denoiser)]
    more = ["--data", str(data), "--doses", "300", "3000", "--rounds", "1", "--out", str(tmp_path)]
    path = widths_table.main([*files, *more])
    rows = {cells[0]: cells[1:] for line in path.read_text().splitlines() if (cells := cells_of(line))}
    assert rows["network"][-2:] == ["300 e/Å²", "3000 e/Å²"]
    assert rows[wide.as_posix()][0] == "16, 24, 32"
    for file, parameters in ((wide, wide_parameters), (narrow, narrow_parameters)):
        counted = int(rows[file.as_posix()][1].replace(",", ""))
        assert counted == pytest.approx(parameters, rel=0.02), "equal ones are stored once"
        operations = int(rows[file.as_posix()][2].replace(",", ""))
        assert operations == round(network_cost(file, 512, 512)[0] / 512**2)
        assert float(rows[file.as_posix()][3]) > 0
        assert all(re.fullmatch(r"[\d.]+ / [\d.]+ \([\d.]+, [\d.]+\)", c) for c in rows[file.as_posix()][4:])
    assert all(re.fullmatch(r"-?[\d.]+ dB", cell) for cell in rows[denoiser.as_posix()][4:])
    assert "2 particles of the test split" in path.read_text()


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []


def test_what_it_cannot_judge_is_refused(tmp_path: Path) -> None:
    path, _ = network("shapes", (8, 8, 8), tmp_path)
    with pytest.raises(UsageError, match="is for the task 'shapes', expected one of heights, denoise"):
        widths_table.opened(path)
    with pytest.raises(UsageError, match=r"there is no network .*; export it"):
        widths_table.opened(tmp_path / "none.onnx")
