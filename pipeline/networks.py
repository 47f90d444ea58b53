"""Finding the networks for a material, and checking that they fit this program, before any engine runs.

A folder holds ``MATERIAL_denoise.onnx`` and ``MATERIAL_heights.onnx``: one input ``frames`` (N, C, H, W)
float32, the outputs named below, and metadata that says what they were trained for (``training/export.py``
writes them). A denoiser of five frames is ``MATERIAL_denoise5.onnx``. All networks of a run are given the
same batch; one that needs fewer channels than another looks at the first of them. Where there are
``MATERIAL_restore.onnx`` and ``MATERIAL_shapes.onnx`` instead, particles are classified:
`pipeline.particle_networks`.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from pipeline.onnx_header import OnnxHeader, TensorInfo, read_onnx_header
from streamer.errors import BackendError

__all__ = [
    "INPUT_NAME",
    "OUTPUT_NAMES",
    "NetworkFile",
    "Networks",
    "dose_range",
    "expect_metadata",
    "expect_together",
    "find_networks",
    "read_header",
    "read_network",
    "shipped_folder",
]

INPUT_NAME = "frames"
_SINGLE = 2  # channels of a frame by itself
OUTPUT_NAMES = {
    "denoise": ("denoised",),
    "heights": ("column_probability", "count_logits"),
}


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """One ONNX network, checked.

    Attributes
    ----------
    extra_channels : int
        Channels of a batch behind its own, which it does not look at.
    """

    path: Path
    sha256: str
    header: OnnxHeader
    extra_channels: int = 0

    @property
    def input_name(self) -> str:
        """Name of the input."""
        return INPUT_NAME

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return OUTPUT_NAMES[self.header.metadata["task"]]

    @property
    def own_channels(self) -> int:
        """Channels that it looks at: the first of a batch's."""
        return self.header.inputs[0].shape[1] or 0

    @property
    def channels(self) -> int:
        """Channels of a batch."""
        return self.own_channels + self.extra_channels

    @property
    def pixel_size_A(self) -> float:
        """Pixel size of the frames it was trained on [Å]."""
        return float(self.header.metadata["pixel_size_A"])


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks of a run; both are given the same batch."""

    denoise: NetworkFile
    heights: NetworkFile

    @property
    def channels(self) -> int:
        """Channels of a batch."""
        return self.heights.channels

    @property
    def per_frame(self) -> tuple[NetworkFile, ...]:
        """The networks that every frame goes through."""
        return self.denoise, self.heights

    @property
    def shapes(self) -> None:
        """No network tells shapes of particles."""
        return None

    @property
    def shape_names(self) -> tuple[str, ...]:
        """No shapes."""
        return ()

    @property
    def max_count(self) -> int:
        """Largest number of atoms that the height network tells apart."""
        return self.heights.header.outputs[1].shape[1] or 0

    @property
    def pixel_size_A(self) -> float:
        """Pixel size at the specimen that frames are resampled to [Å]."""
        return self.heights.pixel_size_A

    @property
    def dose_range_e_per_A2(self) -> tuple[float, float] | None:
        """Lowest and highest dose of the height network's training frames [e/Å²], if the file says so."""
        return dose_range(self.heights.header)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 by file name."""
        return {network.path.name: network.sha256 for network in (self.denoise, self.heights)}


def find_networks(
    folder: Path | None, material: str, denoise_frames: int = 1, whole_numbers: bool = False
) -> Networks:
    """Find and check both networks.

    Parameters
    ----------
    folder : pathlib.Path or None
        Where to look; None for the networks that are shipped.
    material : str
        First part of the files' names.
    denoise_frames : int
        How many frames the denoiser is to see at once.
    whole_numbers : bool
        Whether columns are counted by ``MATERIAL_heights_i8.onnx``, whose convolutions are in eight bits.

    Raises
    ------
    BackendError
        If one is missing or does not fit this program.
    """
    folder = folder or shipped_folder()
    denoise, heights = _denoiser(folder, material, denoise_frames), _heights(folder, material, whole_numbers)
    for key in ("material", "pixel_size_A"):
        expect_together(denoise.path, denoise.header, heights.path, heights.header, key)
    return Networks(*_on_one_batch(denoise, heights))


def _heights(folder: Path, material: str, whole_numbers: bool) -> NetworkFile:
    """Read and check the height network, in floating-point or in whole numbers."""
    network = read_network(folder, material, "heights_i8" if whole_numbers else "heights", "heights")
    _expect(network.path, "channels", network.own_channels, _SINGLE)
    if whole_numbers:
        _expect(network.path, "weights", network.header.metadata.get("weights"), "int8")
    return network


def _denoiser(folder: Path, material: str, frames: int) -> NetworkFile:
    """Read and check the denoiser of so many frames."""
    network = read_network(folder, material, "denoise" if frames == 1 else f"denoise{frames}", "denoise")
    _expect(network.path, "channels", network.own_channels, frames + 1)
    if frames > 1:  # such networks have been made that give the middle one
        _expect(network.path, "the frame it gives", network.header.metadata.get("gives"), "newest")
    return network


def _on_one_batch(*networks: NetworkFile) -> list[NetworkFile]:
    """Let all take batches of as many channels as the one with the most."""
    most = max(network.own_channels for network in networks)
    return [replace(network, extra_channels=most - network.own_channels) for network in networks]


def shipped_folder() -> Path:
    """Return where the networks are that come with the program."""
    return Path(str(files("pipeline") / "models"))


def expect_together(path: Path, header: OnnxHeader, other: Path, theirs: OnnxHeader, key: str) -> None:
    """Raise a `BackendError` unless two files say the same of `key`."""
    ours, others = header.metadata[key], theirs.metadata[key]
    if ours != others:
        raise BackendError(
            f"the networks in {path.parent} do not belong together: {key} is {ours} in {path.name} and"
            f" {others} in {other.name}"
        )


def dose_range(header: OnnxHeader) -> tuple[float, float] | None:
    """Return lowest and highest dose of a network's training frames [e/Å²], if its file says so."""
    low_high = json.loads(header.metadata.get("dose_e_per_A2", "[]"))
    return (float(low_high[0]), float(low_high[1])) if low_high else None


