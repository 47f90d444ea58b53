"""One row per frame id: what became of every frame a source has numbered.

Row = frame id - first id of the series. The latest rows are held in memory, in arrays of a fixed length, and
written in blocks; when they are full the older half is let go. What changes in an older row after that (a
frame that comes very late, a result after a long queue) goes to the file directly. So the ledger takes
`WINDOW_ROWS` x 145 bytes, half a megabyte, however long the series is.
"""

from enum import Enum
from functools import lru_cache
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from streamer.errors import MessageError
from streamer.file_layout import LEDGER
from streamer.records import FrameResult, FrameStatus
from streamer.swmr import Column, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["WINDOW_ROWS", "FrameIdJumpError", "Ledger", "Placement"]

WINDOW_ROWS = 4096

_MISSING = int(FrameStatus.MISSING)
_RECORDED = FrameStatus.RECORDED
_SKIPPED = int(FrameStatus.SKIPPED)
_GROUPS = {
    "frame": ("frame_id", "t_detector", "t_received", "t_recorded", "stack_row"),
    "status": ("status",),
    "result": ("t_decoded", "t_batched", "t_analysed", "t_published", "result_row"),
    "reason": ("reason",),
}
"""Fields that change together, so that they are written together."""
_SPECS = {spec.name: spec for spec in LEDGER}
_REASON_BYTES = _SPECS["reason"].dtype


class FrameIdJumpError(MessageError):
    """A frame id so far from the others that it is damage, not loss."""

    label = "frame id jump"


class Placement(Enum):
    """Whether a frame id is new to the ledger."""

    NEW = "new"
    LATE = "late"  # its row was there already, as missing
    AGAIN = "again"  # all that had come under this id was damaged
    DUPLICATE = "duplicate"


class _Range:
    """The rows of one group of fields that must still be written; empty while ``first >= last``."""

    __slots__ = ("first", "last")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.first, self.last = 1 << 62, 0

    def add(self, row: int) -> None:
        if row < self.first:
            self.first = row
        if row >= self.last:
            self.last = row + 1


