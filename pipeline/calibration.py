"""The fusion model's constants for a pair of networks, by the noise of the frames.

``MATERIAL_tracking.json`` beside the networks holds them; `training.calibrate_tracking` measures and writes
them. Networks without such a file are followed with the defaults of `pipeline.fusion.FusionModel`, which were
chosen by hand.
"""

import logging
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.fusion import FusionModel
from pipeline.networks import Networks
from streamer.errors import BackendError

__all__ = [
    "TrackingCalibration",
    "calibration_for",
    "calibration_path",
    "read_calibration",
    "write_calibration",
]

_SUM_TOLERANCE = 1e-3

_log = logging.getLogger(__name__)


class _Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    noise: float
    model: FusionModel


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    networks: dict[str, str]
    points: list[_Point]


@dataclass(frozen=True, slots=True)
class TrackingCalibration:
    """Models at rising noise levels.

    `noise` is the standard deviation of a pixel's noise in units of the vacuum level, as
    `pipeline.prepare.PreparedFrame` has it: with ideal counting and pixels of 0.2 Å it is 5 / √dose [e/Å²].
    `networks` gives the SHA-256 of the networks that it was measured with, by file name.
    """

    noise: tuple[float, ...] = (1.0,)
    models: tuple[FusionModel, ...] = (FusionModel(),)
    networks: dict[str, str] | None = None

    def at(self, noise: float) -> FusionModel:
        """Return the model at a noise level: linear in its logarithm between points."""
        if len(self.noise) == 1:
            return self.models[0]
        place = float(np.interp(np.log(max(noise, 1e-6)), np.log(self.noise), np.arange(len(self.noise))))
        low = min(int(place), len(self.noise) - 2)
        share = place - low
        values = {f.name: _between(self.models, low, share, f.name) for f in fields(FusionModel)}
        return FusionModel(**values)


def calibration_path(heights: Path) -> Path:
    """Return where the calibration beside ``ceria_heights.onnx`` lies: ``ceria_tracking.json``."""
    return heights.with_name(heights.stem.removesuffix("_heights") + "_tracking.json")


def read_calibration(path: Path) -> TrackingCalibration:
    """Read a calibration; the default if there is no such file.

    Raises
    ------
    BackendError
        If the file is not a calibration.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return TrackingCalibration()
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"{path} is not a tracking calibration: {error}; write it again or remove it"
        ) from error
    _check(path, file)
    points = sorted(file.points, key=lambda point: point.noise)
    return TrackingCalibration(
        tuple(point.noise for point in points), tuple(point.model for point in points), file.networks
    )


def calibration_for(networks: Networks) -> TrackingCalibration:
    """Return the calibration beside the networks; the default, with a warning, if none is of these weights.

    Raises
    ------
    BackendError
        If the file is not a calibration.
    """
    path = calibration_path(networks.heights.path)
    calibration = read_calibration(path)
    if calibration.networks is None:
        _warn_once(path, "there is no %s: columns are followed with constants that were chosen by hand")
    measured_with = (calibration.networks or {}).get(networks.heights.path.name)
    if measured_with not in (None, networks.heights.sha256):
        _warn_once(path, "%s was measured with other networks and is not used: measure it again")
        return TrackingCalibration()
    return calibration


@cache
def _warn_once(path: Path, message: str) -> None:
    """Log a message about a file; an analyser asks twice, to warm up and to run."""
    _log.warning(message, path.name)


def write_calibration(path: Path, calibration: TrackingCalibration) -> None:
    """Write a calibration."""
    points = [
        _Point(noise, model) for noise, model in zip(calibration.noise, calibration.models, strict=True)
    ]
    text = msgspec.json.format(msgspec.json.encode(_File(calibration.networks or {}, points)), indent=1)
    path.write_bytes(text + b"\n")


def _check(path: Path, file: _File) -> None:
    lengths = {len(point.model.errors) for point in file.points}
    sums = [abs(sum(point.model.errors) - 1.0) for point in file.points]
    if len(lengths) != 1 or lengths.pop() % 2 != 1 or max(sums) > _SUM_TOLERANCE:
        raise BackendError(
            f"{path}: `errors` must be an odd number of probabilities that sum to 1, as many at each point"
        )
    if any(point.noise <= 0 for point in file.points):
        raise BackendError(f"{path}: noise levels must be above 0")


def _between(models: tuple[FusionModel, ...], low: int, share: float, name: str) -> Any:
    a, b = (np.asarray(getattr(models[low + step], name)) for step in (0, 1))
    value = (1.0 - share) * a + share * b
    return tuple(value.tolist()) if value.ndim else float(value)