def read_network(folder: Path, material: str, name: str, task: str = "") -> NetworkFile:
    """Read and check a network that every frame goes through.

    Parameters
    ----------
    name : str
        Second part of the file's name.
    task : str
        What it is for, if that is not its name: a key of `OUTPUT_NAMES`.

    Raises
    ------
    BackendError
        If it is missing or does not fit this program.
    """
    path = folder / f"{material}_{name}.onnx"
    header, sha256 = read_header(path)
    _check(path, header, task or name)
    return NetworkFile(path, sha256, header)


def read_header(path: Path) -> tuple[OnnxHeader, str]:
    """Read the header and the SHA-256 of a file.

    Raises
    ------
    BackendError
        If it is missing, with those that are there, or no ONNX model.
    """
    folder = path.parent
    try:
        data = path.read_bytes()
    except OSError as error:
        found = sorted(p.name for p in folder.glob("*.onnx")) if folder.is_dir() else []
        raise BackendError(
            f"no network {path.name} in {folder}; there is {', '.join(found) or 'none'}: choose the"
            f" material and the folder of models accordingly"
        ) from error
    return read_onnx_header(data, str(path)), hashlib.sha256(data).hexdigest()


def _check(path: Path, header: OnnxHeader, task: str) -> None:
    """Compare a network's header with what this program feeds it and reads from it."""
    inputs, outputs = [[t.name for t in tensors] for tensors in (header.inputs, header.outputs)]
    _expect(path, "inputs", inputs, [INPUT_NAME])
    _expect(path, "outputs", outputs, list(OUTPUT_NAMES[task]))
    for tensor in (*header.inputs, *header.outputs):
        _check_tensor(path, tensor)
    expect_metadata(path, header, task)


def expect_metadata(path: Path, header: OnnxHeader, task: str, *more: str) -> None:
    """Raise a `BackendError` unless a file is for `task`, and says material, pixel size and `more`."""
    _expect(path, "task", header.metadata.get("task"), task)
    for key in ("material", "pixel_size_A", *more):
        if key not in header.metadata:
            raise BackendError(f"{path} has no metadata {key}; export it again")
    _check_pixel_size(path, header.metadata["pixel_size_A"])


def _check_tensor(path: Path, tensor: TensorInfo) -> None:
    free = len(tensor.shape) == 4 and tensor.shape[0] is tensor.shape[2] is tensor.shape[3] is None
    if not (tensor.is_float32 and free and tensor.shape[1]):
        raise BackendError(
            f"{path}: {tensor.name} has shape {tensor.shape}{'' if tensor.is_float32 else ', not float32'};"
            f" expected float32 (N, channels, H, W) with N, H and W free"
        )


def _check_pixel_size(path: Path, text: str) -> None:
    try:
        fits = 0 < float(text) < math.inf
    except ValueError:
        fits = False
    if not fits:
        raise BackendError(f"{path}: pixel_size_A is {text!r}, expected a length in Å; export it again")


def _expect(path: Path, what: str, got: object, expected: object) -> None:
    if got != expected:
        raise BackendError(f"{path}: {what} {got}, expected {expected}; export it with this version")
