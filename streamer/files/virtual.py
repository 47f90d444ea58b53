"""Where a dataset's frames are stored: HDF5's virtual datasets and links, followed to their sources.

HDF5 itself reads a virtual frame whose source is missing, or shorter than it was planned, as zeros or the
fill value. So a virtual dataset is taken apart here, and frames that have no source are told from the rest.
Whole frames of a source are read there, chunk by chunk. Frames that are put together from parts of others
(modules of a detector, crops) are read through the virtual dataset, once all parts are known to be there.

(HDF5 Reference Manual, H5Pset_virtual: a mapping pairs the elements of two selections in their order; one
without limit follows its source; ``%b`` in a name is the block's number, ``%%`` a per cent sign.)
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.hdf5 import expect_stack, find_node, open_hdf5, rows_written
from streamer.files.selections import Rows, Selection, select

__all__ = ["FrameMap", "Place", "concatenated", "file_beside", "find_frames"]

_DEPTH = 8  # links and virtual datasets behind one another
_MOST_ROWS = 1_000_000_000  # of a source: lines of pixels, where frames are put together from these
_SPECIFIER = re.compile("%([%b])")


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset of `n_frames` frames of one shape (channels included); no `dtype`: its file is missing."""

    path: Path
    dataset: str
    n_frames: int = 0
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] | None = None


@dataclass(frozen=True, slots=True)
class FrameMap:
    """For each of n frames where it is stored.

    Attributes
    ----------
    name : str
        Of the dataset whose frames these are, for people.
    places : tuple of Place
    place : numpy.ndarray
        (n,) int64: index into `places`; -1 where nothing is mapped.
    row : numpy.ndarray
        (n,) int64: index along the place's first axis.
    notes : tuple of str
        What the user should know.
    """

    name: str
    places: tuple[Place, ...]
    place: Rows
    row: Rows
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.place)

    def is_there(self) -> NDArray[np.bool_]:
        """Return (n,) whether each frame can be read."""
        n_frames = np.array([place.n_frames for place in self.places] + [0])  # -1: the last
        there: NDArray[np.bool_] = self.row < n_frames[self.place]
        return there

    def used_places(self) -> tuple[list[Place], list[Place]]:
        """Return the places of the frames that can be read, and those of the others, each once."""
        there = self.is_there()
        read, absent = (np.unique(self.place[each]) for each in (there, ~there))
        return [self.places[k] for k in read], [self.places[k] for k in absent if k >= 0]

    def place_of(self, index: int) -> Place | None:
        """Return where a frame is mapped to, be it there or not; None: nowhere."""
        return self.places[self.place[index]] if self.place[index] >= 0 else None

    def why_absent(self, index: int) -> str:
        """Return why a frame cannot be read."""
        place = self.place_of(index)
        if place is None:
            return f"{self.name} maps no data file to frame {index}"
        if place.dtype is None:
            return f"data file {place.path} is not there"
        shape = (place.n_frames, *place.shape)
        return f"{place.path}:{place.dataset} has shape {shape} and ends before frame {index} of {self.name}"


def find_frames(path: Path, dataset: str) -> FrameMap | Path:
    """Follow a dataset to where its frames are stored.

    Parameters
    ----------
    path : pathlib.Path
        The file that names it.
    dataset : str
        May be an external link or a virtual dataset.

    Returns
    -------
    FrameMap or pathlib.Path
        A path if the file that should hold the dataset is not there.

    Raises
    ------
    UsageError
        If there is no such dataset, a file cannot be opened, or it holds no frames.
    """
    with _opened(path, dataset, 0) as node:
        return node if isinstance(node, Path) else _frames_of(node, 0)


def concatenated(maps: list[FrameMap]) -> FrameMap:
    """Return the frames of one map after the other."""
    firsts = np.cumsum([0] + [len(each.places) for each in maps[:-1]])
    place = [_moved(each.place, first) for each, first in zip(maps, firsts, strict=True)]
    return FrameMap(
        name=maps[0].name,
        places=tuple(place for each in maps for place in each.places),
        place=np.concatenate(place),
        row=np.concatenate([each.row for each in maps]),
        notes=tuple(dict.fromkeys(note for each in maps for note in each.notes)),
    )


