"""One process builds an engine, the others wait for its file.

Analysers that start together need the same engines. A build takes minutes and much of the GPU's memory, and
it chooses kernels by timing them: two at once would both take longer and choose worse. Whoever builds holds a
lock of the operating system on a file beside the engine's. The lock is gone with its process, however that
ended, and the next one takes over; the empty file stays.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["turn_to_build"]

_SAY_EVERY_S = 30.0
_POLL_S = 0.1


@contextmanager
def turn_to_build(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process builds the engine that is kept at `path`, and keep the others waiting.

    Look once more whether the engine is there: it is, if somebody was waited for and did not fail. Where no
    lock can be had, because the folder cannot be written to, nobody is waited for.

    Parameters
    ----------
    path : pathlib.Path
        The engine's file.
    say : callable
        Gets a line when there is somebody to wait for, and every half minute.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path.name, say)
    except OSError as error:
        say(f"no lock in {path.parent}: {error.strerror}; other processes may build {path.name} too")
    try:
        yield
    finally:
        lock.release()  # of one that is not held: nothing


def _acquire(lock: FileLock, name: str, say: Callable[[str], None]) -> None:
    started, patience_s = time.monotonic(), 0.0
    while True:
        try:
            lock.acquire(timeout=patience_s, poll_interval=_POLL_S)
        except Timeout:
            waited_s = time.monotonic() - started
            say(f"another process builds {name}: waiting for it ({waited_s:.0f} s so far)")
            patience_s = _SAY_EVERY_S
        else:
            return
