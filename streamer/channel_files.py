"""Stimulus channels of a finished file: added from a device's own table (CSV), and written as one."""

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite, nan
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import RecordingError, UsageError
from streamer.file_layout import channel_columns
from streamer.result_tables import FileState, file_state, open_result
from streamer.swmr import LIBVER

__all__ = ["Series", "Table", "add_channels", "read_channels", "read_csv", "write_csv"]

_TITLE = re.compile(r"\s*(?P<name>[^\[(]*?)\s*(?:[\[(]\s*(?P<unit>[^\])]*?)\s*[\])])?\s*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_TIME_TITLES = ("time", "t", "timestamp", "date", "datetime")


@dataclass(slots=True)
class Series:
    """One channel: times [Unix s] and values, in the order of time."""

    unit: str = ""
    t: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """What was read from a CSV: channels by name, and the lines that held no time, or no number."""

    channels: dict[str, Series]
    bad_lines: list[int]


def read_csv(path: Path, t_zero: float | None = None, offset_s: float = 0.0) -> Table:
    """Read a table: first column the time, every other a channel, ``name [unit]`` or ``name (unit)``.

    Parameters
    ----------
    path : pathlib.Path
        Separated by comma, semicolon or tab. An empty cell is no sample.
    t_zero : float or None
        None: times are Unix seconds or ISO 8601 (without a zone: this machine's). Otherwise they are seconds
        since `t_zero` [Unix s].
    offset_s : float
        Added to every time: how far the device's clock is behind.

    Raises
    ------
    UsageError
        If it is no such table.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    lines = text.splitlines()
    separator = max(",;\t", key=lines[0].count) if lines else ","
    rows = list(csv.reader(lines, delimiter=separator))
    titles = _titles(path, rows[0] if rows else [])
    table = Table({name: Series(unit) for name, unit in titles}, [])
    for number, row in enumerate(rows[1:], 2):
        if any(cell.strip() for cell in row) and not _take_row(table, row, t_zero, offset_s):
            table.bad_lines.append(number)
    for series in table.channels.values():
        in_order = _in_order("", np.array(series.t), np.array(series.value))
        series.t, series.value = in_order.t, in_order.value
    return table


def _titles(path: Path, row: list[str]) -> list[tuple[str, str]]:
    if len(row) < 2 or not row[0].strip().lower().startswith(_TIME_TITLES):
        raise UsageError(
            f"{path}: expected a first line such as 'time,temperature [K],pressure [mbar]', got"
            f" {','.join(row)!r}"
        )
    titles = []
    for cell in row[1:]:
        found = _TITLE.fullmatch(cell)
        name = re.sub(r"\s+", "_", found["name"]) if found is not None else cell
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"{path}: {cell!r} is no channel's name: letters, digits, _ and - are expected")
        titles.append((name, (found["unit"] or "") if found is not None else ""))
    if len({name for name, _ in titles}) < len(titles):
        raise UsageError(f"{path}: two columns have the same name")
    return titles


def _take_row(table: Table, row: list[str], t_zero: float | None, offset_s: float) -> bool:
    """Take in a line; return whether all of it could be read."""
    t = _time(row[0], t_zero)
    if not isfinite(t):
        return False
    whole = len(row) <= len(table.channels) + 1
    for series, cell in zip(table.channels.values(), row[1:], strict=False):
        value = _number(cell)
        if isfinite(value):
            series.t.append(t + offset_s)
            series.value.append(value)
        elif cell.strip():
            whole = False
    return whole


def _number(cell: str) -> float:
    with suppress(ValueError):
        return float(cell)
    return nan


def _time(cell: str, t_zero: float | None) -> float:
    number = _number(cell)
    if t_zero is not None:
        return t_zero + number
    if isfinite(number):
        return number
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(cell.strip()).timestamp()
    return nan


def add_channels(path: Path, channels: Mapping[str, Series]) -> None:
    """Add channels to a finished result file; none that it has is changed.

    Raises
    ------
    UsageError
        If the file is being written, was left behind by a crash, or has a channel of that name.
    RecordingError
        If it cannot be written.
    """
    if file_state(path) is not FileState.CLOSED:
        raise UsageError(
            f"{path} was not closed: wait until the run is over, or use atomstream check --repair"
        )
    with open_result(path) as file:
        known = file["/entry/channels"]
        if taken := [name for name in channels if name in known and len(known[name]["value"])]:
            raise UsageError(f"{path} has {', '.join(taken)} already, and recorded values are never replaced")
    try:
        with h5py.File(path, "r+", libver=LIBVER) as file:
            for name, series in channels.items():
                _add(file["/entry/channels"], name, series)
    except OSError as error:
        raise RecordingError(f"cannot write to {path}: {error}") from error


def _add(parent: h5py.Group, name: str, series: Series) -> None:
    if name in parent:  # declared, but nothing was ever sent
        del parent[name]
    group = parent.create_group(name)
    group.attrs.update({"NX_class": "NXdata", "signal": "value", "axes": ["time"], "title": name})
    group.attrs["source"] = "added after the run"
    rows = {"time": series.t, "value": series.value, "t_source": [nan] * len(series.t)}
    for spec in channel_columns(series.unit):
        dataset = group.create_dataset(spec.name, data=np.array(rows[spec.name], spec.dtype))
        dataset.attrs.update({n: v for n, v in (("units", spec.units), ("long_name", spec.long_name)) if v})


def read_channels(path: Path) -> dict[str, Series]:
    """Read the channels of a result file, each in the order of time: they are stored as they were sent.

    Raises
    ------
    UsageError
        If it is not a readable result file.
    """
    with open_result(path) as file:
        channels = file["/entry/channels"]
        return {name: _series(channels[name]) for name in channels}


def _series(group: h5py.Group) -> Series:
    return _in_order(str(group["value"].attrs.get("units", "")), group["time"][:], group["value"][:])


def _in_order(unit: str, t: NDArray[np.float64], value: NDArray[np.float64]) -> Series:
    order = np.argsort(t, kind="stable")
    return Series(unit, t[order].tolist(), value[order].tolist())


def write_csv(path: Path, out: Path) -> int:
    """Write one line a recorded frame with each channel's value at its arrival; return how many lines.

    A channel's value is the last one of that time or before: what was set holds until it is changed.

    Raises
    ------
    UsageError
        If `path` is not a readable result file, or `out` exists or cannot be written.
    """
    channels = read_channels(path)
    with open_result(path) as file:
        ledger = {name: file[f"/entry/ledger/{name}"][:] for name in ("frame_id", "t_received", "status")}
    titles = ["frame_id", "time [s]", *(f"{n} [{s.unit}]" if s.unit else n for n, s in channels.items())]
    came = np.isfinite(ledger["t_received"])
    times = ledger["t_received"][came]
    columns = [_held(series, times) for series in channels.values()]
    try:
        with out.open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(titles)
            writer.writerows(_rows(ledger["frame_id"][came], times, columns))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    return len(times)


def _held(series: Series, times: NDArray[np.float64]) -> NDArray[np.float64]:
    last = np.searchsorted(series.t, times, side="right") - 1
    return np.array([nan, *series.value])[last + 1]


def _rows(
    frame_ids: NDArray[np.int64], times: NDArray[np.float64], columns: list[NDArray[np.float64]]
) -> Iterator[list[Any]]:
    for row, (frame_id, t) in enumerate(zip(frame_ids, times, strict=True)):
        values = [float(column[row]) for column in columns]
        yield [int(frame_id), f"{t:.6f}", *("" if value != value else repr(value) for value in values)]
