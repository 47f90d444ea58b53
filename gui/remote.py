"""What a window can ask of the run it shows, and what it is answered. No Qt."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from gui.moments import Moment
from streamer.control import Displayed, NextFile, Note, Record, Reply, Request
from streamer.control_client import ControlLine
from streamer.curve import ClientKeys
from streamer.errors import MessageError, UsageError
from streamer.window_link import RunStatus

__all__ = ["Remote", "control_address", "is_here", "why_not"]

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_ANYWHERE = ("0.0.0.0", "[::]", "*")
_PATIENCE_S = 5.0
_MOST_NOTES = 1000


def control_address(status: RunStatus | None, hub: str) -> str:
    """Return the run's control address as it can be reached from here; empty if it cannot.

    Parameters
    ----------
    status : RunStatus or None
    hub : str
        The address under which this window has found the run.
    """
    if status is None or not status.control or status.state == "ended":
        return ""
    host, port = _host_and_port(status.control)
    mine, _ = _host_and_port(hub)
    if host in _ANYWHERE:
        return f"tcp://{mine}:{port}"
    return "" if host in _LOOPBACK and mine not in _LOOPBACK else status.control


def why_not(status: RunStatus | None, hub: str) -> str:
    """Say why a run cannot be told anything from here; empty if it can."""
    if control_address(status, hub):
        return ""
    if status is None:
        return "no run is connected"
    if status.state == "ended":
        return "the run is over"
    return (
        "the run takes commands on its own machine only" if status.control else "this run takes no commands"
    )


def is_here(hub: str) -> bool:
    """Whether the run at this address is on this machine, so that both have one clock."""
    return _host_and_port(hub)[0] in _LOOPBACK


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = urlsplit(address).netloc.rpartition(":")
    return host, port


class Remote:
    """Sends requests to the run and hears what came of them; never waits.

    Parameters
    ----------
    clock : callable
        Seconds that only grow; for how long an answer is waited for.
    keys : ClientKeys, optional
        Where the run is encrypted.

    Attributes
    ----------
    said : str
        What came of the last request, in words.
    notes : list of Moment
        Those that the run has taken; of too many the oldest is forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, keys: ClientKeys | None = None) -> None:
        self.said = ""
        self.notes: deque[Moment] = deque(maxlen=_MOST_NOTES)
        self._told = ""
        self._clock = clock
        self._keys = keys
        self._line: ControlLine | None = None
        self._unreachable = ""
        self._waiting: list[tuple[float, str, Moment | None]] = []  # when, and what; "": silently

    @property
    def waits(self) -> bool:
        """Whether the run still owes an answer."""
        return bool(self._waiting)

    def connect(self, address: str) -> None:
        """Talk to the run at `address`; empty: to none."""
        if self._line is not None and self._line.address == address:
            return
        self.close()
        if address and address != self._unreachable:
            try:
                self._line = ControlLine(address, self._keys)
            except UsageError as error:  # it came from the run
                self._unreachable, self.said = address, str(error)

    def note(self, text: str, age_s: float) -> None:
        """Ask for a note that belongs to a moment `age_s` ago."""
        self._ask(Note(text, age_s), "Noted", Moment(time.time() - age_s, text))

    def record(self, on: bool) -> None:
        """Ask for recording to be switched on or off."""
        self._ask(Record(on), "Recording is on" if on else "Recording is off")

    def next_file(self) -> None:
        """Ask for the next file."""
        self._ask(NextFile(), "Next file")

    def displayed(self, after_s: list[float]) -> bool:
        """Report how long after their arrival frames were drawn; return whether it could be sent.

        The person at the window is told nothing of it.
        """
        if self._line is None or not self._line.send(Displayed(tuple(after_s))):
            return False
        self._waiting.append((self._clock(), "", None))
        return True

    def take(self) -> bool:
        """Take in what the run has answered; returns whether there is something new to say."""
        while self._line is not None and self._waiting and (reply := self._reply(self._line)) is not None:
            _, done, note = self._waiting.pop(0)
            if done:
                self.said = done + _details(reply) if reply.ok else f"Not done: {reply.error}"
            if reply.ok and note is not None:  # frames have the run's clock, which need not be this machine's
                self.notes.append(replace(note, t=reply.t) if math.isfinite(reply.t) else note)
        if self._waiting and self._clock() - self._waiting[0][0] > _PATIENCE_S:
            if any(done for _, done, _ in self._waiting):
                self.said = f"The run has not answered for {_PATIENCE_S:g} s"
            self._connect_anew()
        is_new, self._told = self.said != self._told, self.said
        return is_new

    def close(self) -> None:
        """End the connection."""
        if self._line is not None:
            self._line.close()
        self._line, self._waiting = None, []

    def _connect_anew(self) -> None:
        """Give up what is not answered: what came late would be taken for the answer to another request."""
        address = "" if self._line is None else self._line.address
        self.close()
        self.connect(address)

    def _ask(self, request: Request, done: str, note: Moment | None = None) -> None:
        if self._line is None:
            self.said = "No run is connected that takes commands"
        elif self._line.send(request):
            self._waiting.append((self._clock(), done, note))
            self.said = ""
        else:
            self.said = "The run does not take any more requests"

    def _reply(self, line: ControlLine) -> Reply | None:
        try:
            return line.reply()
        except MessageError as error:
            return Reply(ok=False, error=str(error))


def _details(reply: Reply) -> str:
    frame = f", frame {reply.frame_id}" if reply.frame_id >= 0 else ""
    name = reply.path.replace("\\", "/").rpartition("/")[2]
    return frame + (f": {name}" if name else "")