def _moved(place: Rows, first: int) -> Rows:
    return np.where(place < 0, -1, place + first)


@contextmanager
def _opened(path: Path, dataset: str, depth: int) -> Iterator[h5py.Dataset | Path]:
    """Open a dataset behind its links; a path stands for the file that is not there."""
    if depth > _DEPTH:
        raise UsageError(f"{path}:{dataset} is behind more than {_DEPTH} links and virtual datasets")
    if not path.exists():
        yield path
        return
    with open_hdf5(path) as file:
        link = find_node(file, dataset, getlink=True)
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            with _opened(*_behind(path, dataset, link), depth + 1) as node:
                yield node
            return
        node = find_node(file, dataset)
        if not isinstance(node, h5py.Dataset):
            raise UsageError(f"{path} has no dataset {dataset}, which its master file refers to")
        yield node


def _behind(path: Path, dataset: str, link: h5py.ExternalLink | h5py.SoftLink) -> tuple[Path, str]:
    """Return the file and the dataset that a link means."""
    if isinstance(link, h5py.ExternalLink):
        return file_beside(path, link.filename), link.path
    return path, posixpath.join("/", posixpath.dirname(dataset), link.path)


def file_beside(path: Path, name: str) -> Path:
    """Return the file that another one names, searched for as HDF5 does, without the working directory."""
    folders = (path.parent, path.resolve().parent)
    names = (name, Path(name).name) if Path(name).is_absolute() else (name,)
    candidates = [folder / each for each in names for folder in folders]
    return next((each for each in candidates if each.exists()), path.parent / name)


def _frames_of(dataset: h5py.Dataset, depth: int) -> FrameMap:
    expect_stack(dataset)
    if dataset.is_virtual:
        return _Virtual(dataset, depth).frames()
    rows = np.arange(dataset.shape[0])
    return FrameMap(_name(dataset), (_place(dataset),), np.zeros_like(rows), rows)


def _place(dataset: h5py.Dataset) -> Place:
    n_frames, *shape = dataset.shape or (0,)
    return Place(Path(dataset.file.filename), dataset.name, n_frames, tuple(shape), dataset.dtype)


