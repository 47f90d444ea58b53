"""Rules that watch the results, the losses and the stimuli, and say when something has happened. Pure.

::

    ARMED ── the condition holds for `for_frames` values ──► FIRED
      ▲                                                        │
      └── the value is back inside by `hysteresis`, and ───────┘
          `rearm_s` have passed

A rule that watches for a change compares with the value it was armed at; back inside it is by itself then.
"""

from collections.abc import Callable, Iterable, Sequence
from math import hypot, isnan, nan

import msgspec
import numpy as np

from streamer.config import TriggerConfig
from streamer.fused_counts import Decided, FusedCounts
from streamer.records import FrameResult

__all__ = ["EVENT", "EVENT_TOPIC", "Event", "Rule", "Rules", "encode_event", "decode_event"]

EVENT_TOPIC = b"event"
"""Topic under which events are published to windows and whoever subscribes to the view address."""

EVENT = b"event"
"""First part of an event on its way from ingest to the supervisor, for its webhook."""


class Event(msgspec.Struct, frozen=True):
    """A trigger has fired; a MessagePack map for whoever subscribes, and the JSON that a webhook gets.

    `t_frame` is when the frame (or sample) was received, `t` when the rule had fired [Unix s].
    """

    trigger: str
    quantity: str
    value: float
    text: str
    frame_id: int
    t_frame: float
    t: float


encode_event = msgspec.msgpack.Encoder().encode
_events = msgspec.msgpack.Decoder(Event)


def decode_event(body: bytes | memoryview) -> Event:
    """Read an event; raises msgspec.MsgspecError if it is none."""
    event: Event = _events.decode(body)
    return event


class Rule:
    """One trigger's state; see the diagram in the module's docstring.

    Parameters
    ----------
    config : TriggerConfig
    """

    def __init__(self, config: TriggerConfig) -> None:
        self.config = config
        self._armed = True
        self._held = 0
        self._armed_at = nan  # the value it was armed at
        self._fired_at = nan

    def take(self, value: float, now: float, known_late: float = 0.0) -> str:
        """Take a value in, NaN excepted; return in words why the rule fires now, empty if it does not.

        So much of its change as is `known_late` is none: it only was not known before. NaN: nothing of what
        was before can be compared with it.
        """
        if isnan(value):
            return ""
        self._armed_at += known_late
        if isnan(self._armed_at):
            self._armed_at = value
        if not self._armed:
            self._rearm(value, now)
            return ""
        why = self._why(value)
        self._held = self._held + 1 if why else 0
        if self._held < self.config.for_frames:
            return ""
        self._armed, self._held, self._fired_at = False, 0, now
        return why

    def _why(self, value: float) -> str:
        c = self.config
        what = f"fused {c.when}" if c.fused else c.when
        if c.above is not None and value > c.above:
            return f"{what} {value:g} is above {c.above:g}"
        if c.below is not None and value < c.below:
            return f"{what} {value:g} is below {c.below:g}"
        if c.change is not None and abs(value - self._armed_at) >= c.change:
            return f"{what} went from {self._armed_at:g} to {value:g}"
        return ""

    def _rearm(self, value: float, now: float) -> None:
        c = self.config
        inside = (c.above is None or value <= c.above - c.hysteresis) and (
            c.below is None or value >= c.below + c.hysteresis
        )
        if inside and now - self._fired_at >= c.rearm_s:
            self._armed, self._armed_at = True, value


