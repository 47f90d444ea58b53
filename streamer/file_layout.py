"""Where everything stands in a result file: the tables, and the order in which a file is laid out.

docs/file-format.md is the description for readers; `streamer.file_views` adds what HyperSpy and EMD readers
look for, `streamer.file_process` the record of how the file came about.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from streamer.file_process import ProcessRecord, iso_time, lay_out_process
from streamer.file_views import lay_out_emd, lay_out_hyperspy
from streamer.particle_table import ParticleTable
from streamer.records import Compression, SeriesStart
from streamer.swmr import Column, ColumnSpec, NumberAttribute, SwmrFile

__all__ = [
    "CHANGES",
    "COLUMNS",
    "FIRST_ROW",
    "LEDGER",
    "REASON_BYTES",
    "STACK",
    "SUMMARY",
    "FileSpec",
    "Layout",
    "channel_columns",
    "lay_out",
]

REASON_BYTES = 64
"""Length of a ledger row's reason; 63 characters and, for C readers, a terminating zero."""

STACK = "/entry/measurement/event1/image1/stack_2d"
"""The stack's own place; ``/entry/stack`` is a link to it."""

LEDGER = (
    ColumnSpec("frame_id", "<i8", fill=-1, long_name="number the source gave the frame"),
    ColumnSpec("t_detector", "<f8", "s", nan, long_name="Unix time of the exposure's start, by the detector"),
    ColumnSpec("t_received", "<f8", "s", nan, long_name="Unix time of arrival"),
    ColumnSpec("t_recorded", "<f8", "s", nan, long_name="Unix time when the frame was written"),
    ColumnSpec("t_decoded", "<f8", "s", nan, long_name="Unix time when it was ready for the networks"),
    ColumnSpec("t_batched", "<f8", "s", nan, long_name="Unix time when its batch was handed to them"),
    ColumnSpec("t_analysed", "<f8", "s", nan, long_name="Unix time when the networks had finished"),
    ColumnSpec("t_published", "<f8", "s", nan, long_name="Unix time when the result was sent out"),
    ColumnSpec(
        "status", "|u1", long_name="0 missing, 1 recorded, 2 analysed, 3 skipped, 4 damaged, 5 unrecorded"
    ),
    ColumnSpec("reason", f"S{REASON_BYTES}", fill=b"", long_name="why the frame went no further"),
    ColumnSpec("stack_row", "<i8", fill=-1, long_name="row in /entry/stack, -1: not there"),
    ColumnSpec("result_row", "<i8", fill=-1, long_name="row in /entry/summary and columns/first_row"),
)
COLUMNS = (
    ColumnSpec("frame_id", "<i8", fill=-1, long_name="frame the column was found in"),
    ColumnSpec("y", "<f4", "px", nan, long_name="position along the frame's first axis"),
    ColumnSpec("x", "<f4", "px", nan, long_name="position along the frame's second axis"),
    ColumnSpec("count", "|u1", long_name="atoms in the column"),
    ColumnSpec("probability", "<f4", "", nan, long_name="probability that the count is right"),
    ColumnSpec("detection", "<f4", "", nan, long_name="probability that there is a column"),
    ColumnSpec("track_id", "<i8", fill=-1, long_name="same column in other frames, -1: not followed"),
    ColumnSpec("fused_count", "|u1", long_name="atoms in the column, from all frames so far"),
    ColumnSpec("fused_probability", "<f4", "", nan, long_name="probability that fused_count is right"),
)
FIRST_ROW = ColumnSpec("first_row", "<i8", fill=-1, long_name="row of each analysed frame's first column")
SUMMARY = (
    ColumnSpec("frame_id", "<i8", fill=-1, long_name="analysed frame"),
    ColumnSpec("total_atoms", "<f4", "", nan, long_name="expected number of atoms"),
    ColumnSpec("total_atoms_std", "<f4", "", nan, long_name="its standard deviation"),
    ColumnSpec("n_columns", "<i4", long_name="atomic columns found"),
    ColumnSpec("drift", "<f4", "px", nan, (2,), long_name="(y, x) against the first analysed frame"),
    ColumnSpec("ood_score", "<f4", "", nan, long_name="0 like the training data, 1 foreign to it"),
    ColumnSpec("fused_atoms", "<f4", "", nan, long_name="expected number of atoms, from all frames so far"),
    ColumnSpec("fused_atoms_std", "<f4", "", nan, long_name="its standard deviation"),
    ColumnSpec("n_particles", "<i4", long_name="particles found, where shapes are told and no columns"),
)
CHANGES = (
    ColumnSpec("frame_id", "<i8", fill=-1, long_name="frame in which the change was noticed"),
    ColumnSpec("track_id", "<i8", fill=-1, long_name="column, as in /entry/columns"),
    ColumnSpec("y", "<f4", "px", nan, long_name="position along the frame's first axis"),
    ColumnSpec("x", "<f4", "px", nan, long_name="position along the frame's second axis"),
    ColumnSpec("before", "<i2", fill=-1, long_name="atoms; -1: counted for the first time"),
    ColumnSpec("after", "<i2", fill=-1, long_name="atoms; 0: the column is gone"),
    ColumnSpec("probability", "<f4", "", nan, long_name="probability that `after` is right"),
)
_FILTERS = {
    Compression.NONE: hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
    Compression.BSLZ4: hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
    Compression.LZ4: hdf5plugin.LZ4(),
}
"""The stack's filter by the first frame's compression; uncompressed chunks leave it out one by one."""


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What must be known to lay a file out: the series, its first frame, and the run.

    Attributes
    ----------
    start : SeriesStart
        With the pixel size that holds for the run.
    shape : tuple of int
        (height, width) of the frames [px].
    dtype : numpy.dtype
    compression : Compression
        Decides the stack's filter.
    t_start : float
        Zero of the stack's time axis [Unix s], until `ResultWriter.begin` sets it.
    source, configuration : str
        The source's address, and the run's configuration as TOML.
    maps : bool
        Whether denoised and atom-count maps will be stored.
    channels : mapping of str to str
        Unit of each stimulus channel, by name.
    every : int
        Only every so many frames are kept.
    """

    start: SeriesStart
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    compression: Compression
    t_start: float
    source: str = ""
    configuration: str = ""
    maps: bool = False
    channels: Mapping[str, str] = field(default_factory=dict)
    every: int = 1

    @property
    def row_time_s(self) -> float | None:
        """Time from one row of the stack to the next [s], if the source has announced its frame time."""
        return None if self.start.frame_time_s is None else self.every * self.start.frame_time_s

    @property
    def pixel_size_nm(self) -> float | None:
        """Specimen-level pixel size [nm], if it is known."""
        return None if self.start.pixel_size_A is None else self.start.pixel_size_A / 10

    @property
    def title(self) -> str:
        """One line that tells this series from others."""
        return f"series {self.start.key.series_id} from {self.source or 'an unknown source'}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The growing parts of a file, ready to be written."""

    intensity: Column
    time: Column
    indices_image: Column
    start_time: h5py.Dataset
    t_start: NumberAttribute
    ledger: dict[str, Column]
    columns: dict[str, Column]
    first_row: Column
    summary: dict[str, Column]
    changes: dict[str, Column]
    particles: ParticleTable
    maps: dict[str, Column]
    channels: dict[str, dict[str, Column]]
    process: ProcessRecord