def _name(dataset: h5py.Dataset) -> str:
    return f"{dataset.file.filename}:{dataset.name}"


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What is selected of the virtual dataset, and the source that it comes from."""

    target: Selection
    file: str
    dataset: str
    space: h5py.h5s.SpaceID


class _Virtual:
    """A virtual dataset being taken apart; of two mappings to a frame the later one wins, as in HDF5."""

    def __init__(self, dataset: h5py.Dataset, depth: int) -> None:
        self._dataset = dataset
        self._depth = depth
        self._places = [_place(dataset)]  # the dataset itself, for frames that HDF5 has to put together
        self._place = np.full(dataset.shape[0], -1)
        self._row = np.zeros(dataset.shape[0], np.int64)
        self._notes: dict[str, None] = {}

    def frames(self) -> FrameMap:
        path = Path(self._dataset.file.filename)
        for (name, dataset), mappings in groupby(
            _mappings(self._dataset), lambda each: (each.file, each.dataset)
        ):
            with _opened(path if name == "." else file_beside(path, name), dataset, self._depth + 1) as node:
                if isinstance(node, Path):
                    for mapping in mappings:
                        self._put_absent(mapping.target.rows, Place(node, dataset))
                else:
                    self._put_all(mappings, node)
        return FrameMap(_name(self._dataset), tuple(self._places), self._place, self._row, tuple(self._notes))

    def _put_all(self, mappings: Iterable[_Mapping], node: h5py.Dataset) -> None:
        _expect_rows(node)
        alike = node.ndim == self._dataset.ndim and node.shape[1:] == self._dataset.shape[1:]
        stored = _frames_of(node, self._depth + 1) if alike else None
        first = len(self._places)
        self._places.extend(stored.places if stored else ())
        for mapping in mappings:
            target = mapping.target
            source = select(mapping.space, node.shape, len(target.rows), _name(node))
            if stored and target.whole and source.whole:
                self._put_whole(target.rows, stored, first, source.rows, _place(node))
                self._note_type(node, "its frames are taken as they are stored")
            elif node.is_virtual:
                raise UsageError(
                    f"{_name(self._dataset)} maps parts of {_name(node)}, which is virtual itself"
                )
            else:
                is_all = mapping.space.get_select_type() == h5py.h5s.SEL_ALL
                self._put_parts(target, node, _rows_there(target, source, node, is_all))
                self._note_type(node, "larger counts are cut off")
                self._note_parts()

    def _note_type(self, node: h5py.Dataset, what: str) -> None:
        mine, its = self._dataset.dtype, node.dtype
        if not np.can_cast(its, mine, "safe"):
            self._notes[f"{_name(node)} holds {its}, {_name(self._dataset)} shows {mine}: {what}"] = None

    def _note_parts(self) -> None:
        fill = self._dataset.fillvalue
        self._notes[f"frames are put together from parts of others; pixels in none of them are {fill}"] = None

    def _put_whole(self, rows: Rows, stored: FrameMap, first: int, stored_rows: Rows, node: Place) -> None:
        n = min(len(rows), len(stored_rows))
        rows, stored_rows = rows[:n], stored_rows[:n]
        inside = stored_rows < len(stored)
        self._place[rows[inside]] = _moved(stored.place[stored_rows[inside]], first)
        self._row[rows[inside]] = stored.row[stored_rows[inside]]
        self._put_absent(rows[~inside], node)

    def _put_parts(self, target: Selection, node: h5py.Dataset, there: NDArray[np.bool_]) -> None:
        """Leave frames to HDF5 of which all parts are there."""
        rows = target.rows[there]
        n_frames = np.array([place.n_frames for place in self._places])
        free = (self._place[rows] < 0) | (self._row[rows] < n_frames[self._place[rows]])
        self._place[rows[free]] = 0
        self._row[rows[free]] = rows[free]
        self._put_absent(target.rows[~there], _place(node))

    def _put_absent(self, rows: Rows, place: Place) -> None:
        if len(rows):
            self._place[rows] = len(self._places)
            self._row[rows] = place.n_frames
            self._places.append(place)


def _rows_there(target: Selection, source: Selection, node: h5py.Dataset, is_all: bool) -> NDArray[np.bool_]:
    """Return of which of the target's rows the source, which may have become smaller, holds all elements."""
    n_rows = len(target.rows)
    if is_all and source.n_inner != target.n_inner:
        return np.full(n_rows, node.size >= n_rows * target.n_inner)
    if any(last >= size for last, size in zip(source.last, node.shape[1:], strict=True)):
        return np.zeros(n_rows, bool)
    there: NDArray[np.bool_] = source.rows < node.shape[0]
    if (written := rows_written(node)) is not None:
        there[there] = written[source.rows[there]]
    return there if len(there) == n_rows else np.full(n_rows, there.all())


def _expect_rows(node: h5py.Dataset) -> None:
    """Check that a source has elements, and no more rows than a file can mean."""
    if not node.shape or node.shape[0] > _MOST_ROWS:
        raise UsageError(f"{_name(node)} has shape {node.shape}, expected frames or parts of them")


def _mappings(dataset: h5py.Dataset) -> Iterator[_Mapping]:
    """Yield a virtual dataset's mappings; those to a file for each block, one by one."""
    for source in dataset.virtual_sources():
        target = select(source.vspace, dataset.shape, dataset.shape[0], _name(dataset))
        rows = target.rows[target.rows < dataset.shape[0]]
        names = (source.file_name, source.dset_name)
        per_block = any("b" in _SPECIFIER.findall(name) for name in names)
        n_block = source.vspace.get_regular_hyperslab()[3][0] if per_block else max(len(rows), 1)
        for number, first in enumerate(range(0, len(rows), n_block)):
            file, name = (_block_name(name, number) for name in names)
            yield _Mapping(replace(target, rows=rows[first : first + n_block]), file, name, source.src_space)


def _block_name(name: str, number: int) -> str:
    return _SPECIFIER.sub(lambda match: "%" if match[1] == "%" else str(number), name)
