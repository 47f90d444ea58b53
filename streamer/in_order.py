"""Things that come in any order, given back in the order of their numbers."""

from typing import Generic, TypeVar

__all__ = ["InOrder"]

Item = TypeVar("Item")


class InOrder(Generic[Item]):
    """Gives out numbers, and waits at each for what comes under it, or for word that nothing will.

    Nothing here looks at a clock: a number that is never settled is waited for.
    """

    def __init__(self) -> None:
        self._next = 0  # the number that is given out next
        self._first = 0  # the smallest that is not settled, or not given back
        self._settled: dict[int, Item | None] = {}

    def number(self) -> int:
        """Return the next number."""
        self._next += 1
        return self._next - 1

    def put(self, number: int, item: Item) -> None:
        """Note what has come under a number; what comes under it later counts no more."""
        self._settle(number, item)

    def skip(self, number: int) -> None:
        """Note that nothing will come under a number, unless something has."""
        self._settle(number, None)

    def take(self) -> list[Item]:
        """Return, once, all that waits for no smaller number any more, in order."""
        items = []
        while self._first in self._settled:
            item = self._settled.pop(self._first)
            self._first += 1
            if item is not None:
                items.append(item)
        return items

    def _settle(self, number: int, item: Item | None) -> None:
        if not self._first <= number < self._next:
            return
        self._settled.setdefault(number, item)
