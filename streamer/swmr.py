"""Datasets that one process appends to while others read them (HDF5's single writer, multiple readers).

Two rules of SWMR that h5py 3.16 does not enforce are enforced here: groups, datasets, links and attributes
are made before the phase begins (`SwmrFile` refuses them later), and texts in datasets have a fixed length
(only numpy types of fixed size can be declared). The texts of attributes have a variable length, which
HyperSpy insists on; they are written before the phase begins and never change.
"""

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import RecordingError

__all__ = ["LIBVER", "Column", "ColumnSpec", "NumberAttribute", "SwmrFile", "text", "texts"]

LIBVER = ("v110", "v110")
"""HDF5 format that has SWMR and that HDF5 1.10 to 2.0 read; "latest" would need 2.0 to be read."""

_CHUNK_BYTES = 8192
_CACHE_BYTES = 8 * _CHUNK_BYTES  # HDF5's default of 8 MiB for each dataset would add up


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One dataset that grows along its first axis.

    Attributes
    ----------
    name : str
    dtype : str
        A numpy type of fixed size.
    units : str
        Empty where there are none.
    fill : object
        Value of rows that were never written; None: zero.
    row_shape : tuple of int
        Shape of one row; () for a table's column.
    long_name : str
        What it means, for whoever opens the file without the documentation.
    filters : Mapping
        h5py's keywords of a compression filter.
    chunk_per_row : bool
        Whether each row is a chunk of its own, as `Column.write_chunk` needs it.
    """

    name: str
    dtype: str
    units: str = ""
    fill: Any = None
    row_shape: tuple[int, ...] = ()
    long_name: str = ""
    filters: Mapping[str, Any] = field(default_factory=dict)
    chunk_per_row: bool = False


class Column:
    """Rows of one dataset, appended and overwritten through h5py's low-level interface.

    A call of h5py's high-level interface costs 50 to 100 µs, as much as a frame may take; these cost 5 to 10.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.id = dataset.id
        self.n_rows: int = dataset.shape[0]
        self._row_shape: tuple[int, ...] = dataset.shape[1:]
        self._dtype: np.dtype[Any] = dataset.dtype
        self._type = dataset.id.get_type()
        self._dirty = False

    def resize(self, n_rows: int) -> None:
        """Make it `n_rows` long; rows that were never written read as the fill value."""
        if n_rows != self.n_rows:
            self.id.set_extent((n_rows, *self._row_shape))
            self.n_rows = n_rows
            self._dirty = True

    def write(self, first: int, rows: NDArray[Any] | Sequence[Any]) -> None:
        """Write `rows` from row `first` on, and make the dataset longer where they need it."""
        values = np.ascontiguousarray(rows, self._dtype)
        self.resize(max(self.n_rows, first + len(values)))
        self._write(first, values)

    def append(self, rows: NDArray[Any] | Sequence[Any]) -> None:
        """Add `rows` at the end."""
        if len(rows):
            self.write(self.n_rows, rows)

    def write_chunk(self, row: int, chunk: memoryview | bytes, filter_mask: int) -> None:
        """Store `chunk` as it is as an existing row; bit i of `filter_mask` leaves out filter i."""
        self.id.write_direct_chunk((row,) + (0,) * len(self._row_shape), chunk, filter_mask)
        self._dirty = True

    def read(self, row: int) -> Any:
        """Return one row."""
        value = np.empty((1, *self._row_shape), self._dtype)
        self.id.read(h5py.h5s.create_simple(value.shape), self._select(row, 1), value, self._type)
        return value[0]

    def flush(self) -> None:
        """Show readers what was written since the last flush."""
        if self._dirty:
            self.id.flush()
            self._dirty = False

    def _write(self, first: int, values: NDArray[Any]) -> None:
        if values.size:
            memory = h5py.h5s.create_simple(values.shape)
            self.id.write(memory, self._select(first, len(values)), values, self._type)
            self._dirty = True

    def _select(self, first: int, n_rows: int) -> h5py.h5s.SpaceID:
        space = self.id.get_space()
        zeros = (0,) * len(self._row_shape)
        space.select_hyperslab((first, *zeros), (n_rows, *self._row_shape))
        return space


class NumberAttribute:
    """Numbers, or texts of fixed length, among the attributes, overwritten in place: nothing else changes."""

    def __init__(self, owner: h5py.Group, name: str) -> None:
        self._owner = owner
        self._name = name.encode()

    def put(self, value: float | NDArray[Any]) -> None:
        """Overwrite the value; numbers are converted to the type the attribute was made with."""
        h5py.h5a.open(self._owner.id, self._name).write(np.array(value))


