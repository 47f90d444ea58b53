"""Warnings of a run: said once in a while, kept for its end, never a flood."""

import logging
from collections import Counter, deque

__all__ = ["Notes"]

_KEPT = 50
_PER_KIND = 20

_log = logging.getLogger("atomstream.ingest")


class Notes:
    """The run's warnings by kind; of each kind the first twenty are worded, the others only counted.

    Attributes
    ----------
    latest : collections.deque of str
        The last fifty.
    """

    def __init__(self) -> None:
        self.latest: deque[str] = deque(maxlen=_KEPT)
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, line: str) -> bool:
        """Log a warning; return whether it should also go to the file's log."""
        self._counts[kind] += 1
        if self._counts[kind] > _PER_KIND:
            return False
        if self._counts[kind] == _PER_KIND:
            line += f" (the {_PER_KIND}th {kind}; any more are only counted)"
        self.latest.append(line)
        _log.warning("%s", line)
        return True
