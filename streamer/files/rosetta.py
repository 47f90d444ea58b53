"""Every other microscope format, by ``rosettasciio``: DM3/DM4, EMD (Velox, NCEM), HSPY, BLO and more.

The only file that imports ``rsciio``, which is licensed under the GPL and therefore optional: this program
runs without it, and what it returns is data.
"""

import importlib
import logging
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import FileReadError, UsageError
from streamer.files.hdf5 import hdf5_reason
from streamer.files.hdf5_survey import survey
from streamer.files.limits import one_line
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.units import angstroms, isotropic_angstroms, seconds
from streamer.files.zarr_survey import survey_zarr

__all__ = ["READERS", "RosettaFile"]

READERS = {
    ".blo": "Blockfile",
    ".de5": "EMD",
    ".dm3": "DigitalMicrograph",
    ".dm4": "DigitalMicrograph",
    ".emd": "EMD",
    ".emi": "TIA",
    ".hspy": "HSPY",
    ".prz": "PantaRhei",
    ".tvips": "TVIPS",
    ".zspy": "ZSPY",
}
"""Reader by extension. Extensions that several readers claim (``.h5``, ``.hdf5``) are not listed: the user
names the reader."""

Signal = Mapping[str, Any]
_SLAB_BYTES = 16 * 2**20
_READ_WHOLE = ("PantaRhei",)  # its lazy reader maps the archive's member, which is compressed
_DETECTOR_PIXELS = ("Blockfile", "TVIPS")  # their headers give the camera's own pixels
_LIBRARY_LOG = logging.getLogger("rsciio")


