"""``/entry/process``: how a result file came about, who is writing it, and what the run has counted."""

import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import nan
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import psutil
import zmq

from streamer.compression import decoder_name
from streamer.counters import Counters
from streamer.latency import PERCENTILES, STAGES
from streamer.records import AnalyserInfo, SeriesStart
from streamer.swmr import Column, ColumnSpec, SwmrFile, text, texts

__all__ = ["PROCESS", "ProcessRecord", "iso_time", "lay_out_process"]

PROCESS = "/entry/process"

_TEXT_BYTES = 256
_LOG_LINES = 10_000
_NAME_BYTES = 128
_SHA256_BYTES = 64
_LABEL_BYTES = 32
_NOTES = 10_000


class ProcessRecord:
    """The values under ``/entry/process`` that change while the file is written.

    All have a fixed size and a place from the start, so that writing them is no change of the file's
    structure; the texts are cut where they are longer than their place.
    """

    def __init__(self, values: Mapping[str, h5py.Dataset], columns: Mapping[str, Column]) -> None:
        self._values = values
        self._columns = columns
        self._written: set[str] = set()

    def put(self, name: str, value: Any) -> None:
        """Overwrite one value, such as ``state`` or ``counters/received``."""
        self._values[name][()] = text(value, _TEXT_BYTES) if isinstance(value, str) else value
        self._written.add(name)

    def note(self, t: float, line: str) -> None:
        """Add a line to the log, which ends after 10,000 lines."""
        n_lines = self._columns["log/t"].n_rows
        if n_lines < _LOG_LINES:
            last = "the log is full: what follows is only counted"
            self._columns["log/t"].append(np.array([t]))
            self._columns["log/text"].append(texts([line if n_lines < _LOG_LINES - 1 else last], _TEXT_BYTES))

    def mark(self, t: float, frame_id: int, line: str, source: str) -> bool:
        """Add a note to the file's table of notes; return False where the table is full."""
        notes = {name: self._columns[f"notes/{name}"] for name in ("time", "frame_id", "source", "text")}
        if notes["text"].n_rows >= _NOTES:
            return False
        notes["time"].append(np.array([t]))
        notes["frame_id"].append(np.array([frame_id]))
        notes["source"].append(texts([source], _LABEL_BYTES))
        notes["text"].append(texts([line], _TEXT_BYTES))
        return True

    def put_analyser(self, info: AnalyserInfo) -> None:
        """Name the engine and, the first time, its networks."""
        for name in ("backend", "device", "precision", "version", "reason"):
            self.put(f"analysis/{name}", getattr(info, name))
        if not self._columns["analysis/models/name"].n_rows:
            self._columns["analysis/models/name"].append(texts(list(info.networks), _NAME_BYTES))
            hashes = texts(list(info.networks.values()), _SHA256_BYTES)
            self._columns["analysis/models/sha256"].append(hashes)

    def put_counters(self, counters: Counters, percentiles_s: Mapping[str, tuple[float, ...]]) -> None:
        """Write every counter and, by stage, the latency percentiles [s]."""
        for name, value in counters.numbers().items():
            self.put(f"counters/{name}", value)
        for name, values in percentiles_s.items():
            self.put(f"latency/{name}", values)
        for group in ("bad_messages", "bad_samples"):
            bad = getattr(counters, group)
            self._columns[f"{group}/label"].write(0, texts(list(bad), _LABEL_BYTES))
            self._columns[f"{group}/count"].write(0, np.array(list(bad.values()), "<i8"))

    def flush(self) -> None:
        """Show readers what was written since the last flush."""
        for name in self._written:
            self._values[name].flush()
        self._written.clear()
        for column in self._columns.values():
            column.flush()


def lay_out_process(file: SwmrFile, start: SeriesStart, source: str, configuration: str) -> ProcessRecord:
    """Make ``/entry/process`` and write what is known already."""
    file.group(PROCESS, "NXprocess")
    for name, value in _constants(start, source, configuration).items():
        _make_parents(file, name)
        file.value(f"{PROCESS}/{name}", value)
    return ProcessRecord(_lay_out_values(file), _lay_out_columns(file))