def lay_out(file: SwmrFile, spec: FileSpec) -> Layout:
    """Make every group, dataset, link and attribute the file will ever have."""
    start_time = _lay_out_entry(file, spec)
    intensity, time, indices = _lay_out_stack(file, spec)
    file.group("/entry/ledger", "NXcollection")
    file.group("/entry/columns", "NXcollection")
    file.group("/entry/summary", "NXdata", signal="total_atoms", axes=["frame_id"])
    file.group("/entry/changes", "NXcollection")
    file.group("/entry/channels", "NXcollection")
    layout = Layout(
        intensity=intensity,
        time=time,
        indices_image=indices,
        start_time=start_time,
        t_start=file.number(f"{STACK}/time", "t_start_unix_s"),
        ledger=_columns(file, "/entry/ledger", LEDGER),
        columns=_columns(file, "/entry/columns", COLUMNS),
        first_row=file.column("/entry/columns", FIRST_ROW),
        summary=_columns(file, "/entry/summary", SUMMARY),
        changes=_columns(file, "/entry/changes", CHANGES),
        particles=ParticleTable(file),
        maps=_lay_out_maps(file, spec) if spec.maps else {},
        channels={name: _lay_out_channel(file, name, unit) for name, unit in spec.channels.items()},
        process=lay_out_process(file, spec.start, spec.source, spec.configuration),
    )
    lay_out_hyperspy(file, STACK, spec.title, spec.shape, spec.pixel_size_nm, spec.row_time_s)
    lay_out_emd(file, STACK)
    return layout


