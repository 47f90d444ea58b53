"""Ctrl-C and its relatives: asked once, a run ends cleanly; asked twice, it is killed.

A terminal that is closed (SIGHUP) asks as well, however often: the shell and the system both say so.
"""

import multiprocessing.resource_tracker
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals", "children_without_interrupts", "interrupted_by_all"]

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
_HANG_UP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []


class StopSignals:
    """Notes the first Ctrl-C, SIGTERM or (Windows) Ctrl-Break; a second one raises KeyboardInterrupt.

    The end of the terminal is noted too, but where it is ignored (nohup). A context manager for the main
    thread, the only one that Python lets handle signals.

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
        for number in _HANG_UP:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note_hang_up)
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

    def _note_hang_up(self, number: int, frame: FrameType | None) -> None:
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

    A terminal sends Ctrl-C, and word of its own end, to all processes of a command. Workers ignore both
    (`streamer.worker`), but only from their first own line on; a blocked signal, which a child inherits,
    covers the half second before. One that arrives meanwhile reaches the parent afterwards. Windows has no
    counterpart: there the half second remains.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # its first start would lift the block
    meant_for_us = {signal.SIGINT, *_HANG_UP}
    signal.pthread_sigmask(signal.SIG_BLOCK, meant_for_us)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, meant_for_us)
