"""DECTRIS NeXus files: a master and its data files, both formats of the detector's FileWriter.

- legacy NXmx: ``/entry/data/data_000001`` … are external links to the data files' ``/entry/data/data``, of
  shape (n, height, width);
- v2024.2: one ``/entry/data/data`` of shape (n, channels, height, width), virtual over the data files or,
  with ``nimages_per_file = 0``, stored in the master itself.

(DECTRIS documentation, filewriter/README.md.) One data file is open at a time. A virtual dataset is taken
apart into its sources: HDF5 would read the frames of a source that is not there as zeros.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.hdf5 import Stack, open_hdf5, scalar
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.units import seconds
from streamer.plain import positive

__all__ = ["DectrisMaster", "is_dectris_master"]

_DATA = "/entry/data"
_STACK = f"{_DATA}/data"
_DETECTOR = "/entry/instrument/detector"
_LINK_NAME = re.compile(r"data_[0-9]+")


@dataclass(frozen=True, slots=True)
class _Part:
    """`n_frames` consecutive frames: where they are, and the first one's row there."""

    path: Path
    dataset: str
    n_frames: int
    first_row: int = 0


class DectrisMaster:
    """A master file with its data files.

    Parameters
    ----------
    path : pathlib.Path
        The master.
    channel : str
        Name of the threshold or difference image to read; empty: the first.

    Raises
    ------
    UsageError
        If it is no such file, has no such channel, or data files are missing before the last ones.
    """

    def __init__(self, path: Path, channel: str = "") -> None:
        with open_hdf5(path) as master:
            self._channel = _channel_index(master, path, channel)
            parts = _linked_parts(master, path) or _dataset_parts(master, path)
            self._parts, notes = _present(parts)
            self._ends = list(accumulate(part.n_frames for part in self._parts))
            self._open: tuple[_Part, h5py.File, Stack] | None = None
            try:
                self._info = _describe(path, master, self._stack_of(self._parts[0]), self._ends[-1], notes)
            except BaseException:
                self.close()
                raise

    @property
    def info(self) -> FileInfo:
        """What the master says of the series."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Read one frame through HDF5's filters."""
        stack, row = self._locate(index)
        return stack.frame(row)

    def chunk(self, index: int) -> Chunk | None:
        """Return one frame's chunk, which is the payload the detector would have streamed."""
        stack, row = self._locate(index)
        return stack.chunk(row)

    def close(self) -> None:
        """Close the data file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _locate(self, index: int) -> tuple[Stack, int]:
        number = bisect_right(self._ends, index)
        part = self._parts[number]
        return self._stack_of(part), part.first_row + index - (self._ends[number] - part.n_frames)

    def _stack_of(self, part: _Part) -> Stack:
        if self._open is None or self._open[0] is not part:
            self.close()
            file = open_hdf5(part.path)
            self._open = (part, file, Stack(file[part.dataset], self._channel))
        return self._open[2]


def is_dectris_master(file: h5py.File) -> bool:
    """Whether the file is laid out as a master: linked data files, or a stack under an NXmx entry."""
    if _link_names(file):
        return True
    return scalar(file, "/entry/definition") == "NXmx" and isinstance(file.get(_STACK), h5py.Dataset)


def _link_names(file: h5py.File) -> list[str]:
    data = file.get(_DATA)
    if not isinstance(data, h5py.Group):
        return []
    return sorted(name for name in data if _LINK_NAME.fullmatch(name))


def _linked_parts(master: h5py.File, path: Path) -> list[_Part]:
    """Return the parts of the legacy format; the missing ones have no frames."""
    parts = []
    for name in _link_names(master):
        link = master.get(f"{_DATA}/{name}", getlink=True)
        if isinstance(link, h5py.ExternalLink):
            where, dataset = path.parent / link.filename, link.path
        else:
            where, dataset = path, f"{_DATA}/{name}"
        parts.append(_Part(where, dataset, _count_frames(where, dataset)))
    return parts


def _count_frames(path: Path, dataset: str) -> int:
    if not path.exists():
        return 0
    with open_hdf5(path) as file:
        if not isinstance(file.get(dataset), h5py.Dataset):
            raise UsageError(f"{path} has no dataset {dataset}, which its master file refers to")
        n_frames: int = file[dataset].shape[0]
        return n_frames


def _dataset_parts(master: h5py.File, path: Path) -> list[_Part]:
    """Return the parts of the v2024.2 format."""
    dataset = master.get(_STACK)
    if not isinstance(dataset, h5py.Dataset):
        raise UsageError(f"{path} has neither {_DATA}/data_000001 nor {_STACK}: it is no DECTRIS master")
    if not dataset.is_virtual:
        return [_Part(path, dataset.name, dataset.shape[0])]
    return [_source_part(source, dataset, path) for source in sorted(dataset.virtual_sources(), key=_first)]


def _first(source: Any) -> int:
    first: int = source.vspace.get_select_bounds()[0][0]
    return first


def _source_part(source: Any, dataset: h5py.Dataset, path: Path) -> _Part:
    """Turn one mapping of a virtual dataset into a part; it has to map whole frames, all their channels."""
    start, end = (np.array(bounds) for bounds in source.vspace.get_select_bounds())
    source_start, source_end = _source_bounds(source, end - start)
    whole = (end - start + 1)[1:].tolist() == list(dataset.shape[1:])
    alike = (source_end - source_start).tolist() == (end - start).tolist() and not source_start[1:].any()
    if not (whole and alike):
        raise UsageError(f"{path}: {dataset.name} maps parts of frames, which cannot be replayed")
    where = path if source.file_name == "." else path.parent / source.file_name
    return _Part(where, source.dset_name, int(end[0] - start[0] + 1), int(source_start[0]))


def _source_bounds(source: Any, extent: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first and last index of what is mapped in the source; all of it has no bounds of its own."""
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return np.zeros_like(extent), extent
    first, last = source.src_space.get_select_bounds()
    return np.array(first), np.array(last)


