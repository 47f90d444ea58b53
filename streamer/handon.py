"""Frames on their way to the analysers: a queue with a capacity, a policy and an account of every frame.

What is counted is frames that were handed on and have not been answered, wherever they are: in ZeroMQ's
queues, in the network's buffers, in a batch. ZeroMQ's own high-water marks cannot say that, because the
buffers of a TCP connection hold megabytes more.
"""

from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import zmq

from streamer.config import AnalysisConfig
from streamer.link import encode_task
from streamer.records import Frame, Policy, SeriesKey, SeriesStart

if TYPE_CHECKING:
    from streamer.link import Buffer

__all__ = ["HandOn", "Offer", "queue_capacity"]

Owner = TypeVar("Owner")


class Offer(Enum):
    """What became of a frame that was to be analysed."""

    SENT = "sent"
    WAITING = "waiting"
    SKIPPED = "skipped"


def queue_capacity(config: AnalysisConfig) -> int:
    """Return how many frames may be handed on and not answered.

    Two batches for each analyser, one being computed and one ready, keep it busy; LATEST allows no more, so
    that a result is never older than two batches. WAIT also fills the queue that the configuration asks for.
    """
    busy = 2 * config.batch_frames * config.analysers
    return busy if config.policy is Policy.LATEST else max(busy, config.queue_frames)


class HandOn(Generic[Owner]):
    """The sending end of the queue; used by one thread.

    Parameters
    ----------
    socket : zmq.Socket
        PUSH, to which analysers connect.
    policy : Policy
    capacity : int
        Frames that may be handed on and not answered.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", policy: Policy, capacity: int) -> None:
        self._socket = socket
        self._policy = policy
        self._capacity = capacity
        self._unanswered: dict[tuple[SeriesKey, int], Owner] = {}
        self._given_up: dict[tuple[SeriesKey, int], Owner] = {}  # at the last loss of an analyser
        self._waiting: tuple[tuple[SeriesKey, int], Owner, list[Buffer]] | None = None

    @property
    def blocked(self) -> bool:
        """Whether a frame waits (policy WAIT): nothing more may be offered until `retry` has sent it."""
        return self._waiting is not None

    @property
    def full(self) -> bool:
        """Whether as many frames are unanswered as may be."""
        return len(self._unanswered) >= self._capacity

    def offer(self, frame: Frame, start: SeriesStart, t_received: float, owner: Owner) -> Offer:
        """Hand a frame on, keep it waiting, or skip it, as the policy says.

        The payload is passed on without a copy; ZeroMQ holds the received message until it is sent.
        """
        if self.full and self._policy is Policy.LATEST:
            return Offer.SKIPPED
        key = (frame.header.key, frame.header.frame_id)
        parts = encode_task(frame, start, t_received)
        if self._send(key, owner, parts):
            return Offer.SENT
        if self._policy is Policy.LATEST:
            return Offer.SKIPPED
        self._waiting = (key, owner, parts)
        return Offer.WAITING

    def retry(self) -> bool:
        """Try to send the frame that waits; return whether none waits any more."""
        if self._waiting is not None and self._send(*self._waiting):
            self._waiting = None
        return self._waiting is None

    def answered(self, key: SeriesKey, frame_id: int) -> Owner | None:
        """Take a frame off the account when its answer came; None if it was not on it."""
        return self._unanswered.pop((key, frame_id), None)

    def regained(self, key: SeriesKey, frame_id: int) -> Owner | None:
        """Take a frame off the list of those given up, as its answer came; None if it is not there."""
        return self._given_up.pop((key, frame_id), None)

    def unanswered(self, owner: Owner) -> list[int]:
        """Return the ids of an owner's frames that are not answered yet, the waiting one included."""
        ids = [frame_id for (_, frame_id), other in self._unanswered.items() if other is owner]
        if self._waiting is not None and self._waiting[1] is owner:
            ids.append(self._waiting[0][1])
        return ids

    def forget(self, owner: Owner) -> list[int]:
        """Take all of an owner's frames off the account, and return their ids."""
        ids = self.unanswered(owner)
        self._unanswered = {key: other for key, other in self._unanswered.items() if other is not owner}
        self._given_up = {key: other for key, other in self._given_up.items() if other is not owner}
        if self._waiting is not None and self._waiting[1] is owner:
            self._waiting = None
        return ids

    def abandon(self) -> list[tuple[int, Owner]]:
        """Take all frames that were sent off the account, because an analyser is gone; one that waits stays.

        With several analysers, what the others have is given up too, because whose a frame is, is not known
        here; their answers are still welcome (`regained`).
        """
        abandoned = [(frame_id, owner) for (_, frame_id), owner in self._unanswered.items()]
        self._given_up, self._unanswered = self._unanswered, {}
        return abandoned

    def _send(self, key: tuple[SeriesKey, int], owner: Owner, parts: "list[Buffer]") -> bool:
        if self.full or self._unanswered.get(key, owner) is not owner:  # another series by the same name
            return False
        try:
            self._socket.send_multipart(cast("list[bytes]", parts), zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False  # no analyser is connected, or its queue is full
        self._unanswered[key] = owner
        return True
