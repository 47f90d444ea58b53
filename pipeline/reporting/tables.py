"""A report's numbers as files that other programs read: CSV, and Parquet where pyarrow is installed."""

import csv
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reporting.run import Rate, RunReport
from streamer.errors import UsageError

__all__ = ["write_tables"]


def write_tables(report: RunReport, folder: Path) -> list[Path]:
    """Write ``totals``, ``changes``, ``stays`` and ``rates`` into a folder; it is made if need be.

    Returns
    -------
    list of pathlib.Path
        The files written: ``.csv``, and ``.parquet`` where pyarrow is installed.

    Raises
    ------
    UsageError
        If one of them exists, or the folder cannot be made or written to.
    """
    tables: dict[str, dict[str, list[Any]]] = {
        "totals": _columns_of(report.totals),
        "changes": _columns_of(report.changes),
        "stays": _columns_of(report.stays),
        "rates": {f.name: [asdict(rate)[f.name] for rate in report.rates] for f in fields(Rate)},
    }
    endings = ("csv", "parquet") if find_spec("pyarrow") else ("csv",)
    paths = [folder / f"{name}.{ending}" for name in tables for ending in endings]
    if existing := [path for path in paths if path.exists()]:
        raise UsageError(f"{existing[0]} exists and is never overwritten; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    try:
        for name, columns in tables.items():
            _write_csv(folder / f"{name}.csv", columns)
            if "parquet" in endings:
                _write_parquet(folder / f"{name}.parquet", columns)
    except OSError as error:
        raise UsageError(f"cannot write the tables into {folder}: {error.strerror or error}") from error
    return paths


def _columns_of(rows: NDArray[np.void]) -> dict[str, list[Any]]:
    """Return columns of NumPy's numbers, which know with how many figures they are the same when read."""
    return {name: list(rows[name]) for name in rows.dtype.names or ()}


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(map(str, row) for row in zip(*columns.values(), strict=True))


def _write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