class Ledger:
    """The ledger of one series.

    Parameters
    ----------
    max_gap_frames : int
        A frame id further than this beyond the last one is refused.
    first_id : int
        Frame id of row 0, where an earlier file holds the ids before it.

    Attributes
    ----------
    first_id : int
        Frame id of row 0: 0, or the first frame's id where that is more than `max_gap_frames`.
    n_rows : int
        Frame ids that exist so far.
    n_missing : int
        How many of them nothing has come for.
    """

    def __init__(self, max_gap_frames: int, first_id: int = 0) -> None:
        self.first_id = first_id
        self.n_rows = 0
        self.n_missing = 0
        self._max_gap_frames = max_gap_frames
        self._columns: Mapping[str, Column] | None = None
        self._base = 0  # row of the window's first element
        self._window = {spec.name: _blank(spec.name, WINDOW_ROWS) for spec in LEDGER}
        self._dirty = {group: _Range() for group in _GROUPS}

    @property
    def end_id(self) -> int:
        """The frame id after the last row's."""
        return self.first_id + self.n_rows

    def attach(self, columns: "Mapping[str, Column]") -> None:
        """Write to a new file from now on, all rows so far included."""
        self._columns = columns
        columns["frame_id"].write(0, np.arange(self.first_id, self.first_id + self.n_rows))
        for dirty in self._dirty.values():
            dirty.first, dirty.last = self._base, self.n_rows

    def detach(self) -> None:
        """Go on without a file; rows that leave the window are then forgotten."""
        self._columns = None

    def place(self, frame_id: int) -> Placement:
        """Make the row of `frame_id`, and rows for the ids it leaves out.

        Raises
        ------
        FrameIdJumpError
            If the id lies before the first row, or more than `max_gap_frames` after the last.
        """
        if self.n_rows == 0 and frame_id - self.first_id > self._max_gap_frames:
            self.first_id = frame_id
        row = frame_id - self.first_id
        if row < self.n_rows:
            return self._place_late(row, frame_id)
        if row > self.n_rows:
            self._add_gap(row, frame_id)
        self._add_row(frame_id)
        return Placement.NEW

    def add_missing(self, n_rows: int) -> None:
        """Make rows up to `n_rows` for ids that will not come any more."""
        if n_rows > self.n_rows:
            self._add_gap(n_rows, self.first_id + n_rows - 1)

    def record(
        self,
        frame_id: int,
        t_detector: float,
        t_received: float,
        t_recorded: float,
        stack_row: int,
        status: FrameStatus = _RECORDED,
    ) -> None:
        """Note that a placed frame is in the file, or (`stack_row` -1) deliberately is not."""
        row = frame_id - self.first_id
        at = row - self._base
        if at < 0:
            times = {"t_detector": t_detector, "t_received": t_received, "t_recorded": t_recorded}
            self._write_late(row, {**times, "stack_row": stack_row, "status": int(status)})
            return
        window = self._window
        window["t_detector"][at] = t_detector
        window["t_received"][at] = t_received
        window["t_recorded"][at] = t_recorded
        window["stack_row"][at] = stack_row
        window["status"][at] = status
        self._dirty["frame"].add(row)
        self._dirty["status"].add(row)

    def keep(self, frame_id: int, t_recorded: float, stack_row: int, reason: str) -> None:
        """Note that a frame that was left out is in the file after all; what became of it else stays."""
        row: dict[str, Any] = {"t_recorded": t_recorded, "stack_row": stack_row}
        status = self.status(frame_id)
        if status is FrameStatus.UNRECORDED:
            row["status"] = int(_RECORDED)
        if status in (FrameStatus.UNRECORDED, FrameStatus.ANALYSED):  # it said why it was left out
            row["reason"] = _reason(reason)
        self._set(frame_id, **row)

    def damage(self, frame_id: int, reason: str, t_received: float = nan) -> None:
        """Note that nothing usable came under a placed id, or that a recorded frame cannot be analysed."""
        times = {"t_received": t_received} if t_received == t_received else {}
        self._set(frame_id, status=int(FrameStatus.DAMAGED), reason=_reason(reason), **times)

    def analyse(self, result: FrameResult, result_row: int) -> None:
        """Note a frame's result."""
        self._set(
            result.frame_id, status=int(FrameStatus.ANALYSED), t_decoded=result.t_decoded,
            t_batched=result.t_batched, t_analysed=result.t_analysed, t_published=result.t_published,
            result_row=result_row,
        )  # fmt: skip

    def skip(self, frame_id: int, reason: str) -> None:
        """Note that a recorded frame is deliberately not analysed."""
        self._set(frame_id, status=_SKIPPED, reason=_reason(reason))

    def explain(self, frame_id: int, reason: str) -> None:
        """Give a reason without changing the status."""
        self._set(frame_id, reason=_reason(reason))

    def received_by(self, t: float) -> int:
        """Return the id of the last frame received at time `t` [Unix s] or before; -1 if none is known.

        Only the window is searched: frames of the last `WINDOW_ROWS` / 2 at least.
        """
        times = self._window["t_received"][: self.n_rows - self._base]
        known = np.flatnonzero(times <= t)
        return self.first_id + self._base + int(known[-1]) if len(known) else -1

    def status(self, frame_id: int) -> FrameStatus | None:
        """Return a frame's status; None if there is no such row, or it is no longer known."""
        row = frame_id - self.first_id
        if not 0 <= row < self.n_rows:
            return None
        if row < self._base and self._columns is None:
            return None
        return FrameStatus(int(self._value(row, "status")))

    def write(self) -> None:
        """Hand everything that changed to the file, without flushing it."""
        if self._columns is not None:
            for group, fields in _GROUPS.items():
                self._write_range(self._dirty[group], fields)
            for column in self._columns.values():
                column.resize(self.n_rows)
        for dirty in self._dirty.values():
            dirty.clear()

    def flush(self) -> None:
        """Write everything that changed and show it to readers."""
        self.write()
        if self._columns is not None:
            for column in self._columns.values():
                column.flush()

    def _add_row(self, frame_id: int) -> None:
        if self.n_rows - self._base == WINDOW_ROWS:
            self._advance()
        self._window["frame_id"][self.n_rows - self._base] = frame_id
        self._dirty["frame"].add(self.n_rows)
        self.n_rows += 1

    def _add_gap(self, n_rows: int, frame_id: int) -> None:
        if n_rows - self.n_rows > self._max_gap_frames:
            raise FrameIdJumpError(
                f"frame id {frame_id} after {self.first_id + self.n_rows - 1}: a jump of more than"
                f" {self._max_gap_frames} frames is taken for damage (max_gap_frames)"
            )
        self.n_missing += n_rows - self.n_rows
        for row in range(self.n_rows, n_rows):
            self._add_row(self.first_id + row)

    def _place_late(self, row: int, frame_id: int) -> Placement:
        if row < 0:
            raise FrameIdJumpError(f"frame id {frame_id} lies before the series' first, {self.first_id}")
        status = self.status(frame_id)
        if status is FrameStatus.MISSING:
            self.n_missing -= 1
            return Placement.LATE
        damaged = status is FrameStatus.DAMAGED and self._value(row, "stack_row") < 0
        return Placement.AGAIN if damaged else Placement.DUPLICATE

    def _value(self, row: int, name: str) -> Any:
        if row >= self._base:
            return self._window[name][row - self._base]
        return self._columns[name].read(row) if self._columns is not None else _blank(name, 1)[0]

    def _set(self, frame_id: int, **fields: Any) -> None:
        row = frame_id - self.first_id
        if row < self._base:
            self._write_late(row, fields)
            return
        for name, value in fields.items():
            self._window[name][row - self._base] = value
            self._dirty[_GROUP_OF[name]].add(row)

    def _write_late(self, row: int, fields: "Mapping[str, Any]") -> None:
        if self._columns is not None:
            for name, value in fields.items():
                self._columns[name].write(row, np.array([value], _SPECS[name].dtype))

    def _advance(self) -> None:
        """Let the older half of the window go."""
        self.write()
        half = WINDOW_ROWS // 2
        for name, values in self._window.items():
            values[:half] = values[half:]
            values[half:] = _blank(name, half)
        self._base += half

    def _write_range(self, dirty: _Range, fields: "tuple[str, ...]") -> None:
        if self._columns is not None and dirty.first < dirty.last:
            first, last = dirty.first - self._base, dirty.last - self._base
            for name in fields:
                self._columns[name].write(dirty.first, self._window[name][first:last])


def _blank(name: str, n_rows: int) -> "NDArray[Any]":
    spec = _SPECS[name]
    return np.full(n_rows, 0 if spec.fill is None else spec.fill, spec.dtype)


@lru_cache(maxsize=64)
def _reason(reason: str) -> np.bytes_:
    ascii_only = reason.encode("ascii", "replace").decode()
    return text(ascii_only, int(_REASON_BYTES[1:]) - 1)


def _group_of() -> "Iterator[tuple[str, str]]":
    return ((name, group) for group, names in _GROUPS.items() for name in names)


_GROUP_OF = dict(_group_of())
