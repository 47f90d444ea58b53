"""A result file as a past: tables are read at once, pictures when they are looked at."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gui.channels import ChannelHistory
from gui.history import SERIES_DTYPE
from gui.moments import Moment
from gui.particles import sound_particles
from pipeline.prepare import valid_pixels
from pipeline.views import at_frame_pixels, binned, to_uint8
from streamer.errors import AtomstreamError
from streamer.files.hdf5 import read_frame
from streamer.records import COLUMN_DTYPE, PARTICLE_DTYPE
from streamer.result_tables import Tables, open_result, read_tables
from streamer.stimuli import Sample
from streamer.window_link import View, ViewHeader

__all__ = ["RecordedPast"]

_KEPT_PICTURES = 32
_DOSE_FRAMES = 100
_LARGEST_PX = 1024
_A_PER_NM = 10.0
_NO_PICTURE = (np.zeros((0, 0), np.uint8), 0.0, 1.0)  # with what 0 and 255 stand for


class RecordedPast:
    """The recorded frames of a result file, also while it is being written. See `gui.past.Past`.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If it is not a readable result file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._views: OrderedDict[int, View] = OrderedDict()
        self._means: dict[int, float] = {}
        self.reload()

    def look_at_dose(self) -> None:
        """Read the mean of one more frame, of at most a hundred that lie evenly in the series.

        A file has no table of it, and reading all frames would take as long as recording them has.
        """
        step = max(1, len(self.rows) // _DOSE_FRAMES)
        ids = self.rows["frame_id"][::step].tolist()
        unread = next((k for k, frame_id in enumerate(ids) if frame_id not in self._means), None)
        if unread is not None:
            with open_result(self.path) as file:
                self._frame(file, unread * step)

    def reload(self) -> None:
        """Read the tables anew: a file that is being written has grown."""
        self._views.clear()  # results may have come to frames that were looked at without
        with open_result(self.path) as file:
            self.tables = read_tables(file)
            self._height, self._width = file["/entry/stack/intensity"].shape[1:]
            self.source = _text(file, "/entry/process/source")
            self.backend = _text(file, "/entry/process/analysis/backend")
            self.series_id = int(file["/entry/process/series/series_id"][()])
            self.latency_s = file["/entry/process/latency/received_to_published"][:].tolist()
            self._pixel_size_A = float(file["/entry/process/series/pixel_size_nm"][()]) * _A_PER_NM
            self._saturation = max(0, int(file["/entry/process/series/saturation_value"][()]))
            self.channels = _channels(file)
            notes = file["/entry/process/notes"]
            self.notes = [
                Moment(t, _decoded(text))
                for t, text in zip(notes["time"][:].tolist(), notes["text"][:].tolist(), strict=False)
            ]
            self._map_row = _rows_by_frame(file.get("/entry/maps/frame_id"))
        ledger = self.tables.ledger
        recorded = np.flatnonzero(ledger["stack_row"] >= 0)
        self._ledger_row = recorded[np.argsort(ledger["t_received"][recorded], kind="stable")]
        self.rows = _series(self.tables, self._ledger_row)
        _, at, known = np.intersect1d(self.rows["frame_id"], list(self._means), return_indices=True)
        self.rows["mean_counts"][at] = np.array(list(self._means.values()))[known]
        self.t_first = float(self.rows["t"][0]) if len(self.rows) else math.nan

    @property
    def newest(self) -> View | None:
        """The last frame."""
        return self._view(len(self.rows) - 1) if len(self.rows) else None

    @property
    def largest_count(self) -> int:
        """See `gui.past.Past`."""
        counts = (self.tables.columns.get(name) for name in ("count", "fused_count"))
        return max(int(count.max(initial=0)) for count in counts if count is not None)

    def between(self, start: float, end: float) -> NDArray[np.void]:
        """See `gui.past.Past`."""
        first, last = self.rows["t"].searchsorted((start, end))
        return self.rows[first:last]

    def at(self, t: float | None) -> View | None:
        """See `gui.past.Past`."""
        return self.newest if t is None or not len(self.rows) else self._view(self._nearest(t))

    def recent(self, view: View, n: int) -> list[View]:
        """See `gui.past.Past`."""
        end = self._nearest(view.header.t_received) + 1
        return [self._view(index) for index in range(max(0, end - n), end)]

    def step(self, t: float, frames: int) -> float:
        """See `gui.past.Past`."""
        index = min(max(self._nearest(t) + frames, 0), len(self.rows) - 1)
        return float(self.rows["t"][index])

    def columns(self, since: float) -> Iterator[tuple[ViewHeader, NDArray[np.void]]]:
        """See `gui.past.Past`."""
        for index in range(int(self.rows["t"].searchsorted(since, side="right")), len(self.rows)):
            if self._result_row(index) >= 0:
                yield self._header(index, 1, (0.0, 1.0), (0.0, 1.0)), self._columns_of(index)

    def _nearest(self, t: float) -> int:
        return int(np.argmin(np.abs(self.rows["t"] - t)))

    def _result_row(self, index: int) -> int:
        row = int(self.tables.ledger["result_row"][self._ledger_row[index]])
        return row if row < len(self.tables.first_row) else -1

    def _columns_of(self, index: int) -> NDArray[np.void]:
        row = self._result_row(index)
        if row < 0:
            return np.zeros(0, COLUMN_DTYPE)
        first = int(self.tables.first_row[row])
        n = int(self.tables.summary["n_columns"][row])
        table = self.tables.columns
        columns = np.zeros(max(0, min(n, len(table["y"]) - first)), COLUMN_DTYPE)
        columns["track_id"], columns["fused_probability"] = -1, math.nan  # files of earlier versions
        for name in (name for name in COLUMN_DTYPE.names or () if name in table):
            columns[name] = table[name][first : first + len(columns)]
        return columns

    def _particles_of(self, index: int) -> NDArray[np.void]:
        row, tables = self._result_row(index), self.tables
        if not 0 <= row < min(len(tables.first_particle), len(tables.summary["frame_id"])):
            return np.empty(0, PARTICLE_DTYPE)
        first = int(tables.first_particle[row])
        rows = slice(first, first + int(tables.summary["n_particles"][row]))
        stored = {name: column[rows] for name, column in tables.particles.items()}
        particles = np.zeros(len(stored["size"]), PARTICLE_DTYPE)
        for name in (name for name in PARTICLE_DTYPE.names or () if name in stored):
            particles[name] = stored[name]
        numbers = {name.encode(): number for number, name in enumerate(tables.shapes)}
        particles["shape"] = [numbers.get(name, -1) for name in stored["shape_class"].tolist()]
        return sound_particles(particles)

    def _view(self, index: int) -> View:
        if index in self._views:
            self._views.move_to_end(index)
            return self._views[index]
        self._views[index] = view = self._read(index)
        while len(self._views) > _KEPT_PICTURES:
            self._views.popitem(last=False)
        return view

    def _read(self, index: int) -> View:
        bin_px = -(-max(self._height, self._width) // _LARGEST_PX)
        counts = denoised = None
        with suppress(AtomstreamError, OSError), open_result(self.path) as file:  # it may be gone
            counts = self._frame(file, index)
            stored = self._map_row.get(int(self.rows["frame_id"][index]))
            denoised = None if stored is None else file["/entry/maps/denoised"][stored].astype(np.float32)
        raw, *raw_levels = _NO_PICTURE if counts is None else to_uint8(binned(counts, bin_px))
        if denoised is None:
            clean, *clean_levels = _NO_PICTURE
        else:
            frame_shape = (self._height, self._width)
            shape = self._height // bin_px, self._width // bin_px
            clean, *clean_levels = to_uint8(at_frame_pixels(denoised, frame_shape, bin_px, shape))
        header = self._header(index, bin_px, tuple(raw_levels), tuple(clean_levels))
        return View(header, raw, clean, self._columns_of(index), self._particles_of(index))

    def _frame(self, file: h5py.File, index: int) -> NDArray[np.float32] | None:
        """Decode a frame, 0 where it has no data, and note its mean; None if it is damaged."""
        row, frame_id = self.tables.ledger["stack_row"][self._ledger_row[index]], self.rows["frame_id"][index]
        counts, mean = None, math.nan
        with suppress(AtomstreamError):
            image = read_frame(file["/entry/stack/intensity"], int(row), int(frame_id))
            valid = valid_pixels(image, self._saturation)
            counts = (image if valid is None else np.where(valid, image, 0)).astype(np.float32)
            known = image if valid is None else image[valid]
            mean = float(known.mean()) if known.size else math.nan
        self._means[int(frame_id)] = self.rows["mean_counts"][index] = mean
        return counts

    def _header(
        self, index: int, bin_px: int, raw_levels: tuple[float, ...], denoised_levels: tuple[float, ...]
    ) -> ViewHeader:
        row = self.rows[index]
        t = float(row["t"])
        return ViewHeader(
            series_id=self.series_id, frame_id=int(row["frame_id"]), height=self._height, width=self._width,
            view_height=self._height // bin_px, view_width=self._width // bin_px, bin_px=bin_px,
            raw_low=raw_levels[0], raw_high=raw_levels[1], denoised_low=denoised_levels[0],
            denoised_high=denoised_levels[1], pixel_size_A=self._pixel_size_A, t_detector=t, t_received=t,
            t_published=t if self._result_row(index) >= 0 else math.nan,  # never: it was not analysed
            total_atoms=float(row["total_atoms"]), total_atoms_std=float(row["total_atoms_std"]),
            fused_atoms=float(row["fused_atoms"]), fused_atoms_std=float(row["fused_atoms_std"]),
            drift_y_px=float(row["drift_y_px"]), drift_x_px=float(row["drift_x_px"]),
            ood_score=float(row["ood_score"]), mean_counts=float(row["mean_counts"]),
            shapes=self.tables.shapes,
        )  # fmt: skip


def _series(tables: Tables, ledger_rows: NDArray[np.intp]) -> NDArray[np.void]:
    """Put the ledger's times and the summary's numbers side by side; NaN where a frame was not analysed."""
    rows = np.zeros(len(ledger_rows), SERIES_DTYPE)
    rows["frame_id"] = tables.ledger["frame_id"][ledger_rows]
    rows["t"] = tables.ledger["t_received"][ledger_rows]
    result = tables.ledger["result_row"][ledger_rows]
    known = (result >= 0) & (result < len(tables.summary["frame_id"]))
    from_summary = result[known]
    for name in (name for name in SERIES_DTYPE.names or () if SERIES_DTYPE[name].kind == "f" and name != "t"):
        rows[name] = math.nan
    for name in set(SERIES_DTYPE.names or ()) & set(tables.summary) - {"frame_id"}:
        rows[name][known] = tables.summary[name][from_summary]
    if tables.particles:
        unsure, size_nm = _particles_by_result(tables)
        rows["n_unsure"][known], rows["particle_size_nm"][known] = unsure[from_summary], size_nm[from_summary]
    rows["drift_y_px"][known] = tables.summary["drift"][from_summary, 0]
    rows["drift_x_px"][known] = tables.summary["drift"][from_summary, 1]
    return rows


def _particles_by_result(tables: Tables) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Count the particles of no said shape, and average the sizes [nm] of the uncut ones, of each result."""
    size, whole = tables.particles["size"], tables.particles["touches_border"] == 0
    n = len(tables.summary["frame_id"])
    owner = np.searchsorted(tables.first_particle[:n], np.arange(len(size)), side="right") - 1
    said = np.isin(tables.particles["shape_class"], [name.encode() for name in tables.shapes])
    sums = np.bincount(owner[whole], size[whole], minlength=n)
    with np.errstate(invalid="ignore"):
        return np.bincount(owner[~said], minlength=n), sums / np.bincount(owner[whole], minlength=n)


def _channels(file: h5py.File) -> ChannelHistory:
    history = ChannelHistory()
    for name, group in file["/entry/channels"].items():
        unit = str(group["value"].attrs.get("units", ""))
        rows = zip(group["time"][:].tolist(), group["value"][:].tolist(), strict=False)  # a growing file
        history.add((Sample(name, t, value) for t, value in rows), {name: unit})
    return history


def _rows_by_frame(frame_ids: h5py.Dataset | None) -> dict[int, int]:
    if frame_ids is None:
        return {}
    return {int(frame_id): row for row, frame_id in enumerate(frame_ids[:]) if frame_id >= 0}


def _text(file: h5py.File, path: str) -> str:
    return _decoded(file[path][()])


def _decoded(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
