"""Reading the tables of a result file, open or closed, and finding out whether somebody is writing it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from math import isnan
from os import strerror
from pathlib import Path
from traceback import walk_tb
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray

from streamer.errors import FileReadError, UsageError
from streamer.file_process import PROCESS
from streamer.files.hdf5 import hdf5_reason
from streamer.files.limits import one_line
from streamer.records import FrameStatus, Policy
from streamer.superblock import is_marked_open

__all__ = [
    "Asked",
    "FileState",
    "Table",
    "Tables",
    "asked_of",
    "count",
    "damaged_on_arrival",
    "file_state",
    "left_out",
    "open_result",
    "read_tables",
    "unanswered",
    "wanted",
]

_SILENCE_S = 30.0  # a writer on another machine that has not shown itself for so long is gone
_SAME_START_S = 2.0  # two readings of a process' start differ by less

Table = dict[str, NDArray[Any]]


class FileState(StrEnum):
    """Whether a file's writer has finished."""

    CLOSED = "closed"
    BEING_WRITTEN = "being written"
    CRASHED = "crashed"


class Asked(msgspec.Struct, frozen=True):
    """What a run was asked to analyse, by its stored configuration; what is not in it was not asked for."""

    enabled: bool = False
    policy: Policy = Policy.LATEST
    every: int = 1


class _Configuration(msgspec.Struct, frozen=True):
    analysis: Asked = Asked()


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything of a file but pixels and maps; a table is its columns by name.

    The columns of a table are read as far as the shortest goes. `uneven` names the tables where others go
    further, which only a crash in the midst of a flush can leave behind.
    """

    ledger: Table
    stack: Table  # time and indices_image
    summary: Table
    columns: Table  # without first_row
    changes: Table  # without columns in files of earlier versions
    first_row: NDArray[Any]
    counters: dict[str, int]
    n_planned: int
    n_due: int  # planned frames that had to come: 0 where the series was cut short
    asked: Asked
    state: str
    end_reason: str
    uneven: tuple[str, ...]
    particles: Table = field(default_factory=dict)  # without first_row; empty: a file of an earlier version
    first_particle: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int64))
    shapes: tuple[str, ...] = ()  # what particles were told apart by


@contextmanager
def open_result(path: Path) -> Iterator[h5py.File]:
    """Open a result file for reading, also while it is written or after its writer has died.

    A closed one is opened plainly: a reader beside a writer reads what has a wrong checksum again and again,
    as if it were just being written, which takes years in a file that is damaged or truncated.

    Raises
    ------
    UsageError
        If it is not a readable result file.
    FileReadError
        If HDF5 finds it damaged, here or where it is read on; an error of anything else goes through.
    """
    written = _has_writer(path)
    locking = None if written else False  # who reads a closed file does not keep it from being added to
    try:
        file = h5py.File(path, "r", libver="latest", swmr=written, locking=locking)
    except OSError as error:
        if not error.errno and path.is_file() and not h5py.is_hdf5(path):
            raise UsageError(f"{path} is no result file of this program (.nxs): it is not HDF5") from error
        why = strerror(error.errno) if error.errno else hdf5_reason(str(error))
        raise UsageError(f"cannot open {path}: {why}") from error
    with file, _damage_named(path):
        if f"{PROCESS}/state" not in file or "/entry/ledger/frame_id" not in file:
            raise UsageError(f"{path} is HDF5, but not a result file of this program")
        yield file


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        *_, (innermost, _) = walk_tb(error.__traceback__)
        if not innermost.f_globals.get("__name__", "").startswith("h5py."):
            raise
        raise FileReadError(f"{path} cannot be read: {one_line(error)}") from error


def _has_writer(path: Path) -> bool:
    """Whether a file is being written, or was left behind; what cannot be one is for HDF5 to judge."""
    with suppress(UsageError):
        return is_marked_open(path)
    return False


def read_tables(file: h5py.File) -> Tables:
    """Read all tables.

    Raises
    ------
    FileReadError
        If one of them cannot be read: HDF5 has found a checksum of its own wrong.
    """
    try:
        return _read_tables(file)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise FileReadError(f"the tables of {file.filename} cannot be read: {one_line(error)}") from error


def _read_tables(file: h5py.File) -> Tables:
    first_row = file["/entry/columns/first_row"][:]
    particles = file["/entry/particles"]
    known = "first_row" in particles  # an earlier version had a table that was never written to
    first_particle = particles["first_row"][:] if known else np.empty(0, np.int64)
    parts = {
        "ledger": file["/entry/ledger"],
        "stack": {name: file[f"/entry/stack/{name}"] for name in ("time", "indices_image")},
        "summary": file["/entry/summary"],
        "columns": _members(file["/entry/columns"]),
        "changes": file["/entry/changes"] if "/entry/changes" in file else {},
        "particles": _members(particles) if known else {},
    }
    tables = {name: {n: part[n][:] for n in part} for name, part in parts.items()}
    counters = file[f"{PROCESS}/counters"]
    state, n_planned = _state_of(file), int(file[f"{PROCESS}/series/n_frames_planned"][()])
    return Tables(
        **{name: _even(table) for name, table in tables.items()},
        first_row=first_row,
        first_particle=first_particle,
        shapes=_names(particles.attrs.get("shapes", ())) if known else (),
        counters={name: int(counters[name][()]) for name in counters},
        n_planned=n_planned,
        n_due=_frames_due(file, state, n_planned),
        asked=asked_of(file),
        state=state,
        end_reason=file[f"{PROCESS}/end_reason"][()].decode(),
        uneven=tuple(name for name, table in tables.items() if len({*map(len, table.values())}) > 1),
    )


def _members(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return a table's columns; by their names, since a group's ``items`` has None for what is damaged."""
    return {name: group[name] for name in group if name != "first_row"}


