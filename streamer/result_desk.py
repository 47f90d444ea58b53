"""What ingest does with what analysers, and the follower, send back."""

from streamer.analyser_desk import AnalyserDesk
from streamer.analysers import Origin, Peer
from streamer.clock import RunClock
from streamer.errors import MessageError
from streamer.follower_queue import FollowerQueue
from streamer.handon import HandOn
from streamer.link import Answer, decode_result
from streamer.notes import Notes
from streamer.particle_count import ParticleCount
from streamer.recorder import SeriesRecorder
from streamer.records import AnalyserInfo, FrameFailure, FrameResult, SeriesKey
from streamer.series import SeriesKeeper
from streamer.trigger_desk import TriggerDesk
from streamer.unfollowed import is_unfollowed, name_of, picture_in, result_in
from streamer.window_link import VIEW_TOPIC

__all__ = ["ResultDesk"]


class ResultDesk:
    """Enters each answer under its frame's id in the series it belongs to; used by ingest's thread.

    Attributes
    ----------
    particles : ParticleCount
        In all results so far.
    """

    def __init__(
        self,
        clock: RunClock,
        desk: AnalyserDesk,
        handon: HandOn[SeriesRecorder],
        queue: FollowerQueue[SeriesRecorder],
        keeper: SeriesKeeper,
        notes: Notes,
        triggers: TriggerDesk,
    ) -> None:
        self.particles = ParticleCount()
        self._clock, self._desk = clock, desk
        self._handon, self._queue, self._keeper = handon, queue, keeper
        self._notes, self._triggers = notes, triggers

    def take(self, origin: Origin, parts: list[memoryview]) -> None:
        """Do what a message asks for; one that cannot be read is noted."""
        if parts[0] == VIEW_TOPIC:
            self._desk.pass_on(parts)
            return
        try:
            if is_unfollowed(parts):
                self._take_unfollowed(origin, parts)
            else:
                self._take_answer(origin, decode_result(parts))
        except MessageError as error:
            self._notes.add("bad result", f"an analyser sent what is not a result: {error}")

    def advance(self) -> None:
        """Pass on what is next to be followed, and record what nobody follows."""
        self._queue.advance()
        for found in self._queue.unfollowed():
            self._record_as_it_is(found.owner, found.name[1], found.parts)

    def _take_answer(self, origin: Origin, answer: Answer) -> None:
        if not isinstance(answer, FrameResult | FrameFailure):
            self._desk.take(origin, answer)
            if isinstance(answer, AnalyserInfo):
                self._keeper.answered(self._clock.now())
            return
        self._keeper.answered(self._clock.now())
        name, peer = (answer.key, answer.frame_id), self._desk.heard(origin)
        again = _had(peer, name)
        series = self._handon.answered(name, peer)
        if series is None:
            series = self._regained(name, again)
        if series is not None:
            self._record(series, answer)

    def _take_unfollowed(self, origin: Origin, parts: list[memoryview]) -> None:
        self._keeper.answered(self._clock.now())
        name, peer = name_of(parts), self._desk.heard(origin)
        again = _had(peer, name)
        if self._handon.found(name, peer, parts):
            return
        if (series := self._regained(name, again)) is not None:  # its turn is over
            self._record_as_it_is(series, name[1], parts)

    def _regained(self, name: tuple[SeriesKey, int], again: bool) -> SeriesRecorder | None:
        """Return the series of a frame that was given up, and is answered after all."""
        series = self._handon.regained(name)
        if series is not None:
            series.regain_analysis(name[1])
        elif not again:
            self._notes.add("unexpected result", f"a result of frame {name[1]} was not waited for")
        return series

    def _record(self, series: SeriesRecorder, answer: FrameResult | FrameFailure) -> None:
        if isinstance(answer, FrameFailure):
            series.take_failure(answer)
            return
        series.take_result(answer)
        self.particles.take(answer)
        self._triggers.take_result(series, answer)

    def _record_as_it_is(self, series: SeriesRecorder, frame_id: int, parts: list[memoryview]) -> None:
        """Record a result, and show its picture, without what following would have added."""
        try:
            self._record(series, result_in(parts))
        except MessageError as error:
            self._record(series, FrameFailure(frame_id, series.start.key, f"{error.label}: {error}"))
            return
        if picture := picture_in(parts):
            self._desk.pass_on(picture)


def _had(peer: Peer | None, name: tuple[SeriesKey, int]) -> bool:
    """Whether a frame was given to this analyser; if it is not waited for, another was faster."""
    return peer is not None and name in peer.held
