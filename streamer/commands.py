"""What ingest does on request: notes, recording on and off, the next file; what windows say of themselves."""

from collections import deque
from contextlib import suppress
from math import nan
from typing import TYPE_CHECKING

import zmq

from streamer.channels import ChannelDesk
from streamer.clock import RunClock
from streamer.control import (
    REQUEST,
    Displayed,
    Keep,
    NextFile,
    Note,
    Record,
    Reply,
    Request,
    Stop,
    decode_request,
    encode,
)
from streamer.errors import AtomstreamError, MessageError, RecordingError
from streamer.latency import DISPLAYED
from streamer.stimuli import SAMPLES

if TYPE_CHECKING:
    from streamer.recorder import SeriesRecorder
    from streamer.series import SeriesKeeper

__all__ = ["CommandDesk"]

_BURST_REQUESTS = 8
_WAITING_NOTES = 1000


class CommandDesk:
    """Answers the requests that the supervisor hands on; see `streamer.control`.

    Notes that come before the first series wait for its file, at most a thousand.

    Parameters
    ----------
    socket : zmq.Socket
        DEALER, connected to the supervisor.
    keeper : SeriesKeeper
    clock : RunClock
    channels : ChannelDesk
        Takes the samples that come the same way.
    records : bool
        Whether the run writes files.
    """

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        keeper: "SeriesKeeper",
        clock: RunClock,
        channels: ChannelDesk,
        *,
        records: bool,
    ) -> None:
        self._socket = socket
        self._keeper = keeper
        self._clock = clock
        self._channels = channels
        self._records = records
        self._waiting: deque[tuple[float, str]] = deque()

    def serve(self) -> int:
        """Answer what has come, at most a few; return how many requests were answered."""
        self._deliver()
        n_served = 0
        for _ in range(_BURST_REQUESTS):
            try:
                kind, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return n_served
            if kind == SAMPLES and len(parts) == 1:
                self._channels.take(parts[0])
            elif kind == REQUEST and len(parts) == 2:
                client, body = parts
                self._socket.send_multipart([client, encode(self._answer(body))], zmq.NOBLOCK)
                n_served += 1
        return n_served

    def _answer(self, body: bytes) -> Reply:
        try:
            t, frame_id = self._do(decode_request(body))
        except AtomstreamError as error:
            return self._reply(error=str(error))
        return self._reply(t, frame_id)

    def _do(self, request: Request) -> tuple[float, int]:
        """Do what is asked for; return when it took effect [Unix s], and at which frame."""
        now = self._clock.now()
        if isinstance(request, Note):
            return self._note(request, now)
        if isinstance(request, Record):
            self._expect_records()
            self._keeper.record(request.on, now)
        elif isinstance(request, NextFile):
            self._expect_records()
            series = self._keeper.next_file(now)
            return now, series.next_id
        elif isinstance(request, Keep):
            self._keep(now)
        elif isinstance(request, Displayed):
            self._count_displayed(request)
        elif isinstance(request, Stop):
            raise MessageError("ingest is stopped by the supervisor only")
        current = self._keeper.current
        return now, -1 if current is None else current.next_id

    def _keep(self, now: float) -> None:
        self._expect_records()
        series = self._keeper.current
        if series is None:
            raise RecordingError("no series is running of which frames could be kept")
        series.keep(now, "kept on request")

    def _count_displayed(self, displayed: Displayed) -> None:
        """Count with the running series; what was drawn between two series is nobody's."""
        if (series := self._keeper.current) is not None:
            for after_s in displayed.after_s:
                series.account.latency.stages[DISPLAYED].add(after_s)

    def _note(self, note: Note, now: float) -> tuple[float, int]:
        self._expect_records()
        t = now - note.age_s
        series = self._keeper.current
        if series is not None and (series.has_file or series.recording_error):
            return t, series.mark(t, note.text, "note")
        if not self._keeper.accepting or len(self._waiting) >= _WAITING_NOTES:
            raise RecordingError("no series is being recorded that the note could belong to")
        self._waiting.append((t, note.text))
        return t, -1

    def _deliver(self) -> None:
        """Hand notes that came before the series to its file."""
        series = self._keeper.current
        self._channels.deliver(series)
        if series is not None and series.has_file:
            while self._waiting:
                t, text = self._waiting.popleft()
                with suppress(RecordingError):  # the disk is full, which recording itself says loudly
                    series.mark(t, text, "note")

    def _expect_records(self) -> None:
        if not self._records:
            raise RecordingError("this run was started without a file; nothing can be recorded in it")

    def _reply(self, t: float = nan, frame_id: int = -1, error: str = "") -> Reply:
        series = self._keeper.current
        return Reply(
            ok=not error,
            error=error,
            t=t,
            frame_id=frame_id,
            recording=self._records and not self._keeper.paused and not _failed(series),
            path=str(series.path) if series is not None and series.path else "",
        )


def _failed(series: "SeriesRecorder | None") -> bool:
    return series is not None and bool(series.recording_error)