class Rules:
    """All rules of a run.

    Parameters
    ----------
    configs : iterable of TriggerConfig
    """

    def __init__(self, configs: Iterable[TriggerConfig]) -> None:
        self._of_results: list[tuple[Rule, Callable[[FrameResult], float]]] = []
        self._of_decisions: list[tuple[Rule, Callable[[Decided], float]]] = []
        self._fused = FusedCounts()
        self._of_losses: list[Rule] = []
        self._of_channels: list[Rule] = []
        for config in configs:
            if config.when == "lost":
                self._of_losses.append(Rule(config))
            elif config.when == "channel":
                self._of_channels.append(Rule(config))
            elif config.fused and config.when != "total_atoms":
                self._of_decisions.append((Rule(config), _fused_quantity(config)))
            else:
                self._of_results.append((Rule(config), _quantity(config)))

    def of_result(self, result: FrameResult, now: float) -> list[Event]:
        """Return what a frame's result sets off."""
        fired = []
        for rule, quantity in self._of_results:
            value = quantity(result)
            if why := rule.take(value, now):
                fired.append(_event(rule, value, why, result.frame_id, result.t_received, now))
        return fired + self._of_fused(result, now)

    def _of_fused(self, result: FrameResult, now: float) -> list[Event]:
        """Return what the decisions of following set off; nothing where columns were not followed."""
        if not self._of_decisions or isnan(result.fused_atoms):
            return []
        fired, fused = [], self._fused
        fused.take(result)
        for rule, quantity in self._of_decisions:
            value = quantity(fused.now)
            known_late = nan if fused.anew else quantity(fused.supposed) - quantity(fused.before)
            if why := rule.take(value, now, known_late):
                fired.append(_event(rule, value, why, result.frame_id, result.t_received, now))
        return fired

    def of_losses(self, n_lost: int, frame_id: int, now: float, anew: bool = False) -> list[Event]:
        """Return what the number of frames lost so far sets off; `anew`: those of another file.

        A file begins without losses, however many there are when they are looked at first.
        """
        if anew and n_lost:
            return self.of_losses(0, frame_id, now, anew=True) + self.of_losses(n_lost, frame_id, now)
        return self._of(self._of_losses, float(n_lost), frame_id, now, now, nan if anew else 0.0)

    def of_sample(self, name: str, value: float, frame_id: int, t: float, now: float) -> list[Event]:
        """Return what a stimulus channel's sample of time `t` [Unix s] sets off."""
        rules = [rule for rule in self._of_channels if rule.config.channel == name]
        return self._of(rules, value, frame_id, t, now)

    def _of(
        self,
        rules: Sequence[Rule],
        value: float,
        frame_id: int,
        t: float,
        now: float,
        known_late: float = 0.0,
    ) -> list[Event]:
        reasons = [(rule, rule.take(value, now, known_late)) for rule in rules]
        return [_event(rule, value, why, frame_id, t, now) for rule, why in reasons if why]


def _event(rule: Rule, value: float, why: str, frame_id: int, t_frame: float, now: float) -> Event:
    return Event(rule.config.name, rule.config.when, value, why, frame_id, t_frame, now)


def _quantity(config: TriggerConfig) -> Callable[[FrameResult], float]:
    """Return what a rule looks at in a result; places are those of the first frame, drift is taken off."""
    match config.when:
        case "total_atoms":
            return lambda result: result.fused_atoms if config.fused else result.total_atoms
        case "n_columns":
            return lambda result: float(len(result.columns))
        case "ood_score":
            return lambda result: result.ood_score
        case "drift_px":
            return lambda result: hypot(*result.drift_px)
        case "region_atoms":
            return lambda result: _region_atoms(result, config.region or (0.0, 0.0, 0.0, 0.0))
        case _:
            return lambda result: _count_at(result, config.at or (0.0, 0.0), config.radius_px)


def _fused_quantity(config: TriggerConfig) -> Callable[[Decided], float]:
    """Return what a rule looks at in all that was decided."""
    if config.when == "region_atoms":
        return lambda decided: decided.within(config.region or (0.0, 0.0, 0.0, 0.0))
    return lambda decided: decided.nearest(config.at or (0.0, 0.0), config.radius_px)


def _places(result: FrameResult) -> tuple["np.ndarray[tuple[int, ...], np.dtype[np.float64]]", ...]:
    drift = np.nan_to_num(np.array(result.drift_px))
    return tuple(result.columns[axis].astype(np.float64) - d for axis, d in zip("yx", drift, strict=True))


def _region_atoms(result: FrameResult, region: tuple[float, float, float, float]) -> float:
    """Return the atoms of all columns within (y0, x0, y1, x1) [px]."""
    y, x = _places(result)
    inside = (y >= region[0]) & (x >= region[1]) & (y <= region[2]) & (x <= region[3])
    return float(result.columns["count"][inside].sum())


def _count_at(result: FrameResult, at: tuple[float, float], radius_px: float) -> float:
    """Return the count of the column nearest to (y, x) [px] within `radius_px`; 0 where there is none."""
    y, x = _places(result)
    distance = np.hypot(y - at[0], x - at[1])
    if not len(distance) or distance.min() > radius_px:
        return 0.0
    return float(result.columns["count"][distance.argmin()])
