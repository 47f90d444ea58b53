"""The networks of a run that classifies particles, and which kind of run a material's networks are for.

``MATERIAL_restore.onnx`` is a denoiser that gives the particles without their support: vacuum and support are
1 in its picture, and particles stand on a pedestal that grows with their thickness. ``MATERIAL_shapes.onnx``
takes the surroundings of one particle and gives logits of its shape, whose mean over eight orientations is
calibrated.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TypeVar

from pipeline.networks import (
    NetworkFile,
    Networks,
    dose_range,
    expect_metadata,
    expect_together,
    find_networks,
    read_header,
    read_network,
    shipped_folder,
)
from pipeline.onnx_header import OnnxHeader
from streamer.config import AnalysisConfig
from streamer.errors import BackendError
from streamer.records import MOST_SHAPES, UNSURE

__all__ = [
    "PATCH_PX",
    "AnyFile",
    "AnyNetworks",
    "ParticleNetworks",
    "ShapeFile",
    "find_particle_networks",
    "networks_for",
    "networks_of",
]

PATCH_PX = 128
"""Side of the square that the shape network looks at [px], at its own pixel size."""

SHAPE_ORIENTATIONS = 8
"""Orientations of a patch whose logits' mean is calibrated: turned by quarters, and mirrored."""

_PATCH_OF = ("restored", "frame")
_SAME_SIZE = 0.001  # relative
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ShapeFile:
    """The shape network, checked: patches (N, 1, 128, 128) in, logits (N, K) out.

    Calibrated is the mean of the logits over all orientations of a patch.

    Attributes
    ----------
    classes : tuple of str
        Names of the K shapes.
    unsure_below : float
        Probability of the most probable shape below which the answer is "unsure".
    patch_of : str
        Which picture patches are cut from: ``restored``, or the preprocessed ``frame``.
    """

    path: Path
    sha256: str
    header: OnnxHeader
    classes: tuple[str, ...]
    unsure_below: float
    patch_of: str

    @property
    def input_name(self) -> str:
        """Name of the input."""
        return self.header.inputs[0].name

    @property
    def output_names(self) -> tuple[str, ...]:
        """Name of the only output."""
        return (self.header.outputs[0].name,)

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return 1

    @property
    def extra_channels(self) -> int:
        """No others."""
        return 0

    @property
    def pixel_size_A(self) -> float:
        """Pixel size of its patches [Å]."""
        return float(self.header.metadata["pixel_size_A"])


