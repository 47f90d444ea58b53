"""What HDF5's dataspaces select of a stack, in terms of its first axis."""

from dataclasses import dataclass
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError

__all__ = ["Rows", "Selection", "select"]

_UNLIMITED = h5py.h5s.UNLIMITED
_MOST_ROWS = 1_000_000_000  # of a source: lines of pixels, where frames are put together from these
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is selected of a dataset.

    Attributes
    ----------
    rows : numpy.ndarray
        (n,) int64, ascending: indices along the first axis.
    last : tuple of int
        The largest index along each other axis.
    n_inner : int
        How many elements there are in a row.
    whole : bool
        Whether that is all elements of each row.
    """

    rows: Rows
    last: tuple[int, ...]
    n_inner: int
    whole: bool


def select(space: h5py.h5s.SpaceID, shape: tuple[int, ...], n_rows: int, name: str) -> Selection:
    """Read a selection of the dataset `name`.

    Parameters
    ----------
    space : h5py.h5s.SpaceID
    shape : tuple of int
        The dataset's, which may not be the one that it had when the selection was written.
    n_rows : int
        How many rows there are in "all", and in what has no limit.
    name : str

    Raises
    ------
    UsageError
        If the selection is of another number of dimensions, or unlimited along others than the first.
    """
    kind, inner = space.get_select_type(), shape[1:]
    if kind == h5py.h5s.SEL_ALL:
        return Selection(np.arange(n_rows), tuple(n - 1 for n in inner), prod(inner), True)
    if kind == h5py.h5s.SEL_NONE:
        return Selection(np.arange(0), (), 0, False)
    if space.get_simple_extent_ndims() != len(shape):
        raise UsageError(f"{name} has {len(shape)} dimensions, not those that are mapped")
    if kind == h5py.h5s.SEL_POINTS:
        points = space.get_select_elem_pointlist().astype(np.int64)
        return Selection(np.unique(points[:, 0]), tuple(points[:, 1:].max(axis=0)), 1, False)
    if space.is_regular_hyperslab():
        return _regular(space.get_regular_hyperslab(), inner, n_rows, name)
    return _blocks(space.get_select_hyper_blocklist().astype(np.int64), inner)


def _regular(hyperslab: Any, inner: tuple[int, ...], n_rows: int, name: str) -> Selection:
    _, _, (count_0, *counts), (block_0, *blocks) = hyperslab
    if _UNLIMITED in (*counts, *blocks):
        raise UsageError(f"{name} is mapped without limit along a frame's rows or columns")
    if unlimited := _UNLIMITED in (count_0, block_0):
        block_0 = min(block_0, n_rows)
        count_0 = min(count_0, -(-n_rows // max(block_0, 1)))
    if count_0 * block_0 > _MOST_ROWS:
        raise UsageError(
            f"{name} is mapped {count_0 * block_0:,} times: the mapping is damaged, copy it again"
        )
    start, stride = (np.array(each, np.int64) for each in hyperslab[:2])
    count, block = np.array([count_0, *counts]), np.array([block_0, *blocks])
    rows = (start[0] + stride[0] * np.arange(count[0])[:, None] + np.arange(block[0])).ravel()
    one_piece = (count == 1) | (stride == block)
    whole = one_piece[1:].all() and not start[1:].any() and (count * block)[1:].tolist() == list(inner)
    return Selection(
        rows[:n_rows] if unlimited else rows,
        tuple((start + (count - 1) * stride + block - 1)[1:].tolist()),
        int((count * block)[1:].prod()),
        bool(whole),
    )


def _blocks(blocks: NDArray[np.int64], inner: tuple[int, ...]) -> Selection:
    """Read an irregular selection from its blocks (n, first and last, axis)."""
    firsts, lasts = blocks[:, 0], blocks[:, 1]
    whole = not firsts[:, 1:].any() and (lasts[:, 1:] == np.array(inner) - 1).all()
    rows = [np.arange(first, last + 1) for first, last in zip(firsts[:, 0], lasts[:, 0], strict=True)]
    n_elements = int((lasts - firsts + 1).prod(axis=1).sum())
    unique = np.unique(np.concatenate(rows))
    return Selection(
        unique, tuple(lasts[:, 1:].max(axis=0).tolist()), -(-n_elements // len(unique)), bool(whole)
    )
