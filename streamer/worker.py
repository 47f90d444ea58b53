"""Child processes: whoever starts one stops it, joins it and re-raises its error.

The supervisor holds a `Worker`; the function that runs in the child gets a `Control`. Both ends talk over one
pipe: the child says ``ready`` (with the addresses it bound), ``told`` with a line for the user, then
``finished`` (with its summary), ``failed`` or, where what it was asked for cannot be done, ``refused``. The
spawn start method is used on every platform.

States of a `Worker`::

    start() ──► STARTING ──ready──► RUNNING ──finished──► FINISHED
                    └───────────────────┴───failed, refused, or the process died──► FAILED
"""

import logging
import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from multiprocessing.connection import Connection
from typing import Any, Protocol, Self

from streamer.errors import AtomstreamError, UsageError, WorkerError
from streamer.flag import SharedFlag

__all__ = ["Control", "Worker", "WorkerState"]

_PARENT_CHECK_S = 0.5
_FOR_THE_PARENT = ("SIGINT", "SIGBREAK", "SIGHUP")  # what a terminal, or a console of Windows, sends to all


class _Flag(Protocol):
    """What can be set once, here or in another process, and asked for."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...


class WorkerState(Enum):
    """See the diagram in the module's docstring."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Control:
    """The child's end: is it asked to stop, and what has it to say.

    Also usable inside one process (tests, benchmarks): `Control.local()`.
    """

    def __init__(self, stop: Any, report: Callable[[tuple[str, Any]], None]) -> None:
        self._stop: _Flag = stop
        self._report = report
        self._next_parent_check = 0.0

    @classmethod
    def local(cls) -> Self:
        """Make a control that reports to nobody; stop it with `request_stop`."""
        return cls(threading.Event(), lambda message: None)

    def request_stop(self) -> None:
        """Ask for the end, from whichever side."""
        self._stop.set()

    def stopping(self) -> bool:
        """Whether the end was asked for, or the parent process is gone. Cheap: call it in every round."""
        return self._stop.is_set() or self._orphaned()

    def ready(self, **info: Any) -> None:
        """Tell the parent that work can begin; `info` holds the bound addresses."""
        self._report(("ready", info))

    def tell(self, line: str) -> None:
        """Tell the parent something that the user should know now."""
        self._report(("told", line))

    def inform(self, **info: Any) -> None:
        """Add to what `ready` has told, or change it."""
        self._report(("inform", info))

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Hand the parent the summary of what was done."""
        self._report(("finished", dict(summary)))

    def _orphaned(self) -> bool:
        now = time.monotonic()
        if now < self._next_parent_check:
            return False
        self._next_parent_check = now + _PARENT_CHECK_S
        parent = multiprocessing.parent_process()
        return parent is not None and not parent.is_alive()


class Worker:
    """The parent's end of one child process.

    Parameters
    ----------
    name : str
        For messages and the process list.
    target : callable
        A module-level function ``target(control, *args)``; it returns when its work is done or
        ``control.stopping()`` is true.
    *args
        Picklable arguments for it: frozen records.
    """

    def __init__(self, name: str, target: Callable[..., None], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.state = WorkerState.STARTING
        self.info: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.error = ""
        self._told: list[str] = []
        self.refused = False  # by a UsageError: to start it again would not help
        self._stop = SharedFlag()
        self._asked_at: float | None = None
        self._pipe, child_pipe = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run_child,
            args=(target, child_pipe, self._stop, args),
            name=f"atomstream-{name}",
            daemon=True,
        )
        self._process.start()
        child_pipe.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.is_alive()

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """Wait until the child is ready and return what it said of itself.

        Raises
        ------
        WorkerError
            If it failed, ended or kept silent for `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while self.state is WorkerState.STARTING:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise WorkerError(f"{self.name} was not ready after {timeout_s:g} s; see its log above")
            self.poll(min(remaining, 0.2))
        self.raise_error()
        return self.info

    def poll(self, timeout_s: float = 0.0) -> WorkerState:
        """Take in what the child has said within `timeout_s` and return its state."""
        try:
            while self._pipe.poll(timeout_s):
                self._take(*self._pipe.recv())
                timeout_s = 0.0
        except (EOFError, OSError):
            self._process.join(timeout=1.0)
        if self.state in (WorkerState.STARTING, WorkerState.RUNNING) and not self.alive:
            self._process.join()
            self._drain_then_fail()
        return self.state

    def told(self) -> list[str]:
        """Return what the child has told since the last time (`Control.tell`)."""
        lines, self._told = self._told, []
        return lines

    def request_stop(self) -> None:
        """Ask the child to end cleanly; returns at once."""
        self._asked_at = self._asked_at or time.monotonic()
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the child's end; kill it after `timeout_s` and note that as its error."""
        begun = time.monotonic()
        deadline = begun + timeout_s
        while self.alive and time.monotonic() < deadline:
            self.poll(0.05)
        if self.alive:
            self._process.kill()
            waited_s = round(deadline - (self._asked_at or begun), 1)
            self.state, self.error = WorkerState.FAILED, f"did not end within {waited_s:g} s and was killed"
        self._process.join()
        self.poll()

    def raise_error(self) -> None:
        """Raise the child's error here, if it had one: a UsageError as such, any other as WorkerError."""
        if self.refused:
            raise UsageError(self.error)
        if self.state is WorkerState.FAILED:
            raise WorkerError(f"{self.name}: {self.error}")

    def close(self) -> None:
        """Release the pipe and the process handle; the child must have ended."""
        self._pipe.close()
        self._process.close()

    def _take(self, kind: str, value: Any) -> None:
        if kind == "told":
            self._told.append(value)
        elif kind == "inform":
            self.info = {**self.info, **value}
        elif kind == "ready":
            self.info, self.state = value, WorkerState.RUNNING
        elif kind == "finished":
            self.summary, self.state = value, WorkerState.FINISHED
        else:
            self.error, self.state, self.refused = value, WorkerState.FAILED, kind == "refused"

    def _drain_then_fail(self) -> None:
        try:
            while self._pipe.poll():
                self._take(*self._pipe.recv())
        except (EOFError, OSError):
            pass
        if self.state in (WorkerState.STARTING, WorkerState.RUNNING):
            self.state = WorkerState.FAILED
            self.error = f"the process ended unexpectedly (exit code {self._process.exitcode})"


def _run_child(target: Callable[..., None], pipe: Connection, stop: _Flag, args: tuple[Any, ...]) -> None:
    """Run `target` in the child; Ctrl-C is the parent's to handle, SIGTERM asks for a clean end."""
    for name in _FOR_THE_PARENT:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    logging.basicConfig(format=f"{multiprocessing.current_process().name}: %(message)s")

    def report(message: tuple[str, Any]) -> None:
        with suppress(BrokenPipeError):  # the parent has gone, so nobody asks any more
            pipe.send(message)

    control = Control(stop, report)
    try:
        target(control, *args)
    except UsageError as error:
        report(("refused", str(error)))
        raise SystemExit(1) from None
    except AtomstreamError as error:
        report(("failed", str(error)))
        raise SystemExit(1) from None
    except Exception as error:
        traceback.print_exc()
        report(("failed", f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from None
    finally:
        pipe.close()
