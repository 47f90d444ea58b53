"""One series: its account and its file, kept in step."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np

from streamer.account import SeriesAccount
from streamer.clock import RunClock
from streamer.config import RunConfig, to_toml
from streamer.errors import GeometryError, MessageError, RecordingError
from streamer.file_layout import FileSpec
from streamer.look_back import Held, LookBack
from streamer.notes import Notes
from streamer.records import (
    AnalyserInfo,
    Compression,
    Frame,
    FrameFailure,
    FrameHeader,
    FrameResult,
    FrameStatus,
    SeriesStart,
)
from streamer.result_file import ResultWriter
from streamer.series_file import SeriesFile
from streamer.stimuli import Sample

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ANOTHER_BEGAN", "RunContext", "SeriesRecorder"]

ANOTHER_BEGAN = "another series began"
"""Why a series ends whose source starts the next one without ending it."""

_THINNED = "not one of those to be kept"


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the series of a run share.

    `new_file` makes a file for a series that was announced or not; it returns None where nothing is recorded.
    `losses_known` is told of a series that is over, while its file is still open.
    """

    config: RunConfig
    clock: RunClock
    notes: Notes
    new_file: Callable[[FileSpec, bool], ResultWriter | None]
    losses_known: "Callable[[SeriesRecorder], None]" = lambda series: None


