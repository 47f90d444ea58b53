"""``/entry/particles``: the particles of each analysed frame, and which shapes they were told apart by."""

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from streamer.records import MOST_SHAPES, OUTLINE_POINTS, UNSURE, FrameResult
from streamer.swmr import ColumnSpec, SwmrFile, texts

__all__ = ["PARTICLES", "PARTICLES_FIRST_ROW", "ParticleTable"]

_GROUP = "/entry/particles"
_NAME_BYTES = 32

PARTICLES = (
    ColumnSpec("frame_id", "<i8", fill=-1, long_name="frame the particle was seen in"),
    ColumnSpec("centre", "<f4", "nm", nan, (2,), long_name="(y, x) of its centre"),
    ColumnSpec("size", "<f4", "nm", nan, long_name="diameter of the circle of equal area"),
    ColumnSpec("shape_class", f"S{_NAME_BYTES}", fill=b"", long_name="most probable shape, or unsure"),
    ColumnSpec("shape_probabilities", "<f4", "", nan, (MOST_SHAPES,), long_name="in the order of @shapes"),
    ColumnSpec("y", "<f4", "px", nan, long_name="position along the frame's first axis"),
    ColumnSpec("x", "<f4", "px", nan, long_name="position along the frame's second axis"),
    ColumnSpec("axes", "<f4", "nm", nan, (2,), long_name="long, short axis of the ellipse of equal moments"),
    ColumnSpec("area", "<f4", "nm^2", nan, long_name="projected area"),
    ColumnSpec("touches_border", "|u1", long_name="1: cut by the frame's edge"),
    ColumnSpec("outline", "<f4", "px", nan, (OUTLINE_POINTS, 2), long_name="(y, x) around the particle"),
)
PARTICLES_FIRST_ROW = ColumnSpec(
    "first_row", "<i8", fill=-1, long_name="row of each analysed frame's first particle"
)
_DERIVED = ("frame_id", "shape_class")


class ParticleTable:
    """The table of a file being written; makes its group, which must be done before readers are admitted.

    The names of the shapes may become known later (an analyser says them once its networks are loaded): they
    are an attribute of fixed size, overwritten in its place.
    """

    def __init__(self, file: SwmrFile) -> None:
        file.group(_GROUP, "NXcollection", shapes=_padded(()))
        self._columns = {spec.name: file.column(_GROUP, spec) for spec in PARTICLES}
        self._first_row = file.column(_GROUP, PARTICLES_FIRST_ROW)
        self._attribute = file.number(_GROUP, "shapes")
        self._names = _names_by_number(())
        self._n_rows = 0

    def put_shapes(self, shapes: Sequence[str]) -> None:
        """Name the classes, in the order of their numbers."""
        if shapes:
            self._attribute.put(_padded(shapes))
            self._names = _names_by_number(shapes)

    def append(self, results: Sequence[FrameResult]) -> None:
        """Add the particles of these frames and show them; their first rows are shown by `flush`."""
        lengths = [len(result.particles) for result in results]
        self._first_row.append(self._n_rows + np.cumsum([0, *lengths[:-1]]))
        if not any(lengths):
            return
        rows = np.concatenate([result.particles for result in results])
        self._n_rows += len(rows)
        self._columns["frame_id"].append(np.repeat([result.frame_id for result in results], lengths))
        self._columns["shape_class"].append(self._names[np.clip(rows["shape"], -1, MOST_SHAPES - 1)])
        for name in self._columns.keys() - _DERIVED:
            self._columns[name].append(rows[name])
        for column in self._columns.values():
            column.flush()

    def flush(self) -> None:
        """Show which particles belong to which result; after the summary."""
        self._first_row.flush()


def _names_by_number(shapes: Sequence[str]) -> NDArray[np.bytes_]:
    """Return a name for every number, also where none was told; the last one is number -1."""
    nameless = [f"shape {number}" for number in range(len(shapes), MOST_SHAPES)]
    return texts([*shapes[:MOST_SHAPES], *nameless, UNSURE], _NAME_BYTES)


def _padded(shapes: Sequence[str]) -> NDArray[np.bytes_]:
    return texts([*shapes, *[""] * (MOST_SHAPES - len(shapes))][:MOST_SHAPES], _NAME_BYTES)