def _lay_out_values(file: SwmrFile) -> dict[str, h5py.Dataset]:
    blank = np.zeros((), f"S{_TEXT_BYTES}")
    initial = {
        "state": _padded("recording"), "end_reason": blank, "t_heartbeat": nan, "t_end": nan,
        "frames_due": np.int64(0),
        "analysis/backend": blank, "analysis/device": blank, "analysis/precision": blank,
        "analysis/version": blank, "analysis/reason": blank,
    }  # fmt: skip
    initial |= {f"latency/{name}": np.full(len(PERCENTILES), nan) for name in STAGES}
    initial |= {f"counters/{name}": np.int64(0) for name in Counters().numbers()}
    values = {}
    for name, value in initial.items():
        _make_parents(file, name)
        values[name] = file.value(f"{PROCESS}/{name}", value)
    for name in ("t_heartbeat", "t_end"):
        file.attributes(f"{PROCESS}/{name}", units="s")
    for name, meaning in STAGES.items():
        file.attributes(f"{PROCESS}/latency/{name}", units="s", long_name=meaning)
    return values


def _lay_out_columns(file: SwmrFile) -> dict[str, Column]:
    specs = {
        "log/t": ColumnSpec("t", "<f8", "s", nan),
        "log/text": ColumnSpec("text", f"S{_TEXT_BYTES}", fill=b""),
        "notes/time": ColumnSpec("time", "<f8", "s", nan, long_name="Unix time"),
        "notes/frame_id": ColumnSpec("frame_id", "<i8", fill=-1, long_name="last frame received by then"),
        "notes/source": ColumnSpec("source", f"S{_LABEL_BYTES}", fill=b"", long_name="who has written it"),
        "notes/text": ColumnSpec("text", f"S{_TEXT_BYTES}", fill=b""),
        "bad_messages/label": ColumnSpec("label", f"S{_LABEL_BYTES}", fill=b""),
        "bad_messages/count": ColumnSpec("count", "<i8"),
        "bad_samples/label": ColumnSpec("label", f"S{_LABEL_BYTES}", fill=b""),
        "bad_samples/count": ColumnSpec("count", "<i8"),
        "analysis/models/name": ColumnSpec("name", f"S{_NAME_BYTES}", fill=b""),
        "analysis/models/sha256": ColumnSpec("sha256", f"S{_SHA256_BYTES}", fill=b""),
    }
    columns = {}
    for path, spec in specs.items():
        _make_parents(file, path)
        columns[path] = file.column(f"{PROCESS}/{path.rpartition('/')[0]}", spec)
    return columns


def _constants(start: SeriesStart, source: str, configuration: str) -> dict[str, Any]:
    return {
        "program": "atomstream",
        "git_commit": _git_commit(),
        "source": source,
        "configuration": configuration,
        "start_message": np.frombuffer(start.header, np.uint8),
        "writer/pid": os.getpid(),
        "writer/host": socket.gethostname(),
        "writer/started": psutil.Process().create_time(),
        "latency/percentile": np.array(PERCENTILES),
        **{f"versions/{name}": value for name, value in _versions().items()},
        **{f"series/{name}": value for name, value in _series(start).items()},
    }


def _series(start: SeriesStart) -> dict[str, Any]:
    return {
        "series_id": start.key.series_id,
        "unique_id": start.key.unique_id,
        "n_frames_planned": start.n_frames_planned,
        "channel": start.channel,
        "pixel_size_nm": nan if start.pixel_size_A is None else start.pixel_size_A / 10,
        "frame_time_s": nan if start.frame_time_s is None else start.frame_time_s,
        "saturation_value": -1 if start.saturation_value is None else start.saturation_value,
        "fields_json": msgspec.json.encode(dict(start.extra)).decode(),
    }


def _versions() -> dict[str, str]:
    return {
        "atomstream": _version_of("atomstream"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": h5py.version.version,
        "hdf5": h5py.version.hdf5_version,
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "hdf5plugin": _version_of("hdf5plugin"),
        "decoder": decoder_name(),
        "platform": platform.platform(),
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def _git_commit() -> str:
    """Return the commit of the source tree this runs from; empty for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _make_parents(file: SwmrFile, name: str) -> None:
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        file.ensure_group(f"{PROCESS}/{'/'.join(parts[:depth])}", "NXcollection")


def _padded(value: str) -> Any:
    return np.array(text(value), f"S{_TEXT_BYTES}")


def iso_time(t: float) -> str:
    """Return a Unix time [s] as ISO 8601 in UTC."""
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="microseconds")
