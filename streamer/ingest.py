"""The process that takes frames in, keeps them, and hands them on.

It is the only one that reads the detector and the only one that writes the file. A frame is recorded first
and handed to an analyser second; it is never decompressed and its payload never copied here. One thread does
it all: ZeroMQ's receive queue (`IngestConfig.receive_queue_frames`) is the buffer that rides out a stalling
disk.

Memory: at most that many messages in the queue, as many more frames as the analysers may hold
(`streamer.handon`), `TeeConfig.queue_frames` for each further client (`streamer.run_tee`),
`RecordConfig.look_back_MiB` of frames that an event may ask for, `RecordConfig.flush_frames` results, and
half a megabyte of ledger for each open series.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import zmq

from streamer.analyser_desk import AnalyserDesk
from streamer.analysers import Analysers
from streamer.channels import ChannelDesk
from streamer.clock import RunClock
from streamer.commands import CommandDesk
from streamer.config import RunConfig
from streamer.control import Remote
from streamer.counters import series_line
from streamer.errors import MessageError, RunError
from streamer.follower_queue import FollowerQueue
from streamer.handon import HandOn, Offer
from streamer.ingest_sockets import IngestSockets
from streamer.notes import Notes
from streamer.recorder import RunContext, SeriesRecorder
from streamer.records import (
    Frame,
    SeriesEnd,
    SeriesStart,
)
from streamer.result_desk import ResultDesk
from streamer.result_paths import ResultFiles, expect_new_file
from streamer.run_tee import RunTee, open_tee
from streamer.series import STOPPED, RunState, SeriesKeeper
from streamer.sources import Parser, make_parser, parse_source
from streamer.status import StatusBoard
from streamer.trigger_desk import TriggerDesk
from streamer.window_link import encode_status
from streamer.worker import Control

__all__ = ["Ingest", "run_ingest"]

_BURST_MESSAGES = 64
_BURST_S = 0.1
_STATUS_INTERVAL_S = 0.5
_POLL_MS = 20
_COMMAND_INTERVAL_S = 0.005  # to ask for commands costs microseconds, too many to pay for each frame
_WRITE_BACK_S = 0.005  # in each round, between two bursts of frames

_log = logging.getLogger(__name__)


def run_ingest(
    control: Control,
    config: RunConfig,
    clock: RunClock,
    view_address: str = "",
    remote: Remote = Remote(),  # noqa: B008 - frozen
) -> None:
    """Take in one run, from its first message to its last result.

    Parameters
    ----------
    control : Control
        ``ready`` is given the addresses ``analysers`` and ``remote``, ``finished`` the summary's fields.
    config : RunConfig
    clock : RunClock
    view_address : str
        The view hub's inner address; empty: the status is not published.
    remote : Remote
        Where commands come from.

    Raises
    ------
    UsageError
        If the source's address is none, or the file exists, or the tee cannot be as configured.
    RecordingError
        If the file's folder cannot be written to.
    SourceRefusedError
        If an encrypted source does not let us in.
    RunError
        If a source without ZeroMQ cannot be reached, or fails; the file is closed then.
    """
    path = Path(config.record.path) if config.record.path else None
    if path is not None:
        expect_new_file(path)
    source = parse_source(config.source.address)
    parser = make_parser(source, config.source.channel, config.ingest)
    with open_tee(config) as tee, IngestSockets(config, view_address, remote) as sockets:
        files = ResultFiles(path)
        ingest = Ingest(config, clock, sockets, parser, files, remote.control, control.inform, tee)
        sockets.receiver.expect_admitted(control.stopping)
        for line in tee.lines if tee is not None else ():
            control.tell(line)
        control.ready(analysers=sockets.inner_address, remote=sockets.outer_address)
        ingest.run(control)
        if tee is not None:
            tee.finish(control.stopping)
        control.finished(ingest.summary())
        if sockets.receiver.error is not None:
            raise RunError(f"{source}: {sockets.receiver.error}") from sockets.receiver.error


class Ingest:
    """The loop.

    Parameters
    ----------
    config : RunConfig
    clock : RunClock
    sockets : IngestSockets
    parser : Parser
    files : ResultFiles
    control : str
        The address at which the run takes commands, to be announced.
    inform : callable
        Tells the supervisor, by keywords, what became of analysers on other machines.
    tee : RunTee or None
        The run's further clients.
    """

    def __init__(
        self,
        config: RunConfig,
        clock: RunClock,
        sockets: IngestSockets,
        parser: Parser,
        files: ResultFiles,
        control: str = "",
        inform: Callable[..., None] = lambda **info: None,
        tee: RunTee | None = None,
    ) -> None:
        notes = Notes()
        self._analysis = config.analysis
        self._clock = clock
        self._sockets = sockets
        self._tee = tee
        self._parser = parser
        self._analysers = Analysers(
            sockets.inner, sockets.outer, config.analysis.policy, config.analysis.queue_frames
        )
        queue: FollowerQueue[SeriesRecorder] = FollowerQueue(self._analysers)
        self._handon = HandOn(self._analysers, config.analysis.policy, queue)
        self._triggers = TriggerDesk(config.trigger, clock, sockets.status, sockets.commands)
        context = RunContext(config, clock, notes, files.new, self._triggers.take_losses)
        self._keeper = SeriesKeeper(context, self._handon)
        self._board = StatusBoard(config, clock, notes, control)
        self._channels = ChannelDesk(sockets.status, notes, {c.name: c.unit for c in config.channel})
        self._desk = CommandDesk(sockets.commands, self._keeper, clock, self._channels, records=files.wanted)
        self._analyser_desk = AnalyserDesk(
            config, clock, self._analysers, self._handon, self._keeper, notes, sockets.status, inform
        )
        self._results = ResultDesk(
            clock,
            self._analyser_desk,
            self._handon,
            queue,
            self._keeper,
            notes,
            self._triggers,
        )
        self._notes = notes
        self._next_status = self._next_commands = 0.0
        self._split: deque[Sequence[memoryview]] = deque()  # of one ZeroMQ message that held several
        self._stopped = self._heard = False
        self._continuous = config.ingest.continuous
        self._n_told = 0

    def run(self, control: Control) -> None:
        """Work until the run has ended."""
        while self._keeper.state is not RunState.ENDED:
            if not self._stopped and control.stopping():
                self._stopped = True
                self._keeper.stop("stopped on request", self._clock.now())
            failed = self._sockets.receiver.error  # asked before the queue: what was in it then is taken in
            n_messages = self._take_messages() if self._keeper.accepting else 0
            if failed is not None and not n_messages and not self._held_back:
                self._end(failed)
            n_results = self._take_results()
            self._results.advance()
            self._handon.retry()
            self._analyser_desk.name_departed()
            self._name_losses(self._stopped or control.stopping())
            self._tick()
            self._tell(control)
            if not n_messages and not n_results:
                self._wait()
        self._analyser_desk.end(self._keeper.ended_by)
        self._publish_status()

    def _tell(self, control: Control) -> None:
        """Say how each series of a continuous run went, as soon as it is over."""
        n_new = self._keeper.n_over - self._n_told
        if n_new and self._continuous:
            for series in list(self._keeper.summaries)[-n_new:]:
                control.tell(series_line(series))
        self._n_told += n_new

    def summary(self) -> dict[str, Any]:
        """Return the fields of the run's `RunSummary`."""
        self._board.backend = self._analyser_desk.backend
        particles = self._results.particles.by_shape(self._analyser_desk.shapes)
        return {**self._board.summary(self._keeper, self._tee).to_dict(), "particles": particles}

    def _end(self, failed: Exception) -> None:
        """End the run: the source has failed, and what it had left in the queue is taken in."""
        if self._keeper.accepting:
            self._keeper.end(f"the source failed: {failed}", self._clock.now())

    @property
    def _held_back(self) -> bool:
        """Whether nothing may be taken in, because somebody has no room for what was."""
        return self._handon.blocked or (self._tee is not None and self._tee.blocked)

    def _take_messages(self) -> int:
        """Take in what the detector has sent, at most a burst; return how many messages that was."""
        latest = self._clock.now() + _BURST_S  # a slow disk must not keep stops, results and status waiting
        for n_taken in range(_BURST_MESSAGES):
            if self._held_back:
                return n_taken
            parts = self._next_message()
            if not parts:
                return n_taken
            now = self._clock.now()
            self._take(parts, now)
            if now > latest:
                return n_taken + 1
        return _BURST_MESSAGES

    def _next_message(self) -> Sequence[memoryview]:
        """Return the parts of the stream's next message; none if nothing has come."""
        while not self._split:
            frames = _receive(self._sockets.receiver.socket)
            if not frames:
                return ()
            self._heard = True
            if self._tee is not None:
                self._tee.offer(frames)
            messages = self._parser.split([frame.buffer for frame in frames])
            if len(messages) == 1:
                return messages[0]
            self._split.extend(messages)  # none, where the parser waits for more
        return self._split.popleft()

    def _take(self, parts: Sequence[memoryview], t_received: float) -> None:
        try:
            message = self._parser.parse(parts)
        except MessageError as error:
            self._keeper.take_damaged(error, t_received)
            return
        except Exception as error:  # a fault of ours in one message must not cost the frames after it
            _log.exception("the parser failed")
            self._keeper.take_damaged(MessageError(f"the parser failed: {error!r}"), t_received)
            return
        if isinstance(message, Frame):
            self._take_frame(message, t_received)
        elif isinstance(message, SeriesStart):
            self._keeper.take_start(message, t_received)
        elif isinstance(message, SeriesEnd):
            self._keeper.take_end(message, t_received)

    def _take_frame(self, frame: Frame, t_received: float) -> None:
        series = self._keeper.take_frame(frame, t_received)
        if series is None:
            return
        series.flush_if_due(t_received)
        if self._analysis.enabled:
            self._hand_on(frame, series, t_received)

    def _hand_on(self, frame: Frame, series: SeriesRecorder, t_received: float) -> None:
        frame_id = frame.header.frame_id
        if frame_id % self._analysis.every:
            series.skip(frame_id, "not one of those to be analysed")
        elif self._handon.offer(frame, series.start, t_received, series, series.number) is Offer.SKIPPED:
            there = self._analysers.peers
            series.skip(frame_id, "the analysers were busy" if there else "no analyser was there")

    def _take_results(self) -> int:
        for n_taken in range(_BURST_MESSAGES):
            received = self._analysers.receive()
            if received is None:
                return n_taken
            self._results.take(*received)
        return _BURST_MESSAGES

    def _name_losses(self, stopped: bool) -> None:
        for frame_id, series, reason in self._handon.losses():
            if stopped:  # the analysers may have been told to end by the same signal
                series.skip(frame_id, STOPPED)
            else:
                series.lose_analysis(frame_id, reason)

    def _take_commands(self) -> None:
        """Do what was asked for, and let the triggers look at losses and stimuli."""
        if self._desk.serve():
            self._next_status = 0.0  # windows see at once what came of it
        samples, series = self._channels.fresh(), self._keeper.current
        if series is not None:
            self._triggers.take_losses(series)
            self._triggers.take_samples(series, samples)

    def _tick(self) -> None:
        now = self._clock.now()
        if self._tee is not None:
            self._tee.tick()
        if self._held_back:  # the source is not silent: it is not listened to
            self._keeper.held_back(now)
        self._keeper.tick(now)
        if now >= self._next_commands:
            self._next_commands = now + _COMMAND_INTERVAL_S
            self._take_commands()
        for series in self._keeper.open_series:
            series.write_back(_WRITE_BACK_S)
            series.flush_if_due(now)
        if now >= self._next_status:
            self._next_status = now + _STATUS_INTERVAL_S
            if not self._heard:
                self._sockets.receiver.expect_not_refused()
            self._analyser_desk.tick(now)
            self._publish_status()
            self._channels.repeat()
            for series in self._keeper.open_series:
                series.forget_old(now)
                series.beat(now)

    def _publish_status(self) -> None:
        try:
            self._board.backend = self._analyser_desk.backend
            parts = encode_status(self._board.status(self._keeper, self._tee))
            self._sockets.status.send_multipart(cast("list[bytes]", parts), zmq.NOBLOCK)
        except zmq.ZMQError as error:  # save first, show second
            self._notes.add("status", f"the status could not be published: {error}")

    def _wait(self) -> None:
        """Sleep until something can be done, at most some milliseconds."""
        poller = zmq.Poller()
        for socket in self._analysers.sockets:
            poller.register(socket, zmq.POLLIN)
        poller.register(self._sockets.commands, zmq.POLLIN)
        if not self._held_back and self._keeper.accepting:
            poller.register(self._sockets.receiver.socket, zmq.POLLIN)
        for socket in self._tee.waited_for if self._tee is not None else ():
            poller.register(socket, zmq.POLLOUT)
        busy = any(series.look_back.n_wanted for series in self._keeper.open_series)
        poller.poll(0 if busy else _POLL_MS)


def _receive(socket: "zmq.Socket[bytes]") -> list[zmq.Frame]:
    """Take one message, without copying it; no parts if there is none."""
    try:
        parts = [socket.recv(zmq.NOBLOCK, copy=False)]
    except zmq.Again:
        return []
    while parts[-1].more:
        parts.append(socket.recv(copy=False))
    return parts
