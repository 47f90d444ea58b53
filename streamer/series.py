"""Which series is being taken in, and when it is over.

::

                 start, or a frame without one
    WAITING ──────────────────────────────────► RUNNING ◄─┐ another start: the former series is closed
                                                 │     └──┘ and awaits its results, the next one runs
              end message · silence after the    │
              last planned frame · silence ·     ▼
              a request to stop             FINISHING ── all results are there, or are given up ──► ENDED

Series are told apart by (series id, unique id). What belongs to no running series is counted as a stray. A
run ends with its series' end message; an acquisition that is started after that belongs to another run.
Only the end of a series that had no start message does not end the run at once, because those frames may be
what an earlier acquisition left behind. A continuous run (`IngestConfig.continuous`) goes back to WAITING
instead, while the results of the former series still come in, and ends when it is stopped.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from streamer.errors import MessageError, RecordingError
from streamer.recorder import ANOTHER_BEGAN, RunContext, SeriesRecorder
from streamer.records import AnalyserInfo, Frame, SeriesEnd, SeriesKey, SeriesStart
from streamer.run_totals import RunTotals, summary_of

if TYPE_CHECKING:
    from streamer.counters import SeriesSummary
    from streamer.handon import HandOn

__all__ = ["STOPPED", "RunState", "SeriesKeeper"]

STOPPED = "the run was stopped before its result came"

_LATE_FRAMES_S = 0.2  # how long after an end message a frame that is still missing may come
NEXT_FILE = "the next file was asked for"
_STOP_RESULTS_S = 5.0  # how long results are waited for after a request to stop
_MOST_SUMMARIES = 1000


class RunState(Enum):
    """See the diagram in the module's docstring."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHING = "finishing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class _Closing:
    """A series that is over and awaits its last results.

    `stopped`: planned frames that have not come are not missing; `brief`: the results are waited for briefly.
    """

    series: SeriesRecorder
    reason: str
    stopped: bool
    since: float
    brief: bool = False


