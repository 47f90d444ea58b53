"""DECTRIS NeXus files: a master and its data files, both formats of the detector's FileWriter.

- legacy NXmx: ``/entry/data/data_000001`` … are external links to the data files' ``/entry/data/data``, of
  shape (n, height, width);
- v2024.2: one ``/entry/data/data`` of shape (n, channels, height, width), virtual over the data files or,
  with ``nimages_per_file = 0``, stored in the master itself.

(DECTRIS documentation, filewriter/README.md.) nexgen's masters have both: links to the data files,
and a virtual dataset that shows some or all of their frames; what that one shows is read.

At most `_MAX_OPEN` data files are open at a time.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import FileReadError, UsageError
from streamer.files.hdf5 import Stack, open_hdf5, scalar
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.units import seconds
from streamer.files.virtual import FrameMap, Place, concatenated, find_frames
from streamer.plain import optional_count, positive

__all__ = ["DectrisMaster", "is_dectris_master"]

_DATA = "/entry/data"
_STACK = f"{_DATA}/data"
_DETECTOR = "/entry/instrument/detector"
_LINK_NAME = re.compile(r"data_[0-9]+")
_MAX_OPEN = 8
_MOST_CHANNELS = 1000


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
            self._frames, notes = _present(_find(master, path))
            first = int(self._frames.is_there().argmax())
            self._open: dict[Place, tuple[h5py.File, Stack]] = {}
            try:
                self._info = _describe(path, master, self._locate(first)[0], len(self._frames), notes)
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
        """Close the data files that are open."""
        for file, _ in self._open.values():
            file.close()
        self._open.clear()

    def _locate(self, index: int) -> tuple[Stack, int]:
        place, row = self._frames.place_of(index), int(self._frames.row[index])
        if place is None or row >= place.n_frames:
            raise FileReadError(f"frame {index} cannot be read: {self._frames.why_absent(index)}")
        try:
            return self._stack_of(place), row
        except (UsageError, KeyError) as error:  # the file has changed, or is damaged, since it was looked at
            raise FileReadError(f"frame {index} cannot be read: {error}") from error

    def _stack_of(self, place: Place) -> Stack:
        if place not in self._open:
            if len(self._open) == _MAX_OPEN:
                self._open.pop(next(iter(self._open)))[0].close()
            file = open_hdf5(place.path)
            self._open[place] = (file, Stack(file[place.dataset], self._channel))
        return self._open[place][1]


def is_dectris_master(file: h5py.File) -> bool:
    """Whether the file is laid out as a master: linked data files, or a stack under an NXmx entry."""
    if _link_names(file):
        return True
    is_stack = isinstance(file.get(_STACK), h5py.Dataset) or _is_external(file)
    return is_stack and scalar(file, "/entry/definition") == "NXmx"


def _is_external(file: h5py.File) -> bool:
    return isinstance(file.get(_STACK, getlink=True), h5py.ExternalLink)


def _link_names(file: h5py.File) -> list[str]:
    data = file.get(_DATA)
    if not isinstance(data, h5py.Group):
        return []
    return sorted(name for name in data if _LINK_NAME.fullmatch(name))


def _find(master: h5py.File, path: Path) -> FrameMap:
    """Return where the frames are that the master shows; a virtual stack wins over links to data files."""
    names, stack = _link_names(master), master.get(_STACK)
    if names and not (isinstance(stack, h5py.Dataset) and stack.is_virtual):
        frames = _linked(path, [f"{_DATA}/{name}" for name in names])
        lost = find_frames(path, _STACK) if stack is None and _is_external(master) else None
        note = (f"{lost}, which says what to show, is not there: all frames of the data files are taken",)
        return replace(frames, notes=frames.notes + note) if isinstance(lost, Path) else frames
    if not (isinstance(stack, h5py.Dataset) or _is_external(master)):
        raise UsageError(f"{path} has neither {_DATA}/data_000001 nor {_STACK}: it is no DECTRIS master")
    found = find_frames(path, _STACK)
    if isinstance(found, Path):
        raise _not_there(found)
    return found


def _linked(path: Path, datasets: list[str]) -> FrameMap:
    """Return the frames of the data files before the first missing one, and a note if there is one.

    A detector writes its master for the whole plan, so after an aborted series the last data files are not
    there. One that is missing in between was lost, and its frames with it.
    """
    found = [find_frames(path, dataset) for dataset in datasets]
    there = [each for each in found if isinstance(each, FrameMap)]
    missing = [each for each in found if isinstance(each, Path)]
    if not there or any(isinstance(each, Path) for each in found[: len(there)]):
        raise _not_there(missing[0])
    frames = concatenated(there)
    note = _missing_last(len(missing), len(found))
    return replace(frames, notes=frames.notes + note) if missing else frames


def _not_there(path: Path) -> UsageError:
    return UsageError(f"data file {path} is not there: copy the data files beside the master")


def _missing_last(n_missing: int, n_files: int) -> tuple[str, ...]:
    return (f"the last {n_missing} of {n_files} data files are not there",)


def _present(frames: FrameMap) -> tuple[FrameMap, tuple[str, ...]]:
    """Leave out the frames at the end that are not there, and return notes on these and on others.

    Files that are missing in between are refused, as above. Other frames without a source keep their numbers:
    who reads one is told.
    """
    there = frames.is_there()
    n_present = int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0
    gaps = np.flatnonzero(~there[:n_present])
    if not len(frames):
        raise UsageError(f"{frames.name} holds no frames")
    for index in gaps if n_present else [0]:
        if lost := _lost_file(frames, index):
            raise _not_there(lost)
    if not n_present:
        raise UsageError(f"no frame can be read: {frames.why_absent(0)}")
    _expect_alike(frames)
    notes = frames.notes + _end_notes(frames, n_present) + _gap_notes(frames, gaps)
    return replace(frames, place=frames.place[:n_present], row=frames.row[:n_present]), notes


def _lost_file(frames: FrameMap, index: int) -> Path | None:
    place = frames.place_of(index)
    return place.path if place and place.dtype is None else None


def _end_notes(frames: FrameMap, n_present: int) -> tuple[str, ...]:
    absent = range(n_present, len(frames))
    lost = {_lost_file(frames, index) for index in absent}
    if not absent:
        return ()
    read, missing = frames.used_places()
    if None not in lost and frames.name not in (f"{place.path}:{place.dataset}" for place in read):
        return _missing_last(len(lost), len({place.path for place in read + missing}))
    return (f"the last {len(absent)} of {len(frames)} frames are not there: {frames.why_absent(n_present)}",)


def _gap_notes(frames: FrameMap, gaps: NDArray[Any]) -> tuple[str, ...]:
    if not len(gaps):
        return ()
    why = frames.why_absent(int(gaps[0]))
    return (f"{len(gaps)} of {len(frames)} frames cannot be read, the first is frame {gaps[0]}: {why}",)


def _expect_alike(frames: FrameMap) -> None:
    """Check that all data files hold frames of one size and type."""
    first, *others = frames.used_places()[0]
    for place in others:
        if (place.shape, place.dtype) != (first.shape, first.dtype):
            raise UsageError(
                f"{place.path} holds frames of {place.shape} {place.dtype},"
                f" {first.path} of {first.shape} {first.dtype}: they are no one series"
            )


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
    if not isinstance(names, h5py.Dataset) or not names.size or names.size > _MOST_CHANNELS:
        return []
    return [_text(name) for name in np.atleast_1d(names[()])]


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
        saturation_value=None if saturation is None else optional_count(int(saturation)),
        notes=notes,
    )


def _seconds(master: h5py.File, field: str) -> float | None:
    value = scalar(master, field)
    return None if value is None else seconds(value, _text(master[field].attrs.get("units", "s")))
