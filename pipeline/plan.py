"""What a run is to be, and what came of it: the records that the supervisor takes and returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamer.config import RunConfig

__all__ = ["Companion", "RunOutcome", "RunPlan"]


@dataclass(frozen=True, slots=True)
class Companion:
    """A process that a command adds to a run: ``target(control, *args, extra)`` is called in it.

    A sender's `extra` is an event it waits for before the first frame, and its ``ready`` holds ``address``,
    the source's. A window's `extra` is the address it subscribes to.
    """

    target: Callable[..., None]
    args: tuple[Any, ...] = ()
    name: str = "sender"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What is to run.

    `say` takes lines for the user. With `ends_with_window`, closing the window ends the run; with
    `window_stays`, a run that has ended by itself waits until its window is closed, so that its last results
    can be looked at.
    """

    config: RunConfig
    say: Callable[[str], None]
    sender: Companion | None = None
    window: Companion | None = None
    ends_with_window: bool = False
    window_stays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What the processes said of themselves, and what went wrong without ending the run.

    `ended_early` says that it was ended: by Ctrl-C, by closing the window, or because the sender had failed.
    """

    config: RunConfig
    ingest: dict[str, Any]
    analysers: tuple[dict[str, Any], ...]
    sender: dict[str, Any] | None
    peak_rss_bytes: dict[str, int]
    ended_early: bool
    troubles: tuple[str, ...]
    elapsed_s: float
