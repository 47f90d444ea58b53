"""Compares the results of two analyses of the same frames, value by value and to the last bit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.file_process import PROCESS
from streamer.records import FrameStatus
from streamer.result_tables import Table, Tables, open_result, read_tables

__all__ = ["Comparison", "Difference", "RunResults", "compare", "format_comparison", "read_results"]

_ENGINE = ("backend", "device", "precision", "version")
_IDENTITIES = ("frame_id", "first_row", "n_particles")  # where a row belongs, or how many there are
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class RunResults:
    """The analysis in one result file.

    Attributes
    ----------
    path : pathlib.Path
    statuses : mapping of int to FrameStatus
        What became of each frame that was analysed or found damaged, by frame id.
    stack_rows : mapping of int to int
        Where each of those frames is in the stack.
    columns : mapping of int to Table
        Each analysed frame's columns: equally long arrays by name.
    particles : mapping of int to Table
        Each analysed frame's particles, likewise.
    summaries : mapping of int to mapping
        Each analysed frame's other results: numbers, or small arrays, by name.
    engine : mapping of str to str
        Backend, device, precision and version, and each network's SHA-256 by its name.
    configuration : str
        The run's configuration as TOML.
    not_kept : int
        Frames that were analysed, but are not in the file.
    """

    path: Path
    statuses: Mapping[int, FrameStatus]
    stack_rows: Mapping[int, int]
    columns: Mapping[int, Table]
    summaries: Mapping[int, Mapping[str, NDArray[Any]]]
    engine: Mapping[str, str]
    configuration: str
    particles: Mapping[int, Table] = field(default_factory=dict)
    not_kept: int = 0

    def renumbered(self, frame_ids: Sequence[int]) -> "RunResults":
        """Return the same results with frame n called ``frame_ids[n]``."""

        def named(values: Mapping[int, Any]) -> dict[int, Any]:
            return {frame_ids[n]: value for n, value in values.items() if n < len(frame_ids)}

        return replace(
            self,
            statuses=named(self.statuses),
            stack_rows=named(self.stack_rows),
            columns=named(self.columns),
            particles=named(self.particles),
            summaries=named(self.summaries),
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one frame that is not the same.

    Attributes
    ----------
    frame_id : int
    field : str
        ``status``, ``n_particles``, ``summary.NAME``, ``columns.NAME`` or ``particles.NAME``.
    stored, again : str
        Both values; of several (a frame's columns), the pair that differs most.
    n_values : int
        How many values of the field differ in this frame.
    largest : float
        The largest difference; NaN where that has no meaning.
    """

    frame_id: int
    field: str
    stored: str
    again: str
    n_values: int = 1
    largest: float = nan


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared and what came out.

    Attributes
    ----------
    frames : int
        Frames compared: those that the stored run analysed, or found damaged.
    columns, particles : int
        Their columns and particles in the stored run.
    differences : tuple of Difference
    engine_changes : tuple of str
        What was not the same about networks and backend: the likely cause of differences, none by itself.
    """

    frames: int
    columns: int
    differences: tuple[Difference, ...]
    engine_changes: tuple[str, ...]
    particles: int = 0

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"same": self.same, **asdict(self)}


def read_results(path: Path) -> RunResults:
    """Read a result file.

    Raises
    ------
    UsageError
        If it is none, or its run analysed nothing, or kept nothing of that.
    """
    with open_result(path) as file:
        tables = read_tables(file)
        engine, configuration = _engine(file), _text(file[f"{PROCESS}/configuration"][()])
    ledger = _as_handed_on(tables.ledger)
    kept = np.isin(ledger["status"], (FrameStatus.ANALYSED, FrameStatus.DAMAGED)) & (ledger["stack_row"] >= 0)
    analysed = ledger["status"] == FrameStatus.ANALYSED
    if not np.any(analysed):
        raise UsageError(f"{path} was recorded without analysis: there is nothing to compare")
    if not np.any(analysed & kept):
        raise UsageError(f"{path} holds none of the frames that were analysed: there is nothing to compare")
    frame_ids = ledger["frame_id"][kept].tolist()
    rows = {int(frame_id): row for row, frame_id in enumerate(tables.summary["frame_id"])}
    return RunResults(
        path=path,
        statuses=dict(zip(frame_ids, map(FrameStatus, ledger["status"][kept].tolist()), strict=True)),
        stack_rows=dict(zip(frame_ids, ledger["stack_row"][kept].tolist(), strict=True)),
        columns={
            i: _rows_of(tables.columns, tables.first_row, tables.summary["n_columns"], r)
            for i, r in rows.items()
        },
        particles=_particles_of(tables, rows),
        summaries={i: _without_identity(tables.summary, r) for i, r in rows.items()},
        engine=engine,
        configuration=configuration,
        not_kept=int(np.sum(analysed & ~kept)),
    )


def compare(stored: RunResults, again: RunResults) -> Comparison:
    """Compare every value of every frame; NaN is equal to NaN, nothing else is rounded or forgiven."""
    differences = [
        difference
        for frame_id in sorted(stored.statuses)
        for difference in _frame_differences(stored, again, frame_id)
    ]
    return Comparison(
        frames=len(stored.statuses),
        columns=sum(len(_any_of(table)) for table in stored.columns.values()),
        differences=tuple(differences),
        engine_changes=_engine_changes(stored.engine, again.engine),
        particles=sum(len(_any_of(table)) for table in stored.particles.values()),
    )


def format_comparison(comparison: Comparison) -> str:
    """Lay a comparison out as lines for the terminal; all differences are in the JSON."""
    particles = f", {comparison.particles:,} particles" if comparison.particles else ""
    lines = [f"  compared  {comparison.frames:,} frames, {comparison.columns:,} columns{particles}"]
    lines += [f"  engine    {change}" for change in comparison.engine_changes]
    if comparison.same:
        return "\n".join([*lines, "  verdict   no difference: every value is the same to the last bit", ""])
    lines += [f"  differs   {_described(d)}" for d in comparison.differences[:_SHOWN]]
    if (more := len(comparison.differences) - _SHOWN) > 0:
        lines.append(f"  differs   … and {more:,} more (--json lists them all)")
    frames = len({difference.frame_id for difference in comparison.differences})
    return "\n".join([*lines, f"  verdict   {frames:,} of {comparison.frames:,} frames differ", ""])


def _described(difference: Difference) -> str:
    many = f" ({difference.n_values} values)" if difference.n_values > 1 else ""
    return (
        f"frame {difference.frame_id}: {difference.field} was {difference.stored},"
        f" is {difference.again}{many}"
    )


def _frame_differences(stored: RunResults, again: RunResults, frame_id: int) -> list[Difference]:
    """Return the differences of one frame, the coarsest only: a status, a number of columns, or values."""
    before, now = stored.statuses[frame_id], again.statuses.get(frame_id)
    if before is not now:
        return [Difference(frame_id, "status", before.name, "not analysed" if now is None else now.name)]
    if before is not FrameStatus.ANALYSED:
        return []
    found = _field_differences(frame_id, "summary", stored.summaries[frame_id], again.summaries[frame_id])
    old, new = stored.columns[frame_id], again.columns[frame_id]
    if len(_any_of(old)) == len(_any_of(new)):
        found += _field_differences(frame_id, "columns", old, new)
    return found + _particle_differences(frame_id, stored.particles, again.particles)


def _particle_differences(
    frame_id: int, stored: Mapping[int, Table], again: Mapping[int, Table]
) -> list[Difference]:
    old, new = stored.get(frame_id, {}), again.get(frame_id, {})
    before, now = (len(_any_of(table)) if table else 0 for table in (old, new))
    if before != now:
        return [Difference(frame_id, "n_particles", str(before), str(now), largest=float(abs(now - before)))]
    return _field_differences(frame_id, "particles", old, new) if before else []


def _field_differences(
    frame_id: int, group: str, old: Mapping[str, NDArray[Any]], new: Mapping[str, NDArray[Any]]
) -> list[Difference]:
    found = []
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            was, is_now = ("there" if name in values else "not there" for values in (old, new))
            found.append(Difference(frame_id, f"{group}.{name}", was, is_now))
        elif difference := _value_difference(frame_id, f"{group}.{name}", old[name], new[name]):
            found.append(difference)
    return found


def _value_difference(frame_id: int, field: str, old: NDArray[Any], new: NDArray[Any]) -> Difference | None:
    """Compare two arrays of one shape; of several values that differ, the pair furthest apart is named."""
    old, new = np.atleast_1d(old).ravel(), np.atleast_1d(new).ravel()
    equal = (old == new) | ((old != old) & (new != new))  # NaN is the only value unequal to itself
    if equal.all():
        return None
    if old.dtype.kind == "S":  # names have no distance
        worst = int(np.argmin(equal))
        return Difference(frame_id, field, _text(old[worst]), _text(new[worst]), int(np.sum(~equal)))
    distance = np.abs(new.astype(np.float64) - old.astype(np.float64))
    distance[np.isnan(distance)] = np.inf  # from or to NaN
    distance[equal] = -1
    worst = int(distance.argmax())
    largest = float(distance[worst]) if np.isfinite(distance[worst]) else nan
    return Difference(frame_id, field, str(old[worst]), str(new[worst]), int(np.sum(~equal)), largest)


def _engine_changes(stored: Mapping[str, str], again: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} was {stored.get(name, 'not there')}, is {again.get(name, 'not there')}"
        for name in sorted({*stored, *again})
        if stored.get(name) != again.get(name)
    )


def _engine(file: h5py.File) -> dict[str, str]:
    analysis = file[f"{PROCESS}/analysis"]
    named = {name: _text(analysis[name][()]) for name in _ENGINE}
    models = analysis["models"]
    pairs = zip(models["name"][()], models["sha256"][()], strict=True)
    return named | {f"network {_text(name)}": _text(sha256) for name, sha256 in pairs}


def _as_handed_on(ledger: Table) -> Table:
    """Order a ledger by arrival: what is known of a frame's columns depends on the frames before it."""
    order = np.lexsort((ledger["stack_row"], ledger["t_received"]))  # an event's frames are further behind
    return {name: values[order] for name, values in ledger.items()}


def _rows_of(table: Table, first_row: NDArray[Any], numbers: NDArray[Any], row: int) -> Table:
    first = int(first_row[row])
    rows = slice(first, first + int(numbers[row]))
    return {name: values[rows] for name, values in table.items() if name not in _IDENTITIES}


def _particles_of(tables: Tables, rows: Mapping[int, int]) -> dict[int, Table]:
    """Return each frame's particles; files of earlier versions have none."""
    if not tables.particles:
        return {}
    numbers = tables.summary["n_particles"]
    return {i: _rows_of(tables.particles, tables.first_particle, numbers, r) for i, r in rows.items()}


def _without_identity(table: Table, row: int) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(values[row]) for name, values in table.items() if name not in _IDENTITIES}


def _any_of(table: Table) -> NDArray[Any]:
    return next(iter(table.values()))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