class SwmrFile:
    """A new HDF5 file: first laid out, then shown to readers while it is written.

    Parameters
    ----------
    path : pathlib.Path
        Must not exist.

    Raises
    ------
    FileExistsError
        If there is such a file.
    OSError
        If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "x", libver=LIBVER)

    @property
    def size_bytes(self) -> int:
        """Bytes of the file that are in use."""
        size: int = self._file.id.get_filesize()
        return size

    @property
    def descriptor(self) -> int:
        """The operating system's file descriptor, valid until `close`."""
        descriptor: int = self._file.id.get_vfd_handle()
        return descriptor

    def group(self, path: str, nx_class: str = "", **attributes: Any) -> h5py.Group:
        """Make a group."""
        self._expect_layout_phase(path)
        group = self._file.create_group(path)
        self.attributes(path, **({"NX_class": nx_class} if nx_class else {}), **attributes)
        return group

    def ensure_group(self, path: str, nx_class: str) -> None:
        """Make a group unless there is one."""
        if path not in self._file:
            self.group(path, nx_class)

    def attributes(self, path: str, **attributes: Any) -> None:
        """Add attributes."""
        self._expect_layout_phase(path)
        for name, value in attributes.items():
            self._file[path].attrs[name] = list(value) if isinstance(value, tuple) else value

    def value(self, path: str, value: Any, **attributes: Any) -> h5py.Dataset:
        """Make a dataset of fixed size; its value can be overwritten during the SWMR phase."""
        self._expect_layout_phase(path)
        dataset = self._file.create_dataset(path, data=text(value) if isinstance(value, str) else value)
        self.attributes(path, **attributes)
        return dataset

    def column(self, group: str, spec: ColumnSpec) -> Column:
        """Make a dataset without rows that can grow."""
        path = f"{group}/{spec.name}"
        self._expect_layout_phase(path)
        dataset = self._file.create_dataset(
            path,
            (0, *spec.row_shape),
            np.dtype(spec.dtype),
            maxshape=(None, *spec.row_shape),
            chunks=(_chunk_rows(spec), *spec.row_shape),
            fillvalue=spec.fill,
            rdcc_nbytes=_CACHE_BYTES,
            **spec.filters,
        )
        self.attributes(path, **_described(spec))
        return Column(dataset)

    def link(self, path: str, target: str) -> None:
        """Make a second name for what `target` is (a hard link: every reader follows it)."""
        self._expect_layout_phase(path)
        self._file[path] = self._file[target]

    def soft_link(self, path: str, target: str) -> None:
        """Make a name that refers to the name `target`."""
        self._expect_layout_phase(path)
        self._file[path] = h5py.SoftLink(target)

    def number(self, path: str, name: str) -> NumberAttribute:
        """Return an attribute, made before, whose value can be overwritten during the SWMR phase."""
        return NumberAttribute(self._file[path], name)

    def show_to_readers(self) -> None:
        """End the layout and begin the SWMR phase."""
        self._file.swmr_mode = True

    def flush(self) -> None:
        """Flush everything."""
        self._file.flush()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file after a write has failed, and leave it as it was flushed.

        HDF5 2.0 crashes the process when it closes a file that it could not write. So its descriptor is
        pointed at the null device first, where every write succeeds.
        """
        if not self._file.id.valid:
            return
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self.descriptor)
            os.close(null)
            self._file.close()

    def _expect_layout_phase(self, path: str) -> None:
        if self._file.swmr_mode:
            raise RecordingError(f"{path} must be made before readers are admitted to the file")


def text(value: str, length: int = 0) -> np.bytes_:
    """Return `value` as UTF-8 of fixed length (its own, if 0), cut between characters where it is longer."""
    encoded = value.encode()
    if length and len(encoded) > length:
        encoded = encoded[:length].decode(errors="ignore").encode()
    return np.bytes_(encoded)


def texts(values: Sequence[str], length: int) -> NDArray[np.bytes_]:
    """Return several texts as an array of fixed-length strings."""
    return np.array([text(value, length) for value in values], f"S{length}")


def _chunk_rows(spec: ColumnSpec) -> int:
    row_bytes = np.dtype(spec.dtype).itemsize * math.prod(spec.row_shape)
    return 1 if spec.chunk_per_row else max(1, _CHUNK_BYTES // row_bytes)


def _described(spec: ColumnSpec) -> dict[str, str]:
    described = {"units": spec.units, "long_name": spec.long_name}
    return {name: value for name, value in described.items() if value}