def _lay_out_entry(file: SwmrFile, spec: FileSpec) -> h5py.Dataset:
    file.attributes("/", NX_class="NXroot", default="entry", authoring_program="atomstream")
    file.group("/entry", "NXentry", default="stack")
    file.value("/entry/definition", "NXem")
    file.value("/entry/title", spec.title)
    file.group("/entry/measurement", "NXem_measurement")
    file.group("/entry/measurement/event1", "NXem_event_data")
    file.group("/entry/measurement/event1/image1", "NXimage")
    return file.value("/entry/start_time", iso_time(spec.t_start))


def _lay_out_stack(file: SwmrFile, spec: FileSpec) -> tuple[Column, Column, Column]:
    file.group(
        STACK, "NXdata", signal="intensity", axes=["time", "axis_j", "axis_i"],
        time_indices=0, axis_j_indices=1, axis_i_indices=2,
        default_slice=["0", ".", "."], interpretation="image",
    )  # fmt: skip
    file.value(f"{STACK}/title", spec.title)
    frames = ColumnSpec(
        "intensity", spec.dtype.str, "counts", None, spec.shape, "detector counts, as received",
        _FILTERS[spec.compression], chunk_per_row=True,
    )  # fmt: skip
    intensity = file.column(STACK, frames)
    file.attributes(f"{STACK}/intensity", interpretation="image")
    time = file.column(STACK, ColumnSpec("time", "<f8", "s", nan, long_name="time"))
    file.attributes(f"{STACK}/time", name="time", t_start_unix_s=spec.t_start)
    indices = ColumnSpec("indices_image", "<i8", fill=-1, long_name="frame id of each row")
    for name, n_pixels in zip(("axis_j", "axis_i"), spec.shape, strict=True):
        _lay_out_axis(file, name, n_pixels, spec.pixel_size_nm)
    file.soft_link("/entry/stack", STACK)
    return intensity, time, file.column(STACK, indices)


def _lay_out_axis(file: SwmrFile, name: str, n_pixels: int, pixel_size_nm: float | None) -> None:
    position = np.arange(n_pixels, dtype="<f8") * (pixel_size_nm or 1.0)
    direction = {"axis_j": "y", "axis_i": "x"}[name]
    units = "px" if pixel_size_nm is None else "nm"
    file.value(f"{STACK}/{name}", position, units=units, name=direction, long_name=f"{direction} [{units}]")


def _lay_out_maps(file: SwmrFile, spec: FileSpec) -> dict[str, Column]:
    file.group("/entry/maps", "NXdata", signal="atom_count", interpretation="image")
    smaller = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
    images = [
        ColumnSpec(name, "<f2", units, nan, spec.shape, meaning, smaller, chunk_per_row=True)
        for name, units, meaning in (
            ("denoised", "", "denoised frame in units of the vacuum level"),
            ("atom_count", "", "atoms, drawn at their columns"),
        )
    ]
    frame_id = ColumnSpec("frame_id", "<i8", fill=-1, long_name="frame of each row")
    maps = _columns(file, "/entry/maps", (frame_id, *images))
    for name in ("denoised", "atom_count"):
        file.attributes(f"/entry/maps/{name}", interpretation="image")
    return maps


def _lay_out_channel(file: SwmrFile, name: str, unit: str) -> dict[str, Column]:
    group = f"/entry/channels/{name}"
    file.group(group, "NXdata", signal="value", axes=["time"], title=name)
    return _columns(file, group, channel_columns(unit))


def channel_columns(unit: str) -> tuple[ColumnSpec, ...]:
    """Return the datasets of a stimulus channel."""
    return (
        ColumnSpec("time", "<f8", "s", nan, long_name="Unix time on the run's clock"),
        ColumnSpec("value", "<f8", unit, nan),
        ColumnSpec("t_source", "<f8", "s", nan, long_name="Unix time as the source has sent it"),
    )


def _columns(file: SwmrFile, group: str, specs: Iterable[ColumnSpec]) -> dict[str, Column]:
    return {spec.name: file.column(group, spec) for spec in specs}