class RosettaFile:
    """One data set of a file that ``rosettasciio`` reads, lazily.

    Parameters
    ----------
    path : pathlib.Path
    reader : str
        Name of the reader, in any case.
    dataset : str
        Title or number (from 0) of the data set, where the file has several.

    Raises
    ------
    UsageError
        If ``rosettasciio`` is not installed, has no such reader or cannot read the file, or if it is not
        clear which data set holds the frames.
    """

    def __init__(self, path: Path, reader: str, dataset: str = "") -> None:
        name, read = _reader(reader)
        notes = survey(path) if path.is_file() else survey_zarr(path)
        try:
            with _quiet_library():
                signals: Sequence[Signal] = read(str(path), lazy=name not in _READ_WHOLE)
        except Exception as error:  # readers of damaged files raise whatever they stumble over
            raise UsageError(f"cannot read {path} as {name}: {_reason(error)}") from error
        signal = _chosen(path, _image_stacks([_frames_first(signal) for signal in signals]), dataset)
        height, width = signal["data"].shape[-2:]
        self._frames = signal["data"].reshape(-1, height, width)
        self._at_once = max(1, _SLAB_BYTES // (height * width * self._frames.dtype.itemsize))
        self._slab: tuple[int, NDArray[Any]] = (0, np.empty((0, height, width)))
        self._info = _describe(path, name, signal, notes)

    @property
    def info(self) -> FileInfo:
        """What the reader found; calibrations are those of the axes."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Read one frame, and the next few with it: a read through dask costs milliseconds by itself."""
        first, slab = self._slab
        if not first <= index < first + len(slab):
            first, slab = self._slab = index, self._read(index)
        image: NDArray[Any] = slab[index - first]
        return image

    def _read(self, index: int) -> NDArray[Any]:
        """Return the frames from `index` on; only that one where the next ones cannot be read."""
        for n_frames in (self._at_once, 1):
            try:
                frames = self._frames[index : index + n_frames]
                with _quiet_library():
                    return np.asarray(frames.compute(scheduler="synchronous") if _is_lazy(frames) else frames)
            except Exception as error:  # see __init__
                reason = error
        why = one_line(reason)
        raise FileReadError(f"frame {index} of {self._info.path} cannot be read: {why}") from reason

    def chunk(self, index: int) -> Chunk | None:
        """Return None: pixels are encoded when they are sent."""
        return None

    def close(self) -> None:
        """Let go of the data, and with it of the file."""
        self._frames = np.empty((0, 0, 0))
        self._slab = (0, self._frames)


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep back what the library logs: an error or the line about the file says it too."""
    level = _LIBRARY_LOG.level
    _LIBRARY_LOG.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        _LIBRARY_LOG.setLevel(level)


def _reason(error: Exception) -> str:
    """Return in plain words why a file could not be read, where that is known."""
    if isinstance(error, (EOFError, struct.error)):
        return f"the file is truncated or damaged ({error})"
    plain = hdf5_reason(str(error)) if isinstance(error, OSError) else str(error)
    return one_line(error) if plain == str(error) else plain


def _is_lazy(frames: Any) -> bool:
    return hasattr(frames, "compute")


def _reader(reader: str) -> tuple[str, Any]:
    """Return the reader's own name and its function."""
    try:
        rsciio = importlib.import_module("rsciio")
    except ImportError as error:
        raise UsageError(
            f"{reader} files need the package rosettasciio: pip install 'atomstream[formats]'"
        ) from error
    known = {plugin["name"].lower(): plugin for plugin in rsciio.IO_PLUGINS}
    plugin = known.get(reader.lower())
    if plugin is None:
        raise UsageError(
            f"there is no reader {reader!r}: expected atomstream, dectris, mrc, tiff, npy, mib, ser, or"
            f" one of rosettasciio's: {', '.join(sorted(known))}"
        )
    try:
        return plugin["name"], importlib.import_module(plugin["api"]).file_reader
    except ImportError as error:
        raise UsageError(f"{plugin['name']} files also need {error.name}, which is not installed") from error


def _frames_first(signal: Signal) -> Signal:
    """Return the signal with its axes in the order frame, y, x, where their units or names say another.

    Files of NCEM's EMD kind come with any order. rosettasciio reverses what is stored, as HyperSpy writes it;
    openNCEM means the order that is stored, and calls axes that nobody has named dim1, dim2 and dim3.
    """
    axes = _axes(signal)
    names = [str(axis.get("name")).lower() for axis in axes]
    order = list(range(len(axes)))
    if as_stored := names == [f"dim{len(axes) - n}" for n in order]:
        order.reverse()
    if _counts_frames_last([axes[n] for n in order]):
        order = [order[-1], *order[:-1]] if as_stored else order[::-1]
    if [names[n] for n in order[-2:]] == ["x", "y"]:
        order[-2:] = order[-1], order[-2]
    if order == sorted(order):
        return signal
    moved_axes = [{**axes[old], "index_in_array": new} for new, old in enumerate(order)]
    return {**signal, "axes": moved_axes, "data": signal["data"].transpose(order)}


def _counts_frames_last(axes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last axis counts frames, and the first does not."""
    if len(axes) < 3:
        return False
    first, last = axes[0], axes[-1]
    times = [seconds(1.0, axis.get("units")) is not None for axis in (first, last)]
    in_image = [str(axis.get("name")).lower() in ("x", "y") for axis in (first, last)]
    return times == [False, True] or (len(axes) == 3 and in_image == [True, False])


def _image_stacks(signals: Sequence[Signal]) -> list[Signal]:
    """Return the signals whose last two axes are an image's; spectra and their maps are left out."""
    return [signal for signal in signals if signal["data"].ndim >= 2 and _image_axes(signal) is not None]


def _axes(signal: Signal) -> list[Mapping[str, Any]]:
    """Return the axes in the array's order."""
    return sorted(signal["axes"], key=lambda axis: int(axis.get("index_in_array") or 0))


def _image_axes(signal: Signal) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the (y, x) axes of an image; None where the last two axes are not both an image's.

    Some readers call all three axes of a stack the signal's; then the last two are taken.
    """
    axes = _axes(signal)
    if len(axes) < 2 or any(axis.get("navigate") for axis in axes[-2:]):
        return None
    return axes[-2], axes[-1]


def _chosen(path: Path, signals: list[Signal], dataset: str) -> Signal:
    """Return the only image stack, or the one with the number or title `dataset`."""
    if not signals:
        raise UsageError(f"{path} holds no images")
    named = [n for n, signal in enumerate(signals) if not dataset or dataset in (str(n), _title(signal))]
    if len(named) != 1:
        listed = ", ".join(
            f"{n} ({_title(s) or 'untitled'}, {s['data'].shape})" for n, s in enumerate(signals)
        )
        raise UsageError(f"{path} holds the images {listed}: choose one with --dataset NUMBER or TITLE")
    return signals[named[0]]


def _title(signal: Signal) -> str:
    return str(signal.get("metadata", {}).get("General", {}).get("title", ""))


def _describe(path: Path, name: str, signal: Signal, notes: tuple[str, ...]) -> FileInfo:
    data = signal["data"]
    y, x = _image_axes(signal) or ({}, {})
    at_specimen = name not in _DETECTOR_PIXELS
    sides_A = [angstroms(axis.get("scale"), axis.get("units")) for axis in (y, x)]
    frame_time_s, frame_time_from = _frame_time(signal)
    return FileInfo(
        path=path,
        format=f"{name} (rosettasciio)",
        n_frames=prod(data.shape[:-2]),
        shape=(data.shape[-2], data.shape[-1]),
        dtype=np.dtype(data.dtype),
        pixel_size_A=isotropic_angstroms(*sides_A) if at_specimen else None,
        pixel_size_from=_axis_text("image axis", x) if at_specimen else f"{name} files give the camera's own",
        frame_time_s=frame_time_s,
        frame_time_from=frame_time_from,
        notes=notes,
    )


def _frame_time(signal: Signal) -> tuple[float | None, str]:
    """Return the step [s] of the innermost axis that counts frames, if that is a time."""
    counting = _axes(signal)[:-2]
    if not counting:
        return None, "there is one frame"
    axis = counting[-1]
    return seconds(axis.get("scale"), axis.get("units")), _axis_text("frame axis", axis)


def _axis_text(kind: str, axis: Mapping[str, Any]) -> str:
    unit = axis.get("units") or "without unit"
    return f"{kind} {axis.get('name') or '?'}: scale {axis.get('scale')} {unit}"