class SeriesKeeper:
    """Routes what was received to the series it belongs to, and closes each in its time.

    Parameters
    ----------
    context : RunContext
    handon : HandOn
        Tells which results are still to come.

    Attributes
    ----------
    current : SeriesRecorder or None
        The running series.
    ended_by : str
        Why the run is over, or will be when the last results are there; empty while it is not.
    summaries : collections.deque of SeriesSummary
        How the series that are over went.
    n_over : int
        How many they were.
    """

    def __init__(self, context: RunContext, handon: "HandOn[SeriesRecorder]") -> None:
        self.current: SeriesRecorder | None = None
        self.ended_by = ""
        self.summaries: deque[SeriesSummary] = deque(maxlen=_MOST_SUMMARIES)
        self.n_over = 0
        self.paused = context.config.record.paused
        self._context = context
        self._handon = handon
        self._limits = context.config.ingest
        self._closing: list[_Closing] = []
        self._over = RunTotals()
        self._key: SeriesKey | None = None  # of the frame before: usually the same object
        self._latest: tuple[SeriesKey, float] | None = None  # the series closed last, and when
        self._end_at: float | None = None
        self._end_reason = ""
        self._last_message = context.clock.now()
        self._last_answer = 0.0
        self._analyser: AnalyserInfo | None = None
        self._former: dict[SeriesKey, int] = {}  # series of this run that are over: their ids up to this one
        self._n_opened = 0

    @property
    def state(self) -> RunState:
        """How the run stands."""
        if self.current is not None:
            return RunState.RUNNING
        if not self.ended_by:
            return RunState.WAITING
        return RunState.FINISHING if self._closing else RunState.ENDED

    @property
    def accepting(self) -> bool:
        """Whether messages from the detector are still wanted."""
        return self.state in (RunState.WAITING, RunState.RUNNING)

    @property
    def open_series(self) -> list[SeriesRecorder]:
        """All series with an open file."""
        return [c.series for c in self._closing] + ([self.current] if self.current is not None else [])

    def totals(self) -> RunTotals:
        """Return the sum over all series, running ones included."""
        totals = replace(self._over, latency=self._over.latency.copy(), paths=list(self._over.paths))
        for series in self.open_series:
            totals.add(series)
        return totals

    def take_frame(self, frame: Frame, t_received: float) -> SeriesRecorder | None:
        """Record a frame; return its series if the frame can be analysed."""
        self._last_message = t_received
        key = frame.header.key
        if self.current is None and self._just_over(key, t_received):
            self._count_stray(f"frame {frame.header.frame_id} of series {key.series_id}, which is over,")
            return None
        if self.current is None:
            self._open_unannounced(frame)
        elif key is not self._key and not _same(key, self.current.start.key):
            self._count_stray(f"frame {frame.header.frame_id} of series {key.series_id}")
            self._count_unnamed(key, frame.header.frame_id)
            return None
        self._key = key
        series = self._holder(frame.header.frame_id)
        return series if series is not None and series.take(frame, t_received) else None

    def take_start(self, start: SeriesStart, t_received: float) -> None:
        """Begin a series; one that is running without an end is closed."""
        self._last_message = t_received
        start = self._with_pixel_size(start)
        if self._end_at is not None and self._limits.continuous:  # whatever its name, it is another series
            self._close(self._end_reason, t_received)
        if self.current is not None and _same(start.key, self.current.start.key):
            self.current.adopt(start)
            return
        if self.current is not None and self.current.announced and self._end_at is not None:
            self._count_stray(f"a start message of series {start.key.series_id}")
            return
        self._close(ANOTHER_BEGAN if self._end_at is None else self._end_reason, t_received)
        self._open(SeriesRecorder(start, self._context, paused=self.paused))

    def take_end(self, end: SeriesEnd, t_received: float) -> None:
        """Note that a series is over; its missing frames have a moment to come."""
        self._last_message = t_received
        if self.current is None and self._just_over(end.key, t_received):
            return  # it comes twice: with the last frame, and when the detector is disarmed
        if self.current is None or not _same(end.key, self.current.start.key):
            self._count_stray(f"an end message of series {end.key.series_id}")
        elif self._end_at is None:
            wait_s = _LATE_FRAMES_S if self.current.announced else self._limits.end_timeout_s
            self._end_at, self._end_reason = t_received + wait_s, "end message"

    def take_damaged(self, error: MessageError, t_received: float) -> None:
        """Count a damaged message, with the running series if there is one."""
        self._last_message = t_received
        if self.current is not None:
            self.current.take_damaged(error, t_received)
        else:
            self._over.counters.bad_messages[error.label] += 1
            self._context.notes.add(error.label, f"{error.label}: {error}")

    def record(self, on: bool, now: float) -> None:
        """Switch recording on or off, for this series and those after it."""
        self.paused = not on
        if self.current is not None:
            self.current.switch(on, now)

    def next_file(self, now: float) -> SeriesRecorder:
        """Close the running series' file, and go on with its next frame in another.

        Raises
        ------
        RecordingError
            If no series is running, or nothing of it has come yet.
        """
        series = self.current
        if series is None or not series.account.ledger.n_rows:
            raise RecordingError("no frame has come yet: the file that waits for the first one is new")
        rest = SeriesRecorder(series.start, self._context, series.announced, self.paused, series.next_id)
        rest.look_back.keep_until = series.look_back.keep_until
        series.cut()
        end_at = self._end_at, self._end_reason
        self._close(NEXT_FILE, now, stopped=True)
        self._open(rest, goes_on=True)
        self._end_at, self._end_reason = end_at
        return rest

    def take_analyser(self, info: AnalyserInfo) -> None:
        """Name the engine and networks in all files; silence counts from the first one's readiness on."""
        if self._analyser is None:
            self._last_message = self._context.clock.now()
        self._analyser = info
        for series in self.open_series:
            series.take_analyser(info)

    def answered(self, now: float) -> None:
        """Note that an analyser is alive."""
        self._last_answer = now

    def held_back(self, now: float) -> None:
        """Note that nothing is taken in for want of room elsewhere: that is no silence of the source."""
        self._last_message = now

    def tick(self, now: float) -> None:
        """Close what is over; called in every round."""
        if self.current is not None:
            reason = self._reason_to_end(self.current, now)
            if reason:
                self._close(reason, now)
                self.ended_by = "" if self._limits.continuous else reason
        elif self._silent(now) and not self.ended_by and not self._loading:
            self.ended_by = f"silence for {self._limits.idle_timeout_s:g} s"
        for closing in list(self._closing):
            self._finish_if_ready(closing, now)

    def stop(self, reason: str, now: float) -> None:
        """End the run: take in nothing more, and wait for results only briefly."""
        self._close(reason, now, stopped=True)
        self._closing = [replace(c, since=now, brief=True) for c in self._closing]
        self.ended_by = self.ended_by or reason

    def end(self, reason: str, now: float) -> None:
        """End the run because no more can come; planned frames that have not come are missing."""
        self._close(reason, now)
        self.ended_by = self.ended_by or reason

    def _holder(self, frame_id: int) -> SeriesRecorder | None:
        """Return where a frame of the running series belongs; a late one, in the file before."""
        series = self.current
        if series is not None and frame_id < series.account.ledger.first_id:
            for closing in self._closing:
                if closing.reason == NEXT_FILE and _same(closing.series.start.key, series.start.key):
                    return closing.series
        return series

    def _reason_to_end(self, series: SeriesRecorder, now: float) -> str:
        silence_s = now - self._last_message
        if self._end_at is not None and (now >= self._end_at or (series.announced and series.complete)):
            return self._end_reason
        if self._end_at is not None:
            return ""
        if series.start.n_frames_planned and series.plan_reached and silence_s >= self._limits.end_timeout_s:
            return f"no end message within {silence_s:.1f} s after the last planned frame"
        return f"silence for {silence_s:.1f} s" if self._silent(now) else ""

    @property
    def _loading(self) -> bool:
        """Whether no analyser is ready yet: until then our own sender, too, waits."""
        return self._context.config.analysis.enabled and self._analyser is None

    def _silent(self, now: float) -> bool:
        limit_s = self._limits.idle_timeout_s
        return limit_s > 0 and now - self._last_message >= limit_s

    def _open_unannounced(self, frame: Frame) -> None:
        header = frame.header
        start = SeriesStart(header.key, 0, header.shape, header.dtype)
        self._open(SeriesRecorder(self._with_pixel_size(start), self._context, False, self.paused))
        self._context.notes.add(
            "no start message",
            f"series {header.key.series_id} has no start message; its frames are kept",
        )

    def _open(self, series: SeriesRecorder, goes_on: bool = False) -> None:
        self._n_opened += not goes_on
        series.number = self._n_opened
        self.current, self._key, self._end_at, self.ended_by = series, None, None, ""
        if self._analyser is not None:
            series.take_analyser(self._analyser)

    def _close(self, reason: str, now: float, stopped: bool = False) -> None:
        series, self.current, self._end_at = self.current, None, None
        if series is not None:
            self._latest = (series.start.key, now)
            self._former[series.start.key] = max(series.account.ledger.end_id, series.start.n_frames_planned)
            self._closing.append(_Closing(series, reason, stopped, now))
            if reason not in ("end message", NEXT_FILE):
                series.note("series end", f"series {series.start.key.series_id} was closed: {reason}")

    def _finish_if_ready(self, closing: _Closing, now: float) -> None:
        wait_s = self._limits.result_timeout_s
        if closing.brief:
            wait_s = min(wait_s, _STOP_RESULTS_S)
        if closing.reason == NEXT_FILE and now - closing.since < _LATE_FRAMES_S:
            return
        waits = bool(self._handon.unanswered(closing.series))
        if waits and now - max(closing.since, self._last_answer) < wait_s:
            return
        self._give_up_results(closing, wait_s)
        if self._handon.unanswered(closing.series):  # what has waited for those is followed first
            self._last_answer = now
            return
        closing.series.finish(closing.reason, closing.stopped, closing.brief)
        self._closing.remove(closing)
        self._over.add(closing.series)
        self.n_over += 1
        self.summaries.append(summary_of(closing.series, closing.reason))

    def _give_up_results(self, closing: _Closing, wait_s: float) -> None:
        for frame_id in self._handon.forget(closing.series):
            if closing.brief:
                closing.series.skip(frame_id, STOPPED)
            else:
                closing.series.lose_analysis(frame_id, f"no result within {wait_s:g} s")

    def _just_over(self, key: SeriesKey, now: float) -> bool:
        """Whether this is the series that was closed a moment ago; later it is another by the same name."""
        if self._latest is None or now - self._latest[1] > self._limits.end_timeout_s:
            return False
        return _same(key, self._latest[0])

    def _count_stray(self, what: str) -> None:
        self._over.counters.strays += 1
        running = "no series is" if self.current is None else f"series {self.current.start.key.series_id} is"
        line = f"{what} came while {running} running; it is not recorded"
        if self.current is not None:
            self.current.note("stray", line)
        else:
            self._context.notes.add("stray", line)

    def _count_unnamed(self, key: SeriesKey, frame_id: int) -> None:
        """Count a frame of a series that is over as lost, unless its ledger already calls the id missing."""
        if frame_id >= self._former.get(key, frame_id + 1):
            self._former[key] = frame_id + 1
            self._over.counters.received += 1
            self._over.counters.unrecorded += 1

    def _with_pixel_size(self, start: SeriesStart) -> SeriesStart:
        """Let the configuration's pixel size, if there is one, override the source's."""
        configured = self._context.config.source.pixel_size_A
        return start if configured is None else replace(start, pixel_size_A=configured)


def _same(one: SeriesKey, other: SeriesKey) -> bool:
    """Whether two keys can mean the same series; a source need not repeat the unique id."""
    if one.series_id != other.series_id:
        return False
    return one.unique_id == other.unique_id or not one.unique_id or not other.unique_id
