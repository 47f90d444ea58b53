"""Which reader a file gets: by its extension, by its content where that is ambiguous, or as the user says."""

from collections.abc import Callable
from pathlib import Path

from streamer.errors import AtomstreamError, UsageError
from streamer.files.dectris_master import DectrisMaster, is_dectris_master
from streamer.files.hdf5 import open_hdf5
from streamer.files.limits import expect_regular, expect_sound, one_line
from streamer.files.mib import MibStack
from streamer.files.mrc import MrcStack
from streamer.files.npy import NpyStack
from streamer.files.nxs import RecordedRun, is_recorded_run
from streamer.files.protocol import FrameFile
from streamer.files.rosetta import READERS, RosettaFile
from streamer.files.ser import SerSeries
from streamer.files.tiff import TiffStack

__all__ = ["FORMATS", "open_file"]

_Opener = Callable[[Path, str], FrameFile]

FORMATS: dict[str, _Opener] = {
    "atomstream": lambda path, dataset: _only_stack(RecordedRun, path, dataset),
    "dectris": lambda path, dataset: DectrisMaster(path, dataset),
    "mrc": lambda path, dataset: _only_stack(MrcStack, path, dataset),
    "tiff": lambda path, dataset: _only_stack(TiffStack, path, dataset),
    "npy": lambda path, dataset: _only_stack(NpyStack, path, dataset),
    "mib": lambda path, dataset: _only_stack(MibStack, path, dataset),
    "ser": lambda path, dataset: _only_stack(SerSeries, path, dataset),
}
"""Our own readers by the names that ``--format`` takes; any other name is a reader of rosettasciio."""

_EXTENSIONS = {
    **dict.fromkeys((".mrc", ".mrcs", ".map", ".ccp4", ".rec", ".st", ".ali"), "mrc"),
    **dict.fromkeys((".tif", ".tiff", ".btf", ".tf8"), "tiff"),
    ".npy": "npy",
    ".mib": "mib",
    ".ser": "ser",
    **READERS,
}
_HDF5_EXTENSIONS = (".nxs", ".h5", ".hdf5", ".nx5", ".cxi")
_FOLDERS = (".zspy",)  # Zarr keeps an array's chunks as files
_SUPPORTED = (
    "files are read in these formats: .nxs (atomstream), DECTRIS master .h5, .npy, .mib, .ser;"
    " with 'pip install atomstream[formats]' also .mrc, .tif, .dm3, .dm4, .emd, .hspy, .blo and whatever else"
    " rosettasciio reads (--format READER)"
)


def open_file(path: Path, format: str = "", dataset: str = "") -> FrameFile:
    """Open a recorded file; the caller closes it.

    Parameters
    ----------
    path : pathlib.Path
    format : str
        A name from `FORMATS` or a reader of rosettasciio; empty: found out.
    dataset : str
        Where a file has several: a DECTRIS channel, or the title or number of a data set.

    Raises
    ------
    UsageError
        If there is no such file, its format is not supported or needs a package that is not installed, or it
        is damaged.
    """
    try:
        _expect_file(path)
        return _opened(path, format, dataset)
    except AtomstreamError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
    except MemoryError as error:
        raise UsageError(
            f"{path} declares more than fits into memory: is it damaged? Copy it again"
        ) from error
    except Exception as error:  # of a damaged file: whatever a library stumbles over
        raise UsageError(
            f"cannot read {path}: it is damaged, or not what its name says ({one_line(error)})"
        ) from error


def _opened(path: Path, format: str, dataset: str) -> FrameFile:
    name = format.lower() or _EXTENSIONS.get(path.suffix.lower()) or _by_content(path)
    opener = FORMATS.get(name)
    file = opener(path, dataset) if opener else RosettaFile(path, name, dataset)
    try:
        expect_sound(file.info)
    except BaseException:
        file.close()
        raise
    return file


def _expect_file(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    if path.is_dir():
        if path.suffix.lower() not in _FOLDERS:
            raise UsageError(f"{path} is a folder, expected a file")
        return
    expect_regular(path)
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty: copy it again")


def _by_content(path: Path) -> str:
    """Return the format of an HDF5 file, whose extension says little."""
    if path.suffix.lower() not in _HDF5_EXTENSIONS:
        raise UsageError(f"{path}: unknown extension {path.suffix!r}; {_SUPPORTED}")
    with open_hdf5(path) as file:
        if is_recorded_run(file):
            return "atomstream"
        if is_dectris_master(file):
            return "dectris"
        if "Experiments" in file:
            return "HSPY"
    if path.suffix.lower() == ".nxs":
        return "NeXus"
    raise UsageError(
        f"{path} is HDF5, but neither an atomstream nor a DECTRIS master file"
        f" (--format dectris reads what any file has at /entry/data/data); {_SUPPORTED}"
    )


def _only_stack(opener: Callable[[Path], FrameFile], path: Path, dataset: str) -> FrameFile:
    if dataset:
        raise UsageError(f"{path} has one stack only; --dataset {dataset!r} is for files with several")
    return opener(path)