@dataclass(frozen=True, slots=True)
class ParticleNetworks:
    """The two networks of a run that classifies particles: one for every frame, one for every particle.

    Attributes
    ----------
    pedestal_per_A : float
        By how much an ångström of a particle raises the restored picture.
    binning : int
        Pixels of a frame for one of a patch, along each axis.
    """

    restore: NetworkFile
    shapes: ShapeFile
    pedestal_per_A: float
    binning: int

    @property
    def per_frame(self) -> tuple[NetworkFile, ...]:
        """The networks that every frame goes through."""
        return (self.restore,)

    @property
    def shape_names(self) -> tuple[str, ...]:
        """Names of the shapes, in the order of their numbers."""
        return self.shapes.classes

    @property
    def channels(self) -> int:
        """Channels of the input of `restore`."""
        return self.restore.channels

    @property
    def max_count(self) -> int:
        """No columns are counted."""
        return 0

    @property
    def pixel_size_A(self) -> float:
        """Pixel size at the specimen that frames are resampled to [Å]."""
        return self.restore.pixel_size_A

    @property
    def dose_range_e_per_A2(self) -> tuple[float, float] | None:
        """Lowest and highest dose of the training frames [e/Å²], if the file says so."""
        return dose_range(self.restore.header)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 by file name."""
        return {network.path.name: network.sha256 for network in (self.restore, self.shapes)}


AnyNetworks = Networks | ParticleNetworks
AnyFile = NetworkFile | ShapeFile


def networks_of(analysis: AnalysisConfig) -> AnyNetworks:
    """Find and check the networks that a run asks for; all its processes must have the same.

    Raises
    ------
    BackendError
        See `networks_for`.
    """
    folder = Path(analysis.models) if analysis.models else None
    return networks_for(folder, analysis.material, analysis.denoise_frames, analysis.precision == "i8")


def networks_for(
    folder: Path | None, material: str, denoise_frames: int = 1, whole_numbers: bool = False
) -> AnyNetworks:
    """Find and check a material's networks, of whichever kind there are.

    Raises
    ------
    BackendError
        If one is missing or does not fit this program, there are networks of both kinds, or those of
        particles are to see several frames at once or to compute in whole numbers.
    """
    folder = folder or shipped_folder()
    if not any((folder / f"{material}_{task}.onnx").exists() for task in ("restore", "shapes")):
        return find_networks(folder, material, denoise_frames, whole_numbers)
    if any((folder / f"{material}_{task}.onnx").exists() for task in ("denoise", "heights")):
        raise BackendError(
            f"{folder} has networks of both kinds for {material}: leave there denoise and heights (columns"
            " are counted), or restore and shapes (particles are classified)"
        )
    if denoise_frames > 1:
        raise BackendError(
            f"the networks for {material} restore single frames: --denoise-frames (denoise_frames) must be 1"
        )
    if whole_numbers:
        raise BackendError(f"the networks for {material} are not there in i8: choose another --precision")
    return find_particle_networks(folder, material)


def find_particle_networks(folder: Path | None, material: str) -> ParticleNetworks:
    """Find and check the networks that show particles and tell their shapes.

    Raises
    ------
    BackendError
        If one is missing or does not fit this program, or they are of different materials.
    """
    folder = folder or shipped_folder()
    restore, shapes = read_network(folder, material, "restore", "denoise"), _read_shapes(folder, material)
    expect_metadata(restore.path, restore.header, "denoise", "pedestal_per_A")
    expect_together(restore.path, restore.header, shapes.path, shapes.header, "material")
    metadata = restore.header.metadata
    pedestal = _parsed(restore.path, "pedestal_per_A", metadata, _positive, "a number above 0")
    return ParticleNetworks(restore, shapes, pedestal, _binning(restore, shapes))


def _binning(restore: NetworkFile, shapes: ShapeFile) -> int:
    ratio = shapes.pixel_size_A / restore.pixel_size_A
    binning = round(ratio)
    if binning < 1 or abs(ratio / binning - 1) > _SAME_SIZE:
        raise BackendError(
            f"the networks in {restore.path.parent} do not belong together: the pixel of {shapes.path.name},"
            f" {shapes.pixel_size_A:g} Å, is no multiple of {restore.pixel_size_A:g} Å"
        )
    return binning


def _read_shapes(folder: Path, material: str) -> ShapeFile:
    path = folder / f"{material}_shapes.onnx"
    header, sha256 = read_header(path)
    expect_metadata(path, header, "shapes", "classes", "unsure_below", "input", "orientations")
    metadata = header.metadata
    classes = _parsed(path, "classes", metadata, _names, f"a JSON list of at most {MOST_SHAPES} names")
    unsure_below = _parsed(path, "unsure_below", metadata, _share, "a probability from 0 to 1")
    if metadata["input"] not in _PATCH_OF:
        raise BackendError(f"{path}: input is {metadata['input']!r}, expected one of {', '.join(_PATCH_OF)}")
    _parsed(path, "orientations", metadata, _all_orientations, f"{SHAPE_ORIENTATIONS}, which are averaged")
    _check_tensors(path, header, len(classes))
    return ShapeFile(path, sha256, header, classes, unsure_below, metadata["input"])


def _check_tensors(path: Path, header: OnnxHeader, n_classes: int) -> None:
    found = [tuple(t.shape for t in tensors) for tensors in (header.inputs, header.outputs)]
    fits = found == [((None, 1, PATCH_PX, PATCH_PX),), ((None, n_classes),)]
    if not (fits and all(t.is_float32 for t in (*header.inputs, *header.outputs))):
        raise BackendError(
            f"{path}: from {found[0]} to {found[1]}; expected float32 (N, 1, {PATCH_PX}, {PATCH_PX}) to"
            f" (N, {n_classes}) for its {n_classes} classes, with N free; export it again"
        )


def _parsed(path: Path, key: str, metadata: dict[str, str], parse: Callable[[str], _T], expected: str) -> _T:
    try:
        return parse(metadata[key])
    except ValueError as error:
        raise BackendError(
            f"{path}: {key} is {metadata[key]!r}, expected {expected}; export it again"
        ) from error


def _names(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    fits = isinstance(names, list) and all(isinstance(n, str) and n not in ("", UNSURE) for n in names)
    if not fits or not 0 < len(names) <= MOST_SHAPES or len(set(names)) < len(names):
        raise ValueError(text)
    return tuple(names)


def _all_orientations(text: str) -> int:
    if int(text) != SHAPE_ORIENTATIONS:
        raise ValueError(text)
    return SHAPE_ORIENTATIONS


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < inf:
        raise ValueError(text)
    return value
