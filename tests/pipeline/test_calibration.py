"""The fusion model's constants from a file, and what is said of a wrong one."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.calibration import (
    TrackingCalibration,
    calibration_for,
    calibration_path,
    read_calibration,
    write_calibration,
)
from pipeline.fusion import FusionModel
from pipeline.networks import find_networks
from streamer.errors import BackendError

LOW, HIGH = FusionModel(tempering=0.8), FusionModel(tempering=0.2, errors=(0.1, 0.1, 0.6, 0.1, 0.1))


def test_a_calibration_comes_back_and_is_interpolated_between_noise_levels(tmp_path: Path) -> None:
    path = calibration_path(tmp_path / "ceria_heights.onnx")
    assert path.name == "ceria_tracking.json"
    write_calibration(path, TrackingCalibration((0.1, 0.9), (LOW, HIGH), {"ceria_heights.onnx": "ab"}))
    got = read_calibration(path)
    assert got.models == (LOW, HIGH)
    assert got.at(0.01) == LOW
    assert got.at(5.0) == HIGH
    middle = got.at(0.3)
    assert middle.tempering == pytest.approx(0.5)
    assert sum(middle.errors) == pytest.approx(1.0)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert read_calibration(tmp_path / "none.json").at(0.5) == FusionModel()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "not a tracking calibration"),
        ('{"networks": {}, "points": [], "more": 1}', "more"),
        ('{"networks": {}, "points": []}', "errors"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "ceria_tracking.json"
    path.write_text(text)
    with pytest.raises(BackendError, match=names):
        read_calibration(path)


def test_errors_that_are_no_probabilities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ceria_tracking.json"
    write_calibration(path, TrackingCalibration((0.1,), (replace(LOW, errors=(0.5, 0.6)),)))
    with pytest.raises(BackendError, match="odd number"):
        read_calibration(path)


def test_a_calibration_of_other_weights_is_not_used_and_that_is_said(
    tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for network in tiny_folder.glob("*.onnx"):
        (tmp_path / network.name).write_bytes(network.read_bytes())
    networks = find_networks(tmp_path, "tiny")
    path = calibration_path(networks.heights.path)
    assert calibration_for(networks).at(0.1) == FusionModel()
    assert "there is no tiny_tracking.json" in caplog.text
    write_calibration(path, TrackingCalibration((0.1,), (HIGH,), networks.sha256))
    assert calibration_for(networks).at(0.1) == HIGH
    write_calibration(path, TrackingCalibration((0.1,), (HIGH,), {networks.heights.path.name: "ab"}))
    assert calibration_for(networks).at(0.1) == FusionModel()
    assert "measured with other networks" in caplog.text
