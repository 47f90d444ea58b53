"""What was done to the sample: gas, temperature, bias, or any other number against time.

A device or a script pushes MessagePack maps to the run's stimulus address (docs/stimuli.md)::

    {"name": "temperature", "unit": "K", "value": 873.2, "time": 1700000000.1}     unit, time: optional

`Inbox` checks and dates them; it knows neither sockets nor files. What is wrong with a sample is counted by
kind and worded once, and never ends anything.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf, isfinite, nan

import msgspec

from streamer.config import ChannelConfig
from streamer.errors import MessageError

__all__ = ["CHANNELS_TOPIC", "SAMPLES", "Batch", "Inbox", "Sample", "decode_batch", "encode_batch"]

SAMPLES = b"samples"
"""First part of a batch on its way from the supervisor to ingest."""

CHANNELS_TOPIC = b"channels"
"""Topic of a batch on its way to windows."""

_LARGEST_LIST = 1000
_MOST_WAITING = 10_000
_BURST = 200  # samples of a channel that may come at once
_OLDEST_S = 300.0
_AHEAD_S = 1.0


class Incoming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sample as it is sent; `time` is Unix s."""

    name: str
    value: float
    unit: str = ""
    time: float | None = None


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """A sample as it is kept: `t` on the run's clock [Unix s]; `t_source` as it was sent, NaN if undated."""

    name: str
    t: float
    value: float
    t_source: float = nan


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Samples of some moments, and what was refused meanwhile: how often, by kind, and in words."""

    samples: list[Sample]
    refused: dict[str, int] = {}
    notes: list[str] = []
    units: dict[str, str] = {}  # of the channels, for windows


_messages = msgspec.msgpack.Decoder(Incoming | list[Incoming])
_batches = msgspec.msgpack.Decoder(Batch)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
encode_batch = msgspec.msgpack.Encoder().encode


def decode_batch(body: bytes | memoryview) -> Batch:
    """Read a batch.

    Raises
    ------
    MessageError
        If it is none.
    """
    try:
        batch: Batch = _batches.decode(body)
    except _UNREADABLE as error:
        raise MessageError(f"not a batch of samples: {error}") from error
    return batch


class _Channel:
    """One channel's clock and rate."""

    def __init__(self, config: ChannelConfig) -> None:
        self.config = config
        self._shortest_s = inf  # from the sender's time to ours; transport only adds to it
        self._allowance, self._since = float(_BURST), 0.0

    def date(self, t_source: float | None, now: float) -> float:
        """Return a sample's time on the run's clock [Unix s]."""
        if t_source is None:
            return now
        if self.config.clock == "foreign":
            self._shortest_s = min(self._shortest_s, now - t_source)
            return t_source + self._shortest_s
        return t_source

    def allows(self, now: float) -> bool:
        """Whether one more sample keeps to the channel's rate."""
        earned = (now - self._since) * self.config.max_rate_hz
        self._allowance, self._since = min(float(_BURST), self._allowance + earned), now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


class Inbox:
    """Samples that were taken in and not handed on yet, at most ten thousand.

    Parameters
    ----------
    channels : iterable of ChannelConfig
        All that there are; others are refused.
    """

    def __init__(self, channels: Iterable[ChannelConfig]) -> None:
        self._channels = {config.name: _Channel(config) for config in channels}
        self._samples: list[Sample] = []
        self._refused: Counter[str] = Counter()
        self._named: set[str] = set()
        self._notes: list[str] = []

    def take(self, body: bytes | memoryview, now: float) -> None:
        """Take in a message that came at `now` [Unix s on the run's clock]: one sample or a list."""
        try:
            message = _messages.decode(body)
        except _UNREADABLE as error:
            self._refuse("unreadable", f"not a sample: {error}")
            return
        samples: Sequence[Incoming] = message if isinstance(message, list) else [message]
        if len(samples) > _LARGEST_LIST:
            self._refuse(
                "too many at once", f"{len(samples)} samples in one message, at most {_LARGEST_LIST}"
            )
            return
        for sample in samples:
            self._take(sample, now)

    def drain(self) -> Batch | None:
        """Return what has come since the last time; None if that is nothing."""
        if not self._samples and not self._refused:
            return None
        batch = Batch(self._samples, dict(self._refused), self._notes)
        self._samples, self._refused, self._notes = [], Counter(), []
        return batch

    def take_back(self, batch: Batch) -> None:
        """Take back what was just drained and could not be handed on."""
        self._samples, self._refused, self._notes = batch.samples, Counter(batch.refused), batch.notes

    def _take(self, sample: Incoming, now: float) -> None:
        channel = self._channels.get(sample.name)
        if channel is None:
            known = ", ".join(self._channels)
            self._refuse("unknown channel", f"{sample.name[:64]!r} is none of the channels ({known})")
        elif not isfinite(sample.value):
            self._refuse("no number", f"{sample.name!r}: the value is {sample.value}")
        elif sample.unit and sample.unit != channel.config.unit:
            self._refuse(
                "wrong unit", f"{sample.name!r} is in {channel.config.unit!r}, not {sample.unit[:32]!r}"
            )
        elif not channel.allows(now):
            self._refuse(
                "flood", f"{sample.name!r}: more than {channel.config.max_rate_hz:g} samples a second"
            )
        elif len(self._samples) >= _MOST_WAITING:
            self._refuse("flood", "more samples than the run takes")
        else:
            self._date(sample, channel, now)

    def _date(self, sample: Incoming, channel: _Channel, now: float) -> None:
        t = channel.date(sample.time, now)
        if not -_AHEAD_S <= now - t <= _OLDEST_S:
            self._refuse(
                "clock", f"{sample.name!r}: its time is {t - now:+.1f} s from this machine's clock; a device"
                ' with a clock of its own needs clock = "foreign"',
            )  # fmt: skip
            return
        t_source = nan if sample.time is None else sample.time
        self._samples.append(Sample(sample.name, t, sample.value, t_source))

    def _refuse(self, kind: str, line: str) -> None:
        """Count what was refused; word it the first time."""
        self._refused[kind] += 1
        if kind not in self._named:
            self._named.add(kind)
            self._notes.append(f"stimulus refused ({kind}): {line}")