def _present(parts: list[_Part]) -> tuple[list[_Part], tuple[str, ...]]:
    """Return the parts before the first missing file, and a note if there is one.

    A detector writes its master for the whole plan, so after an aborted series the last data files are not
    there. One that is missing in between was lost, and its frames with it.
    """
    there = [part.path.exists() for part in parts]
    n_present = there.index(False) if False in there else len(parts)
    if n_present == 0 or any(there[n_present:]):
        missing = parts[there.index(False)].path if False in there else "every data file"
        raise UsageError(f"data file {missing} is not there: copy the data files beside the master")
    kept = [part for part in parts[:n_present] if part.n_frames]
    if not kept:
        raise UsageError(f"{parts[0].path} holds no frames")
    if n_present == len(parts):
        return kept, ()
    return kept, (f"the last {len(parts) - n_present} of {len(parts)} data files are not there",)


def _channel_index(master: h5py.File, path: Path, channel: str) -> int:
    if not channel:
        return 0
    names = _channel_names(master)
    if channel not in names:
        has = ", ".join(names) or "one channel only"
        raise UsageError(f"{path} has no channel {channel!r}; it has {has}")
    return names.index(channel)


def _channel_names(master: h5py.File) -> list[str]:
    names = master.get(f"{_DATA}/channel")
    return [_text(name) for name in np.atleast_1d(names[()])] if isinstance(names, h5py.Dataset) else []


def _text(name: object) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _describe(path: Path, master: h5py.File, stack: Stack, n_frames: int, notes: tuple[str, ...]) -> FileInfo:
    field = f"{_DETECTOR}/frame_time"
    frame_time_s = _seconds(master, field)
    saturation = positive(
        scalar(master, f"{_DETECTOR}/saturation_value")
        or scalar(master, f"{_DETECTOR}/detectorSpecific/saturation_value")
    )
    return FileInfo(
        path=path,
        format="DECTRIS NeXus",
        n_frames=n_frames,
        shape=stack.shape,
        dtype=stack.dtype,
        pixel_size_from="DECTRIS files give the detector's own pixels only",
        frame_time_s=frame_time_s,
        frame_time_from=field if frame_time_s else f"there is no {field}",
        largest_is_no_data=True,
        saturation_value=None if saturation is None else int(saturation),
        notes=notes,
    )


def _seconds(master: h5py.File, field: str) -> float | None:
    value = scalar(master, field)
    return None if value is None else seconds(value, _text(master[field].attrs.get("units", "s")))