class SeriesRecorder:
    """Takes in what comes of one series.

    The file is made as soon as the start message tells its geometry, so that no frame waits for it, and
    made again if the first frame turns out to be otherwise. If it cannot be made or written, recording ends
    with a note, `recording_error` says why, and everything else goes on.

    Parameters
    ----------
    start : SeriesStart
        What the source said; made up from the first frame where it said nothing.
    context : RunContext
    announced : bool
        Whether there was a start message.
    paused : bool
        Whether recording is switched off; see `switch`.
    first_id : int
        The first frame id that can belong here: those before it are in an earlier file.

    Attributes
    ----------
    number : int
        Of the series in the run, from 1: several may have the same name.
    """

    def __init__(
        self,
        start: SeriesStart,
        context: RunContext,
        announced: bool = True,
        paused: bool = False,
        first_id: int = 0,
    ) -> None:
        self.start = start
        self.announced = announced
        self.paused = paused
        self.why_paused = "recording was off"
        self.number = 0
        self.account = SeriesAccount(context.config.ingest.max_gap_frames, first_id)
        self.size_bytes = 0
        self.t_first = self.t_last = nan
        self._context = context
        self._first: FrameHeader | None = None
        self._file = SeriesFile(self._last_words, self._given_up)
        self._analyser: AnalyserInfo | None = None
        self._in_hand = 0  # id of the frame that is being written
        self._pending_frames = self._pending_results = 0  # what the next flush will show
        self._changed = False  # whether there is anything to show
        self._flush_frames = context.config.record.flush_frames
        self._next_flush = 0.0
        self.look_back = LookBack(context.config.record)
        self._seen_until = -inf  # received, of the newest frame with a result: events come so late
        if announced and start.dtype is not None:
            self._make_file(_header_of(start))

    @property
    def path(self) -> "Path | None":
        """The file, if there is or was one."""
        return self._file.path

    @property
    def recording_error(self) -> str:
        """Why recording failed; empty if it did not."""
        return self._file.error

    @property
    def has_file(self) -> bool:
        """Whether there is a file that can be written."""
        return self._file.writable

    @property
    def next_id(self) -> int:
        """Id of the frame after the last one."""
        return self.account.ledger.first_id + self.account.ledger.n_rows

    @property
    def complete(self) -> bool:
        """Whether every frame of the plan has come; without a plan, whether there is no gap."""
        ledger = self.account.ledger
        return not ledger.n_missing and self.plan_reached

    @property
    def plan_reached(self) -> bool:
        """Whether the last planned frame, or a later one, has come."""
        return self.next_id >= self.start.n_frames_planned

    def adopt(self, start: SeriesStart) -> None:
        """Take a start message that came twice, or after the first frames."""
        self.note("repeated start", f"a start message of series {start.key.series_id} came in mid-series")
        self.start, self.announced = start, True

    def take(self, frame: Frame, t_received: float) -> bool:
        """Record a frame; return whether it can be analysed."""
        header = frame.header
        if self._first is None:
            self._begin(header, t_received)
        try:
            if not self.account.arrive(header.frame_id, len(frame.payload)):
                self.note("duplicate frame", f"frame {header.frame_id} came again; the first one is kept")
                return False
        except MessageError as error:  # no place for such an id
            self.take_damaged(error, t_received)
            return False
        try:
            self._expect_geometry(header)
            left_out = self._left_out(header.frame_id, t_received)
            stack_row = -1 if left_out else self._write(frame, t_received)
        except MessageError as error:
            self.account.damage(error, header.frame_id, t_received)
            self._note_error(error)
            return False
        if left_out and self.path is not None:
            self.account.leave_out(header, t_received, left_out)
            if self.has_file:
                self.look_back.add(frame, t_received)
        else:
            t_recorded = self._context.clock.now() if stack_row >= 0 else nan
            self.account.record(header, len(frame.payload), t_received, t_recorded, stack_row)
        self.t_last = t_received
        self._pending_frames += 1
        return True

    def take_damaged(self, error: MessageError, t_received: float) -> None:
        """Count a damaged message of this series."""
        self.account.damaged_message(error, t_received)
        self._note_error(error)

    def take_result(self, result: FrameResult) -> None:
        """Store a frame's result."""
        row = self._file.do(lambda writer: self._append_result(writer, result), -1)
        self.account.result(result, row, self._context.clock.now())
        self._seen_until = max(self._seen_until, result.t_received)
        self._pending_results += 1

    def take_failure(self, failure: FrameFailure) -> None:
        """Note that a frame could not be analysed."""
        self.account.failure(failure.frame_id, failure.reason)
        self.note("failed analysis", f"frame {failure.frame_id} was not analysed: {failure.reason}")

    def take_analyser(self, info: AnalyserInfo) -> None:
        """Name the engine and networks in the file."""
        self._analyser = info
        self._file.do(lambda writer: writer.put_analyser(info), None)

    def skip(self, frame_id: int, reason: str) -> None:
        """Note that a recorded frame is deliberately not analysed."""
        self.account.skip(frame_id, reason)
        self._changed = True

    def lose_analysis(self, frame_id: int, reason: str) -> None:
        """Note that a frame was handed to an analyser that never answered."""
        self.account.lose_analysis(frame_id, reason)
        self.note("lost analysis", f"frame {frame_id}: {reason}")

    def regain_analysis(self, frame_id: int) -> None:
        """Note that a frame whose analysis was given up is answered after all."""
        self.account.regain_analysis(frame_id)

    def switch(self, on: bool, now: float) -> None:
        """Switch recording on or off; the ledger names each frame that is left out, a note the stretch."""
        if on == (not self.paused):
            return
        self.paused = not on
        line = f"recording was switched {'on' if on else 'off'}, from frame {self.next_id}"
        with suppress(RecordingError):  # there is no file yet, or none any more; the ledger says it as well
            self.mark(now, line, "run")

    def keep(self, t: float, reason: str) -> None:
        """Keep all frames from `look_back_s` before `t` [Unix s] to `look_ahead_s` after it.

        What is held of them is written little by little (`write_back`).

        Raises
        ------
        RecordingError
            If there is no file, or the run has neither look-back nor look-ahead.
        """
        if not self.has_file:
            raise RecordingError("there is no file that frames could be kept in")
        if short_s := self.look_back.keep(t, reason):
            self.note("look-back", f"{reason}: look_back_MiB was too little for the first {short_s:.2g} s")

    def write_back(self, seconds: float = inf) -> None:
        """Write frames that were left out and are to be kept after all, so long at most."""
        latest = self._context.clock.now() + seconds
        while (held := self.look_back.next_wanted()) is not None:
            self._write_back(held)
            if self._context.clock.now() > latest:
                return

    def forget_old(self, now: float) -> None:
        """Let go of frames that no event can ask for any more."""
        seen = self._seen_until if self._context.config.analysis.enabled else now
        self.look_back.forget(seen)

    def mark(self, t: float, line: str, source: str) -> int:
        """Write a note into the file, with the frame of time `t` [Unix s]; return that frame's id (-1: none).

        Raises
        ------
        RecordingError
            If there is no file, or its table of notes is full.
        """
        frame_id = self.account.ledger.received_by(t)
        if not self._file.do(lambda writer: writer.mark(t, frame_id, line, source), False):
            raise RecordingError(
                "the file takes no more notes" if self.has_file else "there is no file to note it in"
            )
        self._changed = True
        return frame_id

    def take_samples(self, name: str, samples: Sequence[Sample]) -> None:
        """Store samples of a stimulus channel."""
        self._file.do(lambda writer: writer.append_samples(name, samples), None)
        self._changed = True

    def refuse_samples(self, refused: Mapping[str, int]) -> None:
        """Count samples that were refused, by kind."""
        self.account.counters.bad_samples.update(refused)

    def cut(self) -> None:
        """Let this be the last frame here: the plan's other frames are for the next file."""
        self.start = replace(self.start, n_frames_planned=0)

    def note(self, kind: str, line: str) -> None:
        """Warn, in the run's log and in the file's."""
        if self._context.notes.add(kind, line):
            self._file.do(lambda writer: writer.note(self._context.clock.now(), line), None)
        self._changed = True

    def flush_if_due(self, now: float) -> None:
        """Flush if enough frames, or enough time, came since the last time; cheap otherwise."""
        n_pending = max(self._pending_frames, self._pending_results)
        if n_pending >= self._flush_frames or (now >= self._next_flush and (n_pending or self._changed)):
            self.flush(now)

    def flush(self, now: float) -> None:
        """Show readers everything taken so far."""
        self._file.do(self._flush, None)
        self._pending_frames = self._pending_results = 0
        self._changed = False
        self._next_flush = now + self._context.config.record.flush_interval_s

    def beat(self, now: float) -> None:
        """Say in the file that its writer is alive."""
        self._file.do(lambda writer: writer.beat(now), None)
        self.flush(now)

    def finish(self, reason: str, stopped: bool, brief: bool = False) -> None:
        """Count what never came, and close the file.

        Parameters
        ----------
        reason : str
            Why the series ended.
        stopped : bool
            Whether that was asked for here: planned frames that had not come by then are not missing.
        brief : bool
            Whether it was over already when the run was stopped, and only its last results were skipped.
        """
        if self._first is None and self.announced:
            self._begin(_header_of(self.start), self._context.clock.now())
        why = f"planned, not here when {reason}" if reason == ANOTHER_BEGAN else "planned, never came"
        n_due = 0 if stopped else self.start.n_frames_planned
        n_absent = self.account.close(n_due, why)
        if n_absent:
            self.note("planned frames missing", f"the last {n_absent} planned frames never came: lost, or the"
                      " acquisition was ended early")  # fmt: skip
        self._context.losses_known(self)
        self.write_back()
        state = "stopped" if stopped or brief else "complete"
        self._file.close(lambda writer: self._finish(writer, reason, state, n_due))

    def _begin(self, header: FrameHeader, t_received: float) -> None:
        """Take the first frame's geometry for the series', and have a file for it."""
        self._first = header
        self.t_first = self.t_last = t_received
        if not self._file.do(lambda writer: writer.fits(header), False):
            self._file.discard()
            self._make_file(header)
        t_start = t_received if isnan(header.t_detector) else header.t_detector
        self._file.do(lambda writer: writer.begin(t_start), None)
        self._compare_with_announcement(header)

    def _make_file(self, header: FrameHeader) -> None:
        if self._file.error:
            return
        self._file.open(lambda: self._context.new_file(self._spec(header), self.announced))
        self._file.do(lambda writer: self.account.ledger.attach(writer.ledger), None)
        if self._analyser is not None:
            self.take_analyser(self._analyser)

    def _spec(self, header: FrameHeader) -> FileSpec:
        config = self._context.config
        return FileSpec(
            start=self.start,
            shape=header.shape,
            dtype=header.dtype,
            compression=header.compression,
            t_start=self._context.clock.now(),
            source=config.source.address,
            configuration=to_toml(config),
            maps=config.analysis.enabled and config.record.maps_every > 0,
            channels={channel.name: channel.unit for channel in config.channel},
            every=config.record.every,
        )

    def _compare_with_announcement(self, header: FrameHeader) -> None:
        dtype = self.start.dtype or header.dtype
        if (self.start.shape, dtype) != (header.shape, header.dtype):
            got, announced = _geometry(header), _geometry(_header_of(self.start))
            self.note("geometry not as announced", f"the frames are {got}, announced were {announced}")

    def _expect_geometry(self, header: FrameHeader) -> None:
        first = self._first
        if first is not None and (header.shape != first.shape or header.dtype != first.dtype):
            got, expected = _geometry(header), _geometry(first)
            raise GeometryError(f"{got} in a series of {expected}", header.frame_id)

    def _left_out(self, frame_id: int, t_received: float) -> str:
        """Return why a frame is not to be kept; empty if it is."""
        if t_received <= self.look_back.keep_until:
            return ""
        if self.paused:
            return self.why_paused
        return _THINNED if frame_id % self._context.config.record.every else ""

    def _write_back(self, held: Held) -> None:
        """Write a frame that was left out."""
        header, n_bytes = held.frame.header, len(held.frame.payload)
        time_s = self._time_s(header, held.t_received)
        try:
            row = self._file.do(lambda writer: writer.append_frame(held.frame, time_s), -1)
        except MessageError as error:
            self._note_error(error)
            return
        if row >= 0:
            self.account.keep(header, n_bytes, self._context.clock.now(), row, self.look_back.reason)
            self._pending_frames += 1

    def _write(self, frame: Frame, t_received: float) -> int:
        """Append the frame to the file and return its row; -1 if there is no file."""
        time_s = self._time_s(frame.header, t_received)
        self._in_hand = frame.header.frame_id
        row = self._file.do(lambda writer: writer.append_frame(frame, time_s), -1)
        if row < 0 and self._file.error:
            self.account.counters.unrecorded += 1
        return row

    def _time_s(self, header: FrameHeader, t_received: float) -> float:
        """Return the time since the first frame, by the detector's clock where both frames have it."""
        since_first = header.t_detector - self._first.t_detector if self._first is not None else nan
        return t_received - self.t_first if isnan(since_first) else since_first

    def _append_result(self, writer: ResultWriter, result: FrameResult) -> int:
        has_maps = result.denoised is not None or result.atom_count is not None
        if has_maps and not writer.append_maps(result):
            self.note("map not stored", f"frame {result.frame_id}: its maps do not have the frames' shape")
        return writer.append_result(result)

    def _note_error(self, error: MessageError) -> None:
        self.note(error.label, f"{error.label}: {error}")

    def _flush(self, writer: ResultWriter) -> None:
        writer.flush()
        self.account.ledger.flush()
        self.size_bytes = writer.size_bytes

    def _finish(self, writer: ResultWriter, reason: str, state: str, n_due: int) -> None:
        self._flush(writer)
        account = self.account
        now = self._context.clock.now()
        writer.finish(state, reason, now, n_due, account.total(), account.latency.percentiles_s())

    def _last_words(self, writer: ResultWriter, error: str) -> None:
        if self.account.ledger.status(self._in_hand) is FrameStatus.MISSING:
            self.account.ledger.explain(self._in_hand, f"not recorded: {error}")
        self._finish(writer, error, "failed", self.start.n_frames_planned)

    def _given_up(self, error: str) -> None:
        self.account.ledger.detach()
        where = f", {self.path}" if self.path else ""
        self._context.notes.add("recording", f"RECORDING HAS STOPPED{where}: {error}")


def _header_of(start: SeriesStart) -> FrameHeader:
    """Return what the frames of a series would be like, as far as its start message tells."""
    dtype = start.dtype if start.dtype is not None else np.dtype("<u2")
    return FrameHeader(start.key, 0, start.shape, dtype, Compression.BSLZ4)


def _geometry(header: FrameHeader) -> str:
    return f"{header.shape[0]} x {header.shape[1]} px of {header.dtype}"
