"""An analyser's, or the follower's, end of its connection to ingest: work comes, answers go, the run ends."""

import time
from collections.abc import Callable
from math import inf
from typing import Any

import zmq

from pipeline.views import ViewClock
from streamer.connection import ConnectionWatch
from streamer.curve import ClientKeys, connect_client
from streamer.errors import MessageError, RunError, SourceUnreachableError
from streamer.joining import AskTime, Bye, Follow, Join, Over, Ping, Refused, Time, decode_from_ingest, encode
from streamer.message_parts import Buffer
from streamer.window_link import View, encode_view

__all__ = ["RemoteClock", "RemoteWindows", "Station"]

_POLL_S = 0.1
_LINGER_MS = 1000
_ASK_TIME_S = 5.0
_GONE_S = 30.0  # without a connection, after which the run is taken for gone
_HEARTBEAT_MS = 1000
_SILENCE_MS = 5000
_LOOK_LASTS_S = 3.0  # pictures are made so long after ingest has last said that somebody looks
_CLOCKS_PART = 1e-4  # by how much of the time two machines' clocks may move apart; quartz keeps within that


class RemoteClock:
    """The run's clock as seen from another machine: this one's counter and an offset that is kept up to date.

    The offset is wrong by at most half of what the answer that told it took, from asking to hearing, and by
    what the clocks may have moved apart since. An analyser that computes hears some answers late: an answer
    counts if it says no less than the one before still does.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - time.perf_counter()
        self._wrong_s, self._when = inf, 0.0

    def now(self) -> float:
        """Return the time [Unix s]."""
        return time.perf_counter() + self._offset_s

    def take(self, asked: float, t: float, heard: float) -> None:
        """Take in that the run's clock stood at `t` between two readings of this machine's counter [s]."""
        wrong_s = (heard - asked) / 2
        if wrong_s <= self._wrong_s + _CLOCKS_PART * (heard - self._when):
            self._offset_s = t - (asked + heard) / 2
            self._wrong_s, self._when = wrong_s, heard


class Station:
    """A DEALER that is connected to ingest; used by one thread.

    Parameters
    ----------
    context : zmq.Context
    address : str
        Where ingest takes analysers.
    name : str
        What the analyser is called.
    queue_messages : int
        Results on their way.
    keys : ClientKeys or None
        Where the connection is encrypted.
    remote : bool
        Whether ingest is on another machine: its clock is another one, and it may vanish without a word.

    Attributes
    ----------
    watch : ConnectionWatch
        What becomes of the connection.
    over : str
        Why the run has ended; empty while it goes on.
    clock : RemoteClock
        The run's, as far as ingest was asked for it.
    """

    def __init__(
        self,
        context: Any,
        address: str,
        name: str,
        queue_messages: int,
        keys: ClientKeys | None = None,
        remote: bool = False,
    ) -> None:
        self.over = ""
        self.clock = RemoteClock()
        self._address, self._name = address, name
        self._joining: list[list[Buffer]] = []
        self._socket = context.socket(zmq.DEALER)
        self.watch = ConnectionWatch(self._socket)
        self._remote = remote
        self._socket.set(zmq.SNDHWM, queue_messages)
        self._socket.set(zmq.RCVHWM, 0)  # ingest sends no more than there is room for
        self._socket.set(zmq.LINGER, _LINGER_MS)
        self._socket.set(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS if remote else 0)
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        self._socket.set(zmq.RECONNECT_IVL_MAX, _HEARTBEAT_MS)
        connect_client(self._socket, address, keys)
        self._n_known = 0
        self._gone_since = inf
        self._next_question = 0.0
        self._looked_at_until = -inf

    @property
    def looked_at(self) -> bool:
        """Whether a window wants pictures, as far as ingest has said."""
        return time.monotonic() < self._looked_at_until

    def close(self) -> None:
        """Close the connection; answers on their way have a second to leave."""
        self.watch.close()
        self._socket.close()

    def join(self, room: int, introduction: list[Buffer] | None = None) -> None:
        """Ask for tasks, so many at a time, now and whenever the connection has come back.

        Parameters
        ----------
        room : int
            Frames that keep this analyser busy.
        introduction : list of Buffer, optional
            Says which engine and networks it has, as `streamer.link.encode_analyser` writes it.
        """
        self._announce([*([introduction] if introduction else []), [encode(Join(self._name, room))]])

    def follow(self, networks: dict[str, str]) -> None:
        """Ask for unfollowed results that were found with these networks, SHA-256 by file name."""
        self._announce([[encode(Follow(self._name, networks))]])

    def _announce(self, messages: list[list[Buffer]]) -> None:
        self._joining = messages
        self.watch.update()
        self._n_known = max(1, self.watch.n_joined)
        self._send_joining()

    def leave(self, reason: str) -> None:
        """Let others have what is not answered yet."""
        if not self.over and self._socket.poll(0, zmq.POLLOUT):
            self._socket.send(encode(Bye(reason)))

    def ask(self, message: Any) -> None:
        """Send something that ingest answers."""
        self._socket.send(encode(message))

    def next_task(self, patience_ms: int) -> list[memoryview]:
        """Wait so long for a task; none if it has not come, or ingest has said something else.

        Raises
        ------
        RunError
            If ingest does not want this analyser any more, or is gone.
        """
        self._look_after_connection()
        if not self._socket.poll(patience_ms):
            return []
        parts = self.receive()
        if len(parts) > 1:
            return parts
        try:
            self._hear(decode_from_ingest(parts[0]))
        except MessageError:
            return parts  # the analyser says what is wrong with it
        return []

    def receive(self) -> list[memoryview]:
        """Take the message that is there."""
        return [part.buffer for part in self._socket.recv_multipart(copy=False)]

    def poll(self, wait_s: float) -> bool:
        """Wait until a message is there, so long at most."""
        return bool(self._socket.poll(round(1000 * wait_s)))

    def send(self, parts: list[Buffer], stopping: Callable[[], bool]) -> None:
        """Send an answer; waits while the queue is full, until the end is asked for."""
        while not stopping() and not self.over:
            if self._socket.poll(_POLL_S * 1000, zmq.POLLOUT):
                self._socket.send_multipart(parts)
                return
            self._look_after_connection()

    def show(self, parts: list[Buffer]) -> None:
        """Send a picture, if there is room for it."""
        if self._socket.poll(0, zmq.POLLOUT):
            self._socket.send_multipart(parts)

    def _send_joining(self) -> None:
        for parts in self._joining:
            self._socket.send_multipart(parts)

    def _hear(self, message: Any) -> None:
        if isinstance(message, Time):
            self.clock.take(message.asked, message.t, time.perf_counter())
        elif isinstance(message, Ping):
            self._looked_at_until = time.monotonic() + (_LOOK_LASTS_S if message.looked_at else 0.0)
        elif isinstance(message, Over):
            self.over = message.reason or "it has ended"
        elif isinstance(message, Refused):
            raise RunError(f"the run at {self._address} does not take this analyser: {message.reason}")

    def _look_after_connection(self) -> None:
        """Ask for the time now and then; join again over a new connection; give up when there is none."""
        self.watch.update()
        if self._n_known and self.watch.n_joined > self._n_known:
            self._send_joining()
        self._n_known = self.watch.n_joined
        if self._remote:
            self._expect_run(time.monotonic())

    def _expect_run(self, now: float) -> None:
        if self.watch.n_peers > 0:
            self._gone_since = inf
            if now >= self._next_question:
                self._next_question = now + _ASK_TIME_S
                self.ask(AskTime(time.perf_counter()))
            return
        self._gone_since = min(self._gone_since, now)
        if now - self._gone_since > _GONE_S:
            raise SourceUnreachableError(f"the run at {self._address} has been gone for {_GONE_S:.0f} s")


class RemoteWindows:
    """Pictures of an analyser on another machine, which ingest passes on; as `pipeline.windows.Windows`."""

    def __init__(self, station: Station, rate_hz: float) -> None:
        self._station = station
        self._clock = ViewClock(rate_hz)

    def want_picture(self, now_s: float) -> bool:
        """Whether somebody looks and a picture is due; if so, the next is due later."""
        return self._station.looked_at and self._clock.due(now_s)

    def show(self, view: View) -> None:
        """Publish a picture; dropped where it is not taken."""
        self._station.show(encode_view(view))
