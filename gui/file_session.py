"""A result file in the window: what a run was, with play, speed and step. No Qt."""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from gui.moments import Moment
from gui.player import Player
from gui.recorded import RecordedPast
from gui.region_note import region_of_note
from gui.remote import Remote
from gui.resolve import Scene
from gui.settings import Corners, ViewState
from gui.status_text import CRASHED
from streamer.errors import AtomstreamError
from streamer.result_tables import FileState, count, file_state
from streamer.window_link import RunStatus, View

__all__ = ["FileSession"]

_RELOAD_S = 2.0
_READING_SHARE = 0.1  # of the time at most: tables that take long to read are read less often
_STATES = {FileState.CLOSED: "ended", FileState.BEING_WRITTEN: "running", FileState.CRASHED: CRASHED}


class FileSession:
    """Shows a finished file, or one that is still growing, in place of a `gui.session.LiveSession`.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If it is not a readable result file.
    """

    connected = True

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.history = RecordedPast(path)
        self.player: Player | None = Player()
        self.status: RunStatus | None = _status(self.history)
        self.channels = self.history.channels
        self.remote = Remote()  # a file has no run behind it
        self._clock = clock
        self._reload_at = clock() + _RELOAD_S
        self._size = path.stat().st_size
        self._unreadable = ""  # why; empty: it is not

    @property
    def saved_region(self) -> Corners | None:
        """The region of interest that was saved last while the file was recorded."""
        regions = [region_of_note(note.text) for note in self.history.notes]
        return next((region for region in reversed(regions) if region is not None), None)

    @property
    def moments(self) -> list[Moment]:
        """All notes in the file."""
        return self.history.notes

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.history.path.stem

    def take(self) -> bool:
        """Read a file that has grown, and a little more of its dose; never a new series."""
        begun = self._clock()
        if begun > self._reload_at:
            self._try(self._reload_if_grown)
            ended = self._clock()
            self._reload_at = ended + max(_RELOAD_S, (ended - begun) / _READING_SHARE)
        if not self._unreadable:
            self._try(self.history.look_at_dose)
        return False

    def _try(self, read: Callable[[], None]) -> None:
        """Read, or note why not: a file can be moved, and its drive unplugged, while it is looked at."""
        try:
            read()
            self._unreadable = ""
        except (AtomstreamError, OSError) as error:
            self._unreadable = str(error)

    def _reload_if_grown(self) -> None:
        size = self.history.path.stat().st_size
        ended = self.status is not None and self.status.state == "ended"
        if size != self._size or not ended or self._unreadable:
            self._size = size
            self.history.reload()
            self.channels = self.history.channels
            self.status = _status(self.history)

    def scene(self, state: ViewState) -> Scene:
        """Put together what is known for a person who looks at `state`."""
        rows = self.history.rows
        return Scene(
            view=self.history.at(state.t),
            status=self.status,
            newest_t=float(rows["t"][-1]) if len(rows) else math.nan,
            address=str(self.history.path),
            connected=True,
            shown_per_s=math.nan,
            recorded=True,
            unreadable=self._unreadable,
        )

    def drawn(self, view: View | None) -> None:
        """See `gui.session.LiveSession`; a file has no delay."""

    def close(self) -> None:
        """Nothing is held open."""


def _status(past: RecordedPast) -> RunStatus:
    """Say of the file what a run says of itself while it goes on."""
    state = _STATES[file_state(past.path)]
    counts = count(past.tables.ledger)
    times = past.rows["t"]
    seconds = float(times[-1] - times[0]) if len(times) > 1 else math.nan
    names = ("received", "recorded", "analysed")
    rates = [max(counts[name] - 1, 0) / seconds if seconds > 0 else math.nan for name in names]
    latency = [1000 * value for value in past.latency_s] + [math.nan] * 2
    return RunStatus(
        state=state, source=past.source, series_id=past.series_id, n_planned=past.tables.n_planned,
        received=counts["received"], recorded=counts["recorded"], analysed=counts["analysed"],
        skipped=counts["skipped"], missing=counts["missing"], damaged=counts["damaged"], bad_messages=0,
        received_per_s=rates[0], recorded_per_s=rates[1], analysed_per_s=rates[2],
        latency_p50_ms=latency[0], latency_p99_ms=latency[1], path=str(past.path),
        bytes_written=past.path.stat().st_size, backend=past.backend,
        bytes_free=shutil.disk_usage(past.path.parent).free,
        note=past.tables.end_reason, t=float(times[-1]) if len(times) else math.nan, t_started=past.t_first,
        t_first=past.t_first,
        recording_error=past.tables.end_reason if past.tables.state == "failed" else "",
    )  # fmt: skip
