"""A progress bar for a run, fed like a window: from the status messages of the view hub."""

import sys
import time

import zmq
from tqdm import tqdm

from streamer.curve import ClientKeys, connect_client
from streamer.window_link import STATUS_TOPIC, RunStatus, decode_status

__all__ = ["Bar", "RunProgress"]

_QUEUE_MESSAGES = 8


class RunProgress:
    """A bar on stderr, where stderr is a terminal; otherwise nothing is shown.

    Parameters
    ----------
    address : str
        The hub's outer address.
    analysing : bool
        Whether frames are done when analysed, or already when recorded.
    keys : ClientKeys or None
        Where the hub is encrypted.

    Attributes
    ----------
    advanced_at : float
        When a frame was last heard of to have been received or analysed, by `time.monotonic` [s].
    results_due : bool
        Whether frames were received whose analysis was not over when last heard of.
    """

    def __init__(self, address: str, analysing: bool, keys: ClientKeys | None = None) -> None:
        self._analysing = analysing
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, _QUEUE_MESSAGES)
        self._socket.set(zmq.LINGER, 0)
        self._socket.subscribe(STATUS_TOPIC)
        connect_client(self._socket, address, keys)
        self._on_terminal = sys.stderr.isatty()
        self._bar: Bar | None = None
        self._n_done = 0
        self.advanced_at = time.monotonic()
        self.results_due = False

    def close(self) -> None:
        """Remove the bar and the socket."""
        if self._bar is not None:
            self._bar.close()
        self._socket.close()
        self._context.term()

    def update(self) -> None:
        """Show the newest status, if one has come."""
        newest = None
        while self._socket.poll(0):
            newest = self._socket.recv_multipart(copy=False)
        if newest is not None:
            status = decode_status([part.buffer for part in newest])
            self._notice(status)
            if self._on_terminal:
                self._show(status)

    def _notice(self, status: RunStatus) -> None:
        over = status.analysed + status.skipped + status.analysis_lost + status.damaged
        self.results_due = self._analysing and status.received > over
        n_done = status.received + status.analysed + status.skipped
        if n_done != self._n_done:
            self._n_done, self.advanced_at = n_done, time.monotonic()

    def _show(self, status: RunStatus) -> None:
        if self._bar is None and status.received:  # not before, or the time of loading would count
            self._bar = Bar(unit="frame", leave=False, file=sys.stderr)
        if self._bar is None:
            return
        self._bar.n = status.analysed + status.skipped if self._analysing else status.recorded
        planned = status.n_planned if status.n_planned >= self._bar.n else 0  # several series: not of all
        self._bar.total = planned or None
        self._bar.set_postfix_str(_postfix(status), refresh=False)
        self._bar.refresh()


class Bar(tqdm):  # type: ignore[misc]
    """A bar that is refreshed often; tqdm's thread for bars that are not is not needed."""

    monitor_interval = 0


def _postfix(status: RunStatus) -> str:
    lost = status.missing + status.damaged
    return f"{status.received} received" + (f", {lost} lost" if lost else "")
