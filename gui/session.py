"""What a window knows of a running analysis: the feed's arrivals, a history, a scene. No Qt."""

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import PurePath

import numpy as np

from gui.channels import ChannelHistory
from gui.feed import Feed
from gui.history import History
from gui.moments import Moment
from gui.player import Player
from gui.remote import Remote, control_address, is_here
from gui.resolve import Scene
from gui.settings import Corners, ViewState
from streamer.control import MOST_DISPLAYED
from streamer.window_link import RunStatus, View

__all__ = ["LiveSession"]

_RATE_SPAN_S = 2.0
_LATENCIES = 200  # of the last pictures drawn, for their percentiles
_MOST_MOMENTS = 1000
_REPORT_S = 1.0  # between two reports to the run
_NEWS_S = 8.0  # how long an answer of the run is shown
_LONGEST_LATENCY_S = 60.0  # beyond it the clocks of two machines are compared, not a delay


class Delays:
    """The last delays of pictures.

    Attributes
    ----------
    percentiles_ms : tuple of float
        Their median and 99th percentile [ms]; NaN if there are none.
    """

    def __init__(self) -> None:
        self.percentiles_ms = (math.nan, math.nan)
        self._last_ms: deque[float] = deque(maxlen=_LATENCIES)

    def add(self, delay_s: float) -> bool:
        """Take one in, if it can be one; returns whether it can."""
        if not 0 <= delay_s < _LONGEST_LATENCY_S:
            return False
        self._last_ms.append(1000 * delay_s)
        p50, p99 = np.percentile(self._last_ms, (50.0, 99.0)).tolist()
        self.percentiles_ms = p50, p99
        return True


class LiveSession:
    """A subscription, its history, and how fast this window follows.

    Parameters
    ----------
    feed : Feed
        Closed by `close`.
    history : History
    clock : callable
        Unix time [s]; compared with the times in the frames.
    """

    player: Player | None = None
    saved_region: Corners | None = None  # a file's

    def __init__(self, feed: Feed, history: History, clock: Callable[[], float] = time.time) -> None:
        self.history = history
        self.status: RunStatus | None = None
        self.remote = Remote(keys=feed.keys)
        self.channels = ChannelHistory()
        self._said_at = math.nan
        self._events = (0, "")
        self._fired: deque[Moment] = deque(maxlen=_MOST_MOMENTS)
        self._feed = feed
        self._clock = clock
        self._heard = math.nan
        self._shown: View | None = None
        self._drawn_at: deque[float] = deque()
        self._since_received, self._since_exposed = Delays(), Delays()
        self._reports = is_here(feed.address)
        self._unreported_s: deque[float] = deque(maxlen=MOST_DISPLAYED)
        self._reported = -math.inf

    def take(self) -> bool:
        """Take in what has arrived; returns whether a new series began."""
        arrivals = self._feed.take()
        if arrivals.views or arrivals.status is not None:
            self._heard = self._clock()
        for batch in arrivals.samples:
            self.channels.add(batch.samples, batch.units)
        if arrivals.status is not None:
            self._take_status(arrivals.status)
        for event in arrivals.events:
            self._fired.append(Moment(event.t_frame, f"{event.trigger}: {event.text}"))
            self._events = self._events[0] + 1, f"{event.trigger}: {event.text}, frame {event.frame_id}"
        if self.remote.take():
            self._said_at = self._clock()
        self._report(self._clock())
        began = [self.history.add(view) for view in arrivals.views]
        return any(began)

    def _take_status(self, status: RunStatus) -> None:
        if self.status is not None and status.t_started != self.status.t_started:
            self.channels.forget_before(status.t_started)
        self.status = status
        self.history.run_started = status.t_started
        self.remote.connect(control_address(status, self._feed.address))

    def scene(self, state: ViewState) -> Scene:
        """Put together what is known now for a person who looks at `state`."""
        view = self.history.at(state.t)
        newest = self.history.newest
        now = self._clock()
        return Scene(
            view=view,
            status=self.status,
            newest_t=math.nan if newest is None else newest.header.t_received,
            address=self._feed.address,
            shown_per_s=self._rate(now),
            screen_ms=self._since_received.percentiles_ms,
            detector_ms=self._since_exposed.percentiles_ms,
            silent_s=0.0 if math.isnan(self._heard) else now - self._heard,
            refused=self._feed.n_refused,
            connected=self._feed.connected,
            refusal=self._feed.refusal,
            said=self.remote.said if now - self._said_at < _NEWS_S else "",
            events=self._events,
        )

    def drawn(self, view: View | None) -> None:
        """Note that `view` is on the screen now, for the rate and the latency."""
        if view is None or view is self._shown:
            return
        self._shown = view
        now = self._clock()
        self._drawn_at.append(now)
        if view is not self.history.newest:
            return
        self._since_exposed.add(now - view.header.t_detector)
        latency_s = now - view.header.t_received
        if self._since_received.add(latency_s) and self._reports:
            self._unreported_s.append(latency_s)

    @property
    def moments(self) -> list[Moment]:
        """Notes written in this window, and triggers that have fired."""
        return [*self.remote.notes, *self._fired]

    @property
    def connected(self) -> bool:
        """Whether the run's hub answers."""
        return self._feed.connected

    @property
    def name(self) -> str:
        """A word for file names: the recorded file's, or the address."""
        path = self.status.path if self.status is not None else ""
        return PurePath(path.replace("\\", "/")).stem if path else "atomstream"

    def close(self) -> None:
        """End the subscription."""
        self.remote.close()
        self._feed.close()

    def _report(self, now: float) -> None:
        """Let the run know, now and then, how late its frames are seen."""
        due = self._unreported_s and not 0 <= now - self._reported < _REPORT_S
        if due and self.remote.displayed(list(self._unreported_s)):
            self._unreported_s.clear()
            self._reported = now

    def _rate(self, now: float) -> float:
        while self._drawn_at and self._drawn_at[0] < now - _RATE_SPAN_S:
            self._drawn_at.popleft()
        return len(self._drawn_at) / _RATE_SPAN_S
