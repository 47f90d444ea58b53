"""A look at all datasets of an HDF5 file that another library is about to read, believing what they declare.

That library reads zeros where nothing was written, or where the file behind a virtual dataset is not there;
and it plans a task for each chunk that is declared.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import h5py

from streamer.errors import UsageError
from streamer.files.hdf5 import expect_inside, open_hdf5, rows_written
from streamer.files.limits import expect_plausible_size
from streamer.files.virtual import file_beside

__all__ = ["survey"]

_ALWAYS_CHUNKS = 100_000
_LEAST_CHUNK_BYTES = 64  # on average, with its entry in the index


def survey(path: Path) -> tuple[str, ...]:
    """Check every dataset of a file, and return notes for the user; none for what is no HDF5 file.

    Raises
    ------
    UsageError
        If a dataset declares far more than the file holds, keeps its values in files without structure, or
        is virtual with sources that are not there.
    """
    if not h5py.is_hdf5(path):
        return ()
    notes: list[str] = []
    with open_hdf5(path) as file:
        file.visititems(lambda name, node: notes.extend(_notes(node)))
    return tuple(notes)


def _notes(dataset: h5py.Group | h5py.Dataset) -> Iterator[str]:
    """Check one dataset; yield what the user should know."""
    if not isinstance(dataset, h5py.Dataset) or not dataset.shape or not dataset.size:
        return
    expect_inside(dataset)
    name = f"{dataset.file.filename}:{dataset.name}"
    if dataset.is_virtual:
        _expect_sources(dataset, name)
        return
    expect_plausible_size(name, dataset.shape, dataset.dtype.itemsize, dataset.id.get_storage_size())
    _expect_plausible_chunks(dataset, name)
    written = rows_written(dataset)
    if written is not None and dataset.ndim > 1:
        gaps = int((~written).sum())
        yield f"{dataset.name} was not written whole ({gaps} of its {len(written)} rows): the rest is zeros"


def _expect_plausible_chunks(dataset: h5py.Dataset, name: str) -> None:
    if dataset.chunks is None:
        return
    n_chunks = prod(-(-n // step) for n, step in zip(dataset.shape, dataset.chunks, strict=True))
    most = max(_ALWAYS_CHUNKS, Path(dataset.file.filename).stat().st_size // _LEAST_CHUNK_BYTES)
    if n_chunks > most:
        raise UsageError(f"{name} declares {n_chunks:,} chunks, the file can hold {most:,}: copy it again")


def _expect_sources(dataset: h5py.Dataset, name: str) -> None:
    for source in dataset.virtual_sources():
        missing = file_beside(Path(dataset.file.filename), source.file_name)
        if source.file_name != "." and "%" not in source.file_name and not missing.exists():
            raise UsageError(f"data file {missing} of {name} is not there: copy the data files beside {name}")