def _state_of(file: h5py.File) -> str:
    return str(file[f"{PROCESS}/state"][()].decode())


def _frames_due(file: h5py.File, state: str, n_planned: int) -> int:
    """Return how many planned frames had to come; an earlier version's file says so by its state alone."""
    if f"{PROCESS}/frames_due" in file:
        return int(file[f"{PROCESS}/frames_due"][()])
    return n_planned if state in ("complete", "failed") else 0


def asked_of(file: h5py.File) -> Asked:
    """Read what a file's run was asked to analyse; other versions' keys are passed over."""
    text = file[f"{PROCESS}/configuration"][()]
    return msgspec.toml.decode(text, type=_Configuration).analysis


def wanted(ledger: Table, asked: Asked) -> NDArray[np.bool_]:
    """Tell which rows are frames that the run was to analyse: in the stack, or left out of it on request."""
    usable = (ledger["stack_row"] >= 0) | left_out(ledger)
    return np.asarray((ledger["frame_id"] % asked.every == 0) & usable & asked.enabled)


def unanswered(ledger: Table, asked: Asked) -> NDArray[np.bool_]:
    """Tell which of them have neither a result nor a failure, and were not skipped."""
    nothing_came = np.isin(ledger["status"], (FrameStatus.RECORDED, FrameStatus.UNRECORDED))
    return np.asarray(wanted(ledger, asked) & nothing_came)


def damaged_on_arrival(ledger: Table) -> NDArray[np.bool_]:
    """Tell which rows are frames whose message was damaged, so that they are not in the stack."""
    return np.asarray((ledger["stack_row"] < 0) & (ledger["status"] == FrameStatus.DAMAGED))


def count(ledger: Table) -> dict[str, int]:
    """Add a ledger up, by the names of `streamer.counters.Counters`; also its ``rows``."""
    status = ledger["status"]
    missing = int(np.sum(status == FrameStatus.MISSING))
    return {
        "rows": len(status),
        "received": len(status) - missing,
        "recorded": int(np.sum(ledger["stack_row"] >= 0)),
        "analysed": int(np.sum(status == FrameStatus.ANALYSED)),
        "skipped": int(np.sum(status == FrameStatus.SKIPPED)),
        "missing": missing,
        "damaged": int(np.sum(status == FrameStatus.DAMAGED)),
        "paused": int(np.sum(left_out(ledger))),
    }


def left_out(ledger: Table) -> NDArray[np.bool_]:
    """Say of each row whether its frame was received, undamaged, while recording was switched off."""
    usable = ~np.isin(ledger["status"], (FrameStatus.MISSING, FrameStatus.DAMAGED))
    return np.asarray(usable & (ledger["stack_row"] < 0))


def file_state(path: Path) -> FileState:
    """Find out whether a file was closed, is being written, or was left behind.

    Raises
    ------
    UsageError
        If it is not a readable result file.
    """
    if not is_marked_open(path):
        return FileState.CLOSED
    with open_result(path) as file:
        writer = {name: file[f"{PROCESS}/writer/{name}"][()] for name in ("pid", "host", "started")}
        heartbeat = float(file[f"{PROCESS}/t_heartbeat"][()])
    if writer["host"].decode() == socket.gethostname():
        alive = _is_running(int(writer["pid"]), float(writer["started"]))
    else:
        alive = not isnan(heartbeat) and time.time() - heartbeat < _SILENCE_S
    return FileState.BEING_WRITTEN if alive else FileState.CRASHED


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        is_same = abs(process.create_time() - started) < _SAME_START_S
        return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _names(shapes: Any) -> tuple[str, ...]:
    return tuple(name.decode(errors="replace") for name in shapes if name)


def _even(table: Table) -> Table:
    n_rows = min((len(column) for column in table.values()), default=0)
    return {name: column[:n_rows] for name, column in table.items()}
