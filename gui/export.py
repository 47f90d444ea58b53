"""Out of the window: the view as PNG or SVG, the time series as CSV."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QBuffer, QRect
from PySide6.QtGui import QPainter, QPixmap
from PySide6.QtSvg import QSvgGenerator

from gui.channels import Channel
from streamer.errors import UsageError

__all__ = ["save_png", "save_series", "save_svg", "series_table", "svg_of"]


def save_png(picture: QPixmap, path: Path) -> None:
    """Save what a window showed.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    if not picture.save(str(path), "PNG"):
        raise UsageError(f"cannot write {path}: check the folder, its permissions and the free space")


def save_svg(svg: bytes, path: Path) -> None:
    """Save what `svg_of` has made.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    try:
        path.write_bytes(svg)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def svg_of(canvas: Any) -> bytes:
    """Draw a graphics view as vectors; pictures in it stay pixels."""
    buffer, generator = QBuffer(), QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setSize(canvas.viewport().size())
    generator.setViewBox(QRect(0, 0, canvas.viewport().width(), canvas.viewport().height()))
    generator.setTitle("Atomstream: atom counts")
    painter = QPainter(generator)
    canvas.render(painter)
    painter.end()
    return bytes(buffer.data().data())


def series_table(
    rows: NDArray[np.void],
    column: NDArray[np.float64],
    region: NDArray[np.float64],
    channels: Mapping[str, Channel],
) -> tuple[list[str], list[list[object]]]:
    """Put a window's series side by side, one row a frame.

    Parameters
    ----------
    rows : numpy.ndarray of gui.history.SERIES_DTYPE
    column : numpy.ndarray of float64, shape (n, 5)
        From `gui.following.ColumnFollower`; may be empty.
    region : numpy.ndarray of float64, shape (m, 4)
        From `gui.following.RegionFollower`; may be empty.
    channels : Mapping of str to Channel
        Stimuli; a frame gets the last value before it.

    Returns
    -------
    names, table
        Units are in the names; a value that is not known is None.
    """
    names = list(rows.dtype.names or ())
    names[names.index("t")] = "t_received_unix_s"
    extra = {
        "column_count": (column, 1), "column_probability": (column, 2), "column_fused_count": (column, 3),
        "column_fused_probability": (column, 4), "region_atoms": (region, 1), "region_columns": (region, 2),
        "region_fused_atoms": (region, 3),
    }  # fmt: skip
    followed = {name: _by_time(values, index) for name, (values, index) in extra.items() if len(values)}
    stimuli = {f"{name} [{c.unit}]" if c.unit else name: _held(c, rows["t"]) for name, c in channels.items()}
    table: list[list[object]] = []
    for k, row in enumerate(rows):
        values: list[object] = [_cell(name, value) for name, value in zip(names, row.tolist(), strict=True)]
        values += [found.get(float(row["t"])) for found in followed.values()]
        table.append(values + [held[k] for held in stimuli.values()])
    return [*names, *followed, *stimuli], table


def save_series(path: Path, names: Sequence[str], table: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV with a header line.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(table)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _held(channel: Channel, t: NDArray[np.float64]) -> list[float | None]:
    """Return the channel's value at each of the times `t` [Unix s]; None before its first sample."""
    at = channel.t[: channel.n].searchsorted(t, side="right") - 1
    return [float(channel.value[k]) if k >= 0 else None for k in at.tolist()]


def _cell(name: str, value: float) -> float | None:
    """Write numbers of things without a decimal point, and nothing for what is not known."""
    if value != value:
        return None
    return round(value) if name.startswith("n_") else value


def _by_time(values: NDArray[np.float64], index: int) -> dict[float, float | None]:
    return {float(row[0]): None if row[index] != row[index] else float(row[index]) for row in values}
