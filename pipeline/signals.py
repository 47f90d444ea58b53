"""Ctrl-C and its relatives: asked once, a run ends cleanly; asked twice, it is killed."""

import multiprocessing.resource_tracker
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals", "children_without_interrupts", "interrupted_by_all"]

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class StopSignals:
    """Notes the first Ctrl-C, SIGTERM or (Windows) Ctrl-Break; a second one raises KeyboardInterrupt.

    A context manager for the main thread, the only one that Python lets handle signals.

    Attributes
    ----------
    requested : bool
        Whether the end was asked for.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_set(self) -> bool:
        """Return `requested`; with this, a `streamer.worker.Control` can be made of it."""
        return self.requested

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interrupted_by_all() -> Iterator[None]:
    """Let SIGTERM and (Windows) Ctrl-Break raise KeyboardInterrupt, as Ctrl-C does: files are then closed."""
    before = {n: signal.signal(n, signal.default_int_handler) for n in _SIGNALS if n != signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Let processes that are started inside never see Ctrl-C, not even while Python loads in them.

    A terminal sends Ctrl-C to all processes of a command. Workers ignore it (`streamer.worker`), but only
    from their first own line on; a blocked signal, which a child inherits, covers the half second before. A
    Ctrl-C that arrives meanwhile reaches the parent afterwards. Windows has no counterpart: there the half
    second remains.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # its first start would lift the block
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
