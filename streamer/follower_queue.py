"""Results of several analysers on their way to the follower, in the order of their frames.

::

    answered by an analyser ──► waits for smaller numbers ──► with the follower ──answer──► recorded
                                            │                        │
                                            └── there is none ───────┴── it died ──► recorded as it is

Frames are numbered when they are handed on. A number is settled by a result, or by word that none will come
(`streamer.handon`). Nothing is copied: what is passed on are views of the message that came, kept until the
follower has answered.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from streamer.analysers import Analysers, FrameName
from streamer.in_order import InOrder

__all__ = ["Found", "FollowerQueue"]

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True, eq=False)
class Found(Generic[Owner]):
    """An unfollowed result (`streamer.unfollowed`) and whose it is."""

    name: FrameName
    owner: Owner
    parts: list[memoryview]


class FollowerQueue(Generic[Owner]):
    """The results that are not recorded yet; used by one thread.

    Parameters
    ----------
    analysers : Analysers
        Knows the follower, if there is one.

    Attributes
    ----------
    order : InOrder
        Gives frames their numbers.
    """

    def __init__(self, analysers: Analysers) -> None:
        self.order: InOrder[Found[Owner]] = InOrder()
        self._analysers = analysers
        self._waiting: dict[FrameName, Found[Owner]] = {}
        self._passed: dict[FrameName, Found[Owner]] = {}
        self._unfollowed: list[Found[Owner]] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._passed) + len(self._unfollowed)

    @property
    def n_passed(self) -> int:
        """How many are with the follower."""
        return len(self._passed)

    def owner_of(self, name: FrameName) -> Owner | None:
        """Return whose frame of this name is here; None if none is."""
        found = self._waiting.get(name) or self._passed.get(name)
        return None if found is None else found.owner

    def put(self, number: int, found: Found[Owner]) -> None:
        """Let a result wait for its turn."""
        self._waiting[found.name] = found
        self.order.put(number, found)

    def advance(self) -> None:
        """Pass on what waits for no other any more."""
        for found in self.order.take():
            del self._waiting[found.name]
            if self._analysers.pass_to_follower(found.parts):
                self._passed[found.name] = found
            else:
                self.lose_follower()  # those before it are recorded before it
                self._unfollowed.append(found)

    def answered(self, name: FrameName) -> Owner | None:
        """Take a result off the queue when the follower has answered; None if it was not waited for."""
        found = self._passed.pop(name, None)
        return None if found is None else found.owner

    def unanswered(self, owner: Owner) -> list[int]:
        """Return the ids of an owner's frames whose results are here."""
        return [found.name[1] for found in self._all() if found.owner is owner]

    def lose_follower(self) -> int:
        """Wait no more for what the follower has not answered; return how many results that were."""
        return self._give_up(list(self._passed.values()))

    def give_up(self, owner: Owner) -> int:
        """Wait no more for the follower's answers to an owner's results; return how many they were."""
        return self._give_up([found for found in self._passed.values() if found.owner is owner])

    def unfollowed(self) -> list[Found[Owner]]:
        """Return, once, what nobody has followed or will, in order: it is to be recorded as it is."""
        unfollowed, self._unfollowed = self._unfollowed, []
        return unfollowed

    def _all(self) -> list[Found[Owner]]:
        return [*self._waiting.values(), *self._passed.values(), *self._unfollowed]

    def _give_up(self, given_up: list[Found[Owner]]) -> int:
        for found in given_up:
            del self._passed[found.name]
        self._unfollowed += given_up
        return len(given_up)
