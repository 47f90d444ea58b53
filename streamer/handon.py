"""Frames on their way to the analysers: a queue with a capacity, a policy and an account of every frame.

What is counted is frames that were handed on and have not been answered, and by whom they were taken. They
are kept until then, so that those of an analyser that dies can be given to another. Two batches for each
analyser, one being computed and one ready, keep it busy; LATEST allows no more, so that a result is never
older than two batches. WAIT also fills the queue that the configuration asks for (`streamer.analysers`)::

    offered ──► waiting ──► held by one analyser ──answer──► off the account
                   ▲                  │
                   └── it died (WAIT) ┴── it died (LATEST, or three have died of it) ──► lost, and named

Where several analysers share a run, answers have yet to be followed, in order (`streamer.follower_queue`).
Those that wait there count as well.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from streamer.analysers import Analysers, FrameName, Peer
from streamer.follower_queue import FollowerQueue, Found
from streamer.link import encode_task
from streamer.records import Frame, Policy, SeriesStart

if TYPE_CHECKING:
    from streamer.message_parts import Buffer

__all__ = ["HandOn", "Lost", "Offer"]

Owner = TypeVar("Owner")

_MOST_DEATHS = 3
"""A frame that so many analysers died over may be what kills them."""


class Offer(Enum):
    """What became of a frame that was to be analysed."""

    SENT = "sent"
    WAITING = "waiting"
    SKIPPED = "skipped"
    LOST = "lost"  # no analyser is left: `HandOn.losses` says so


class Lost(NamedTuple, Generic[Owner]):
    """A frame that will not be answered any more."""

    frame_id: int
    owner: Owner
    reason: str


@dataclass(slots=True, eq=False)
class _Handed(Generic[Owner]):
    """A frame on the account, and its message, ready to be sent (again)."""

    name: FrameName
    owner: Owner
    parts: "list[Buffer]"
    number: int = -1
    peer: Peer | None = None
    n_deaths: int = 0


class HandOn(Generic[Owner]):
    """The sending end of the queue; used by one thread.

    Parameters
    ----------
    analysers : Analysers
        Whom frames are given to.
    policy : Policy
    queue : FollowerQueue
        Where unfollowed results wait for their turn.
    """

    def __init__(self, analysers: Analysers, policy: Policy, queue: FollowerQueue[Owner]) -> None:
        self._analysers = analysers
        self._queue, self._order = queue, queue.order
        self._policy = policy
        self._given: dict[FrameName, _Handed[Owner]] = {}
        self._waiting: deque[_Handed[Owner]] = deque()
        self._given_up: dict[FrameName, Owner] = {}
        self._losses: list[Lost[Owner]] = []
        self._departed: list[tuple[Peer, int]] = []
        self._nobody = ""

    @property
    def blocked(self) -> bool:
        """Whether a frame waits (policy WAIT): nothing more may be offered until `retry` has sent it."""
        return bool(self._waiting)

    def offer(
        self, frame: Frame, start: SeriesStart, t_received: float, owner: Owner, series: int = 0
    ) -> Offer:
        """Hand a frame of the run's `series`-th series on, keep it waiting, or skip it, as the policy says.

        The payload is passed on without a copy; the received message is held until the answer.
        """
        name = (frame.header.key, frame.header.frame_id)
        if self._nobody:
            self._losses.append(Lost(name[1], owner, self._nobody))
            return Offer.LOST
        if self._policy is Policy.LATEST and self._analysers.free() is None:
            return Offer.SKIPPED
        handed = _Handed(name, owner, encode_task(frame, start, t_received, series))
        sent = self._send(handed)
        if not sent and self._policy is Policy.LATEST:
            return Offer.SKIPPED
        handed.number = self._order.number()
        if not sent:
            self._waiting.append(handed)
        return Offer.SENT if sent else Offer.WAITING

    def retry(self) -> bool:
        """Try to send the frames that wait; return whether none waits any more."""
        while self._waiting:
            handed = self._waiting.popleft()
            if not self._send(handed):  # those of an analyser that proved to be gone may come before it now
                self._let_wait(handed)
                break
        return not self._waiting

    def answered(self, name: FrameName, peer: Peer | None) -> Owner | None:
        """Take a frame off the account when its answer came; None if it was not on it.

        It may come from an analyser that was taken for dead, before or after the frame was given to another.
        """
        if peer is not None and peer.follows:
            peer.n_answered += 1
            return self._queue.answered(name)
        handed = self._taken_off(name, peer)
        if handed is None:
            return None
        self._order.skip(handed.number)
        return handed.owner

    def found(self, name: FrameName, peer: Peer | None, parts: list[memoryview]) -> bool:
        """Let an unfollowed answer wait for its turn; False if it was not waited for."""
        handed = self._taken_off(name, peer)
        if handed is None:
            return False
        self._queue.put(handed.number, Found(name, handed.owner, parts))
        return True

    @property
    def waited_for(self) -> "tuple[list[Peer], Peer | None]":
        """The analysers, if results of theirs wait for others; the follower, if it has some to follow."""
        analysers = self._analysers.peers if len(self._queue) > self._queue.n_passed else []
        return analysers, self._analysers.follower if self._queue.n_passed else None

    def regained(self, name: FrameName) -> Owner | None:
        """Take a frame off the list of those given up, as its answer came; None if it is not there."""
        return self._given_up.pop(name, None)

    def unanswered(self, owner: Owner) -> list[int]:
        """Return the ids of an owner's frames that wait, or are not answered yet, or not followed."""
        return [*(h.name[1] for h in self._handed_of(owner)), *self._queue.unanswered(owner)]

    def forget(self, owner: Owner) -> list[int]:
        """Take an owner's frames that no analyser has answered off the account, and return their ids.

        Where there are none any more, what the follower has not answered is recorded as it is.
        """
        ids = [handed.name[1] for handed in self._handed_of(owner)]
        if not ids:
            self._queue.give_up(owner)
        for handed in self._handed_of(owner):
            self._order.skip(handed.number)
            self._given.pop(handed.name, None)
            if handed.peer is not None:
                handed.peer.held.discard(handed.name)
        self._waiting = deque(h for h in self._waiting if h.owner is not owner)
        self._given_up = {name: other for name, other in self._given_up.items() if other is not owner}
        return ids

    def lose(self, peer: Peer, reason: str) -> int:
        """Take back what an analyser held that is gone; return how many frames wait for another one now."""
        self._analysers.drop(peer)
        if peer.follows:
            self._queue.lose_follower()
        again = []
        for name in sorted(peer.held, key=lambda name: name[1]):
            handed = self._given.get(name)
            if handed is None or handed.peer is not peer:
                continue
            del self._given[name]
            handed.peer, handed.n_deaths = None, handed.n_deaths + 1
            if self._policy is Policy.LATEST or handed.n_deaths >= _MOST_DEATHS or self._nobody:
                self._lose(handed, reason)
            else:
                again.append(handed)
        self._let_wait(*again)
        return len(again)

    def nobody(self, reason: str) -> None:
        """Let nothing wait any more, as no analyser is left, until one has `joined`."""
        self._nobody = reason
        for handed in self._waiting:
            self._lose(handed, reason)
        self._waiting.clear()

    def joined(self) -> None:
        """Hand on again: an analyser has come."""
        self._nobody = ""

    def losses(self) -> list[Lost[Owner]]:
        """Return the frames that were lost since the last time."""
        losses, self._losses = self._losses, []
        return losses

    def departed(self) -> list[tuple[Peer, int]]:
        """Return, once, who proved to be gone when it was given a frame, and how many frames wait again."""
        departed, self._departed = self._departed, []
        return departed

    def _let_wait(self, *handed: _Handed[Owner]) -> None:
        """Let frames wait in the order of their numbers: results of later ones wait for the first."""
        self._waiting = deque(sorted((*handed, *self._waiting), key=lambda one: one.number))

    def _handed_of(self, owner: Owner) -> list[_Handed[Owner]]:
        return [h for h in (*self._given.values(), *self._waiting) if h.owner is owner]

    def _taken_off(self, name: FrameName, peer: Peer | None) -> _Handed[Owner] | None:
        """Take a frame off the account that `peer`, or one taken for dead, has answered."""
        if peer is not None:
            peer.n_answered += 1
            peer.held.discard(name)
        handed = self._given.pop(name, None)
        if handed is None:
            handed = next((h for h in self._waiting if h.name == name), None)
            if handed is not None:
                self._waiting.remove(handed)
        return handed

    def _lose(self, handed: _Handed[Owner], reason: str) -> None:
        self._given_up[handed.name] = handed.owner
        self._order.skip(handed.number)
        self._losses.append(Lost(handed.name[1], handed.owner, reason))

    def _has_room(self, handed: _Handed[Owner]) -> bool:
        """Whether the frames that wait to be followed let another one be handed on.

        One that was taken back may always go: those after it wait for it.
        """
        n_waiting = len(self._queue)
        if not n_waiting or handed.n_deaths:
            return True
        return len(self._given) + n_waiting < self._analysers.capacity

    def _is_taken(self, handed: _Handed[Owner]) -> bool:
        """Whether there is a frame of another series by the same name."""
        given = self._given.get(handed.name)
        owner = self._queue.owner_of(handed.name) if given is None else given.owner
        return owner is not None and owner is not handed.owner

    def _send(self, handed: _Handed[Owner]) -> bool:
        if self._is_taken(handed) or not self._has_room(handed):
            return False
        while (peer := self._analysers.free()) is not None:
            if self._analysers.give(peer, handed.name, handed.parts):
                handed.peer = peer
                self._given[handed.name] = handed
                return True
            self._departed.append((peer, self.lose(peer, f"{peer.name} is gone")))
        return False
