"""Stimulus channels in the window: what has been heard of each, and its plot. No Qt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gui.format import reading_text
from gui.series import Curve, Plot, decimated
from streamer.stimuli import Sample

__all__ = ["Channel", "ChannelHistory", "channel_plots"]

_MOST_CHANNELS = 16
_MOST_SAMPLES = 100_000


@dataclass(slots=True)
class Channel:
    """One channel in the order of time; of too many samples, every second one of the older half is forgotten.

    `t` [Unix s] and `value` are valid up to `n`.
    """

    unit: str = ""
    n: int = 0
    t: NDArray[np.float64] = field(default_factory=lambda: np.empty(256))
    value: NDArray[np.float64] = field(default_factory=lambda: np.empty(256))

    def add(self, t: float, value: float) -> None:
        """Take in a sample; one that is not newer than the last was known already."""
        if self.n and t <= self.t[self.n - 1]:
            return
        if self.n == len(self.t):
            self._make_room()
        self.t[self.n], self.value[self.n] = t, value
        self.n += 1

    def forget_before(self, t: float) -> None:
        """Leave out samples older than `t` [Unix s]."""
        first = int(self.t[: self.n].searchsorted(t))
        for values in (self.t, self.value):
            values[: self.n - first] = values[first : self.n].copy()
        self.n -= first

    def _make_room(self) -> None:
        if self.n < _MOST_SAMPLES:
            self.t, self.value = (np.concatenate([a, np.empty(len(a))]) for a in (self.t, self.value))
            return
        half = self.n // 2
        kept = np.r_[0:half:2, half : self.n]
        self.t[: len(kept)], self.value[: len(kept)] = self.t[kept], self.value[kept]
        self.n = len(kept)


class ChannelHistory:
    """What a window has heard, by channel; at most sixteen channels are remembered."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}

    def add(self, samples: Iterable[Sample], units: Mapping[str, str]) -> None:
        """Take in samples."""
        for sample in samples:
            channel = self.channels.get(sample.name)
            if channel is None:
                if len(self.channels) >= _MOST_CHANNELS:
                    continue
                channel = self.channels[sample.name] = Channel()
            channel.unit = units.get(sample.name, channel.unit)
            channel.add(sample.t, sample.value)

    def forget_before(self, t: float) -> None:
        """Leave out what is older than `t` [Unix s]: what another run has set does not hold in this one."""
        for channel in self.channels.values():
            channel.forget_before(t)
        self.channels = {name: channel for name, channel in self.channels.items() if channel.n}


def channel_plots(
    channels: Mapping[str, Channel],
    span: tuple[float, float],
    t_zero: float,
    t_cursor: float | None,
    n_points: int,
) -> tuple[Plot, ...]:
    """Make a plot of each channel; a value holds until the next one.

    Parameters
    ----------
    span : tuple of float
        Part that is on screen [Unix s].
    t_zero : float
        Time that the axis calls zero [Unix s].
    t_cursor : float or None
        Where values are read [Unix s]; None: at the end.
    n_points : int
        Points a curve may have.
    """
    plots = (_plot(name, channel, span, t_zero, t_cursor, n_points) for name, channel in channels.items())
    return tuple(plot for plot in plots if plot is not None)


def _plot(
    name: str,
    channel: Channel,
    span: tuple[float, float],
    t_zero: float,
    t_cursor: float | None,
    n_points: int,
) -> Plot | None:
    t, value = channel.t[: channel.n], channel.value[: channel.n]
    end = span[1] if t_cursor is None else t_cursor
    at = int(t.searchsorted(end, side="right")) - 1
    first = max(0, int(t.searchsorted(span[0])) - 1)
    last = int(t.searchsorted(span[1], side="right"))
    if last <= first:
        return None
    x, y = decimated(t[first:last] - t_zero, value[first:last], max(4, n_points // 2))
    reading = f"{reading_text(float(value[at]))} {channel.unit}".strip() if at >= 0 else ""
    x, y = np.append(np.repeat(x, 2)[1:], span[1] - t_zero), np.repeat(y, 2)
    return Plot(f"channel {name}", name, (Curve("", x, y, reading=reading),), least_span=0.0)
