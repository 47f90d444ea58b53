"""When a batch closes, and what is in it: a queue without sockets or clocks of its own."""

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import Generic, TypeVar

__all__ = ["BatchQueue"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    shape: tuple[int, int]
    since_s: float


class BatchQueue(Generic[Item]):
    """Items of equal shape that will be computed together.

    A batch closes when it is full, when its oldest item has waited `max_wait_s`, or when an item of another
    shape has come after it. Items leave in the order in which they came.

    Parameters
    ----------
    capacity : int
        Items in a full batch.
    max_wait_s : float
        How long an item may wait for others [s].
    """

    def __init__(self, capacity: int, max_wait_s: float) -> None:
        self._capacity = capacity
        self._max_wait_s = max_wait_s
        self._waiting: deque[_Waiting[Item]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether a whole batch waits, so that nothing more should be fetched."""
        return len(self._waiting) >= self._capacity

    @property
    def next_shape(self) -> tuple[int, int]:
        """Shape of the next batch's items; at least one must wait."""
        return self._waiting[0].shape

    def add(self, item: Item, shape: tuple[int, int], now_s: float) -> None:
        """Append an item of `shape` (height, width)."""
        self._waiting.append(_Waiting(item, shape, now_s))

    def closes_in_s(self, now_s: float) -> float:
        """Return how long the batch stays open: 0 when it is due, infinite when there is none."""
        if not self._waiting:
            return inf
        if self.full or any(one.shape != self._waiting[0].shape for one in self._waiting):
            return 0.0
        return max(0.0, self._waiting[0].since_s + self._max_wait_s - now_s)

    def take(self) -> list[Item]:
        """Remove the next batch and return it; at least one item must wait."""
        shape = self._waiting[0].shape
        same = [w.item for w in takewhile(lambda w: w.shape == shape, self._waiting)][: self._capacity]
        for _ in same:
            self._waiting.popleft()
        return same
