"""Small sound files of every format that `replay` reads, for `benchmarks.fuzz_files` to damage."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tests.streamer.files import writers as w
from tests.streamer.ingest_run import image_of, record, series_of

__all__ = ["SAMPLES", "Frames", "frames_of", "why_not", "write_sample"]

Frames = NDArray[Any]
SHAPE = (9, 13)  # so small that most of a file is structure, not pixels
N_FRAMES = 5


def _recorded(folder: Path, frames: Frames) -> Path:
    record(folder / "a.nxs", *series_of(range(N_FRAMES), N_FRAMES))
    return folder / "a.nxs"


def _two_channels(folder: Path, frames: Frames) -> Path:
    return w.write_dectris_2024(folder, np.stack([frames, frames[:, ::-1]], axis=1), per_file=2)


def _modules(folder: Path, frames: Frames) -> Path:
    """Frames of two modules, each in a file of its own, put together by a virtual dataset."""
    path, (n, height, width) = folder / "tiled_master.h5", frames.shape
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    for number, rows in enumerate((slice(0, 4), slice(4, height))):
        part = np.ascontiguousarray(frames[:, rows])
        with h5py.File(folder / f"module_{number}.h5", "w") as file:
            file.create_dataset("data", data=part, chunks=(1, *part.shape[1:]), compression="gzip")
        layout[:, rows] = h5py.VirtualSource(f"module_{number}.h5", "data", (n, part.shape[1], width))
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        file.create_virtual_dataset("/entry/data/data", layout)
    return path


SAMPLES: dict[str, Callable[[Path, Frames], Path]] = {
    "atomstream": _recorded,
    "dectris": lambda d, f: w.write_dectris_legacy(d, f, per_file=2),
    "dectris gzip": lambda d, f: w.write_dectris_legacy(d, f, 2, filters={"compression": "gzip"}),
    "dectris virtual": _two_channels,
    "dectris modules": _modules,
    "npy": lambda d, f: w.write_npy(d / "a.npy", f),
    "mib": lambda d, f: w.write_mib(d / "a.mib", f),
    "ser": lambda d, f: w.write_ser(d / "a.ser", f),
    "mrc": lambda d, f: w.write_mrc(d / "a.mrc", f),
    "tiff": lambda d, f: w.write_tiff(d / "a.tif", f),
    "tiff zlib": lambda d, f: w.write_tiff(d / "a.tif", f, compression="zlib"),
    "tiff ImageJ": lambda d, f: w.write_imagej_tiff(d / "a.tif", f),
    "tiff OME": lambda d, f: w.write_ome_tiff(d / "a.ome.tif", f),
    "dm3": lambda d, f: w.write_dm(d / "a.dm3", f, version=3),
    "dm4": lambda d, f: w.write_dm(d / "a.dm4", f),
    "emd Velox": lambda d, f: w.write_velox(d / "a.emd", f),
    "emd NCEM": lambda d, f: w.write_ncem(d / "a.emd", f),
    "hspy": lambda d, f: w.write_rosetta(d / "a.hspy", "hspy", f, chunks=(1, *SHAPE), compression="gzip"),
    "zspy": lambda d, f: w.write_rosetta(d / "a.zspy", "zspy", f, chunks=(1, *SHAPE)),
    "blo": lambda d, f: w.write_rosetta(d / "a.blo", "blockfile", f, 1e6),
}
"""By name: what writes such a file into a folder and returns the path that is opened."""


def write_sample(name: str, folder: Path) -> Path:
    """Write a sound file, and those that belong to it, into a folder of its own; return what is opened."""
    return SAMPLES[name](folder, frames_of(name))


def why_not(name: str) -> str:
    """Return why a kind of file cannot be written here; nothing if it can."""
    package = {"zspy": "zarr", "blo": "skimage"}.get(name)
    if package is None:
        return ""
    try:
        found = import_module(package)
    except ImportError:
        return f"{name} files need {package}"
    is_too_new = name == "zspy" and not found.__version__.startswith("2.")
    return "rosettasciio writes zspy files with zarr 2 only" if is_too_new else ""


def frames_of(name: str) -> Frames:
    """Return the frames (n, height, width) that the sound file holds; none of them is of one value."""
    if name == "atomstream":
        return np.stack([image_of(index) for index in range(N_FRAMES)])
    if name == "blo":  # rosettasciio writes square ones only
        return w.counted("|u1", N_FRAMES, (24, 24))
    return w.counted("<u2", N_FRAMES, SHAPE)
