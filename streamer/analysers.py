"""Ingest's end of the analysers: who has joined, how many frames each may hold, and which it holds.

Analysers on this machine connect to one ROUTER on the loopback interface, those on others to a second one,
encrypted where keys are given (`AnalysisConfig.remote`). ZeroMQ's own heartbeats, sent by threads that no
computation holds up, end the connection of a peer that is gone; a ROUTER that must deliver then says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple, cast

import zmq

from streamer.joining import Join, Over, Ping, encode
from streamer.message_parts import Buffer, in_message
from streamer.records import Policy, SeriesKey

__all__ = ["Analysers", "FrameName", "Origin", "Peer", "set_analyser_options"]

FrameName = tuple[SeriesKey, int]
"""What a frame is called in a run: its series, and its id there."""

_HEARTBEAT_MS = 1000
_SILENCE_MS = 5000  # without an answer to a heartbeat, after which a peer is taken for gone
_LINGER_MS = 500


def set_analyser_options(socket: Any, message_limit_bytes: int) -> None:
    """Prepare a ROUTER for analysers, before it is bound.

    Its queues have no limit of their own: what is in them is bounded by the frames that are handed on.
    A limit would stop the reading of heartbeats while ingest is busy, and so break connections.
    """
    socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.RCVHWM, 0)
    socket.set(zmq.MAXMSGSIZE, message_limit_bytes)
    socket.set(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.set(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
    socket.set(zmq.LINGER, _LINGER_MS)


class Origin(NamedTuple):
    """Where a message came from: by which socket, and by what name that knows the connection."""

    socket: Any
    route: bytes


@dataclass(slots=True, eq=False)
class Peer:
    """An analyser that has joined, or the follower.

    `room` is how many frames it asked for, `held` those that it was given and has not answered, `n_answered`
    how many answers it has given; the follower `follows`, and is given results instead.
    """

    name: str
    origin: Origin
    remote: bool
    room: int
    held: set[FrameName] = field(default_factory=set)
    follows: bool = False
    n_answered: int = 0


class Analysers:
    """All analysers of a run, and the follower of their results; used by one thread.

    Parameters
    ----------
    inner, outer : zmq.Socket
        ROUTERs for analysers on this machine, and (or None) on others.
    policy : Policy
    queue_frames : int
        Under WAIT, frames that all together may hold, if they ask for less.

    Attributes
    ----------
    follower : Peer or None
        A process of this machine that is given results instead of frames (`streamer.follower_queue`).
    n_joined : int
        Analysers so far.
    """

    def __init__(self, inner: Any, outer: Any, policy: Policy, queue_frames: int) -> None:
        self._inner, self._outer = inner, outer
        self._queue_frames = queue_frames if policy is Policy.WAIT else 0
        self._peers: dict[tuple[bool, bytes], Peer] = {}
        self.follower: Peer | None = None
        self.n_joined = 0

    @property
    def sockets(self) -> list[Any]:
        """Those on which something may come."""
        return [self._inner] if self._outer is None else [self._inner, self._outer]

    @property
    def peers(self) -> list[Peer]:
        """Those that are there, the follower apart."""
        return list(self._peers.values())

    @property
    def capacity(self) -> int:
        """How many frames all together may hold."""
        share = self._share()
        return sum(max(peer.room, share) for peer in self._peers.values())

    def receive(self) -> tuple[Origin, list[memoryview]] | None:
        """Take one message, without copying it; None if there is none."""
        for socket in self.sockets:
            try:
                route = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                continue
            part, parts = None, []
            while part is None or part.more:
                part = socket.recv(copy=False)
                parts.append(part.buffer)
            return Origin(socket, route), parts
        return None

    def of(self, origin: Origin) -> Peer | None:
        """Return the analyser, or follower, that a message came from, if it has joined."""
        place = self._place(origin)
        if self.follower is not None and self._place(self.follower.origin) == place:
            return self.follower
        return self._peers.get(place)

    def is_remote(self, origin: Origin) -> bool:
        """Whether a message came from another machine."""
        return origin.socket is self._outer

    def named(self, name: str) -> Peer | None:
        """Return the analyser, or follower, of this machine by that name."""
        return next((p for p in self._everybody() if p.name == name and not p.remote), None)

    def join(self, origin: Origin, join: Join) -> Peer | None:
        """Take an analyser in; return its former self, if it has come back over another connection."""
        remote = self.is_remote(origin)
        same = [p for p in self._peers.values() if p.name == join.name and p.remote == remote]
        former = same[0] if same and same[0].origin.route != origin.route else None
        if former is not None:
            self.drop(former)
        if same and former is None:
            same[0].room = join.room
        else:
            self._peers[self._place(origin)] = Peer(join.name, origin, remote, max(1, join.room))
            self.n_joined += 1
        return former

    def drop(self, peer: Peer) -> None:
        """Give this analyser, or follower, nothing more."""
        if peer is self.follower:
            self.follower = None
        elif not peer.follows:
            self._peers.pop(self._place(peer.origin), None)

    def take_back(self, peer: Peer) -> None:
        """Give an analyser frames again that was taken for dead; what it held then it still holds."""
        self._peers[self._place(peer.origin)] = peer

    def take_follower(self, origin: Origin, name: str) -> None:
        """Let this process follow what the analysers find."""
        self.follower = Peer(name, origin, remote=False, room=0, follows=True)

    def pass_to_follower(self, parts: list[memoryview]) -> bool:
        """Send an unfollowed result, as it was received; False if there is no follower, or it is gone."""
        return self.follower is not None and self._send(
            self.follower.origin, [in_message(part)[0] for part in parts]
        )

    def free(self) -> Peer | None:
        """Return the analyser that has least to do and room for more; None if all are full."""
        share = self._share()
        best, least = None, 0
        for peer in self._peers.values():
            n_held = len(peer.held)
            if n_held < max(peer.room, share) and (best is None or n_held < least):
                best, least = peer, n_held
        return best

    def give(self, peer: Peer, name: FrameName, parts: list[Buffer]) -> bool:
        """Send a task; False if the analyser is gone."""
        if not self._send(peer.origin, parts):
            return False
        peer.held.add(name)
        place = self._place(peer.origin)
        self._peers[place] = self._peers.pop(place)  # the next is for another that holds as few
        return True

    def say(self, origin: Origin, message: Any) -> bool:
        """Tell an analyser something; False if it is gone."""
        return self._send(origin, [encode(message)])

    def ping(self, looked_at: bool) -> list[Peer]:
        """Greet all; return those that are gone, which are dropped."""
        gone = [peer for peer in self._everybody() if not self.say(peer.origin, Ping(looked_at))]
        for peer in gone:
            self.drop(peer)
        return gone

    def end(self, reason: str) -> None:
        """Tell all that the run is over."""
        for peer in self._everybody():
            self.say(peer.origin, Over(reason))

    def _everybody(self) -> list[Peer]:
        return self.peers if self.follower is None else [*self.peers, self.follower]

    def _share(self) -> int:
        """Return how many frames of the queue each may hold."""
        return ceil(self._queue_frames / max(1, len(self._peers)))

    def _place(self, origin: Origin) -> tuple[bool, bytes]:
        return self.is_remote(origin), origin.route

    def _send(self, origin: Origin, parts: Sequence[Buffer]) -> bool:
        try:
            origin.socket.send(origin.route, zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        origin.socket.send_multipart(cast("list[bytes]", parts), copy=False)
        return True
