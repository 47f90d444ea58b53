"""Faults on request: what a real link, detector or operator does wrong, injected into an outgoing stream.

Each fault changes records before they are encoded, or the encoded parts; none touches a socket. Whether a
fault hits a frame depends on the seed, the fault and the frame's id alone, so a run can be repeated, and what
was injected is returned to be compared with the receiver's ledger.
"""

import random
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from streamer.compression import FILTER_HEADER, encode
from streamer.errors import UsageError
from streamer.records import Compression, Frame, SeriesEnd, SeriesKey, SeriesStart, StreamMessage

__all__ = ["NO_FAULTS", "FaultKind", "FaultPlan", "Injected", "Outgoing", "inject", "parse_faults"]

Parts = tuple[bytes | memoryview, ...]
Encode = Callable[[StreamMessage], Iterable[bytes | memoryview]]

_STRAY_SERIES = 1_000_000  # added to the series' number for a frame of another series
_TWIN_SERIES = 2_000_000  # and for a whole one


class FaultKind(StrEnum):
    """What can go wrong; one fault at most hits a frame, the first in this order."""

    DROP = "drop"  # the frame is never sent
    DUPLICATE = "duplicate"  # it is sent twice
    REORDER = "reorder"  # it is sent after the next one
    DELAY = "delay"  # it is sent some frames later
    TRUNCATE = "truncate"  # its message ends half-way
    CORRUPT = "corrupt"  # the length of its first compressed block is wrong
    SIZE = "size"  # its payload declares twice the size
    SHAPE = "shape"  # a sound frame of half the height
    DTYPE = "dtype"  # a sound frame of another pixel type
    GARBAGE = "garbage"  # random bytes are sent before it
    STRAY = "stray"  # a frame of another series is sent before it
    STALL = "stall"  # the sender pauses before it
    BURST = "burst"  # it is held back with those after it, and all are sent at once
    DISCONNECT = "disconnect"  # before it the sender closes its connections, pauses, and opens again
    TWIN = "twin"  # before it another series begins, which runs along to the end
    NO_START = "no-start"  # the series begins without its start message
    NO_END = "no-end"  # and ends without its end message


_OF_SERIES = (FaultKind.NO_START, FaultKind.NO_END)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which faults hit which frames.

    Attributes
    ----------
    rates : Mapping
        Probability per frame.
    frames : Mapping
        Frame ids hit for certain.
    series : frozenset
        Faults of the series itself (`NO_START`, `NO_END`).
    seed : int
    stall_s : float
        Length of a stall, and of the pause between two connections [s].
    delay_frames, burst_frames : int
        How many frames later a delayed one is sent, and how many a burst holds.
    """

    rates: Mapping[FaultKind, float] = field(default_factory=dict)
    frames: Mapping[FaultKind, frozenset[int]] = field(default_factory=dict)
    series: frozenset[FaultKind] = frozenset()
    seed: int = 0
    stall_s: float = 0.5
    delay_frames: int = 5
    burst_frames: int = 64

    def hit(self, frame_id: int) -> FaultKind | None:
        """Return the fault that hits the frame, if any."""
        return next((kind for kind in FaultKind if self._hits(kind, frame_id)), None)

    def _hits(self, kind: FaultKind, frame_id: int) -> bool:
        if frame_id in self.frames.get(kind, ()):
            return True
        rate = self.rates.get(kind, 0.0)
        return rate > 0 and self.random(kind, frame_id).random() < rate

    def random(self, kind: FaultKind, frame_id: int) -> random.Random:
        """Return the random numbers of one fault on one frame."""
        return random.Random(f"{self.seed} {kind} {frame_id}")


NO_FAULTS = FaultPlan()


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault that was injected; `frame_id` is None for a fault of the series."""

    kind: FaultKind
    frame_id: int | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be sent, after a pause of `delay_s`; `frame_id` is None where it is no frame of ours.

    With `reconnect`, the sender's connections are closed before the pause and opened again after it.
    """

    parts: Parts
    frame_id: int | None = None
    delay_s: float = 0.0
    reconnect: bool = False


def parse_faults(text: str, seed: int = 0) -> FaultPlan:
    """Read faults as the command line gives them, separated by commas.

    ``drop=0.01`` hits one frame in a hundred, ``truncate@3+8`` hits frames 3 and 8, ``no-end`` stands alone.

    Raises
    ------
    UsageError
        If a fault is unknown or has no valid probability or frame.
    """
    rates: dict[FaultKind, float] = {}
    frames: dict[FaultKind, frozenset[int]] = {}
    series: set[FaultKind] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, sign, value = item.partition("@") if "@" in item else item.partition("=")
        kind = _kind(name)
        if kind in _OF_SERIES and not sign:
            series.add(kind)
        elif kind not in _OF_SERIES and sign == "=":
            rates[kind] = _rate(item, value)
        elif kind not in _OF_SERIES and sign == "@":
            frames[kind] = frozenset(_frame_id(item, number) for number in value.split("+"))
        else:
            raise UsageError(f"fault {item!r}: expected {_form(kind)}")
    return FaultPlan(rates, frames, frozenset(series), seed)


def inject(
    messages: Iterable[StreamMessage], encode_message: Encode, plan: FaultPlan, injected: list[Injected]
) -> Iterator[Outgoing]:
    """Encode the messages of a stream with the plan's faults; what was injected is appended to `injected`."""
    held, twin = _Held(plan), _Twin()
    for message in messages:
        if not isinstance(message, Frame):
            yield from held.release()
            yield from _boundary(message, tuple(encode_message(message)), plan, injected)
            yield from _encoded(twin.boundary(message), encode_message)
            continue
        kind = plan.hit(message.header.frame_id)
        if kind is not None:
            injected.append(Injected(kind, message.header.frame_id))
        beside = list(_encoded(twin.beside(message, kind is FaultKind.TWIN), encode_message))
        yield from held.pass_on(kind, beside + _faulty(message, kind, plan, encode_message))
    yield from held.release()


class _Held:
    """Messages that are sent later than they should be."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._reordered: list[Outgoing] = []
        self._delayed: list[tuple[int, list[Outgoing]]] = []  # frames still to wait for, and what waits
        self._burst: list[Outgoing] = []
        self._burst_left = 0  # frames that the burst still takes in

    def pass_on(self, kind: FaultKind | None, outgoing: list[Outgoing]) -> Iterator[Outgoing]:
        """Take in the messages of one frame; yield what is to be sent now."""
        if kind is FaultKind.BURST and not self._burst_left:
            self._burst_left = self._plan.burst_frames
        in_turn = self._in_turn(kind, outgoing)
        if not self._burst_left:
            yield from in_turn
            return
        self._burst += in_turn
        self._burst_left -= 1
        if not self._burst_left:
            yield from self._burst
            self._burst.clear()

    def release(self) -> Iterator[Outgoing]:
        """Yield all that is held: the series ends."""
        late = [message for _, messages in self._delayed for message in messages]
        yield from (*self._burst, *self._reordered, *late)
        self._reordered, self._delayed, self._burst, self._burst_left = [], [], [], 0

    def _in_turn(self, kind: FaultKind | None, outgoing: list[Outgoing]) -> list[Outgoing]:
        if kind is FaultKind.REORDER:
            self._reordered += outgoing
            return []
        self._delayed = [(n - 1, messages) for n, messages in self._delayed]
        due = [message for n, messages in self._delayed if n <= 0 for message in messages]
        self._delayed = [(n, messages) for n, messages in self._delayed if n > 0]
        if kind is FaultKind.DELAY:
            self._delayed.append((self._plan.delay_frames, outgoing))
            return due
        now, self._reordered = [*outgoing, *self._reordered, *due], []
        return now


class _Twin:
    """Another series of the same frames that runs along from some frame on."""

    def __init__(self) -> None:
        self._start: SeriesStart | None = None  # of the stream's own series
        self._first_id: int | None = None  # of the own frame beside the twin's first

    def boundary(self, message: SeriesStart | SeriesEnd) -> Iterator[StreamMessage]:
        """Note the own series' start; end the twin after its end."""
        if isinstance(message, SeriesStart):
            self._start = message
        elif self._first_id is not None:
            yield SeriesEnd(_other_key(message.key, _TWIN_SERIES))

    def beside(self, frame: Frame, begins: bool) -> Iterator[StreamMessage]:
        """Yield what the twin sends before a frame of the stream's own."""
        header = frame.header
        key = _other_key(header.key, _TWIN_SERIES)
        if begins and self._first_id is None:
            self._first_id = header.frame_id
            if self._start is not None:
                planned = max(self._start.n_frames_planned - header.frame_id, 0)
                yield replace(self._start, key=key, n_frames_planned=planned)
        if self._first_id is not None:
            yield replace(frame, header=replace(header, key=key, frame_id=header.frame_id - self._first_id))


def _encoded(messages: Iterable[StreamMessage], encode_message: Encode) -> Iterator[Outgoing]:
    return (Outgoing(tuple(encode_message(message))) for message in messages)


def _boundary(
    message: StreamMessage, parts: Parts, plan: FaultPlan, injected: list[Injected]
) -> Iterator[Outgoing]:
    kind = FaultKind.NO_START if isinstance(message, SeriesStart) else FaultKind.NO_END
    if kind in plan.series:
        injected.append(Injected(kind, None))
    else:
        yield Outgoing(parts)


def _faulty(frame: Frame, kind: FaultKind | None, plan: FaultPlan, encode_message: Encode) -> list[Outgoing]:
    """Return the messages that are sent for a frame."""
    frame_id = frame.header.frame_id
    changed = _CHANGES[kind](frame) if kind in _CHANGES else frame
    sound = Outgoing(tuple(encode_message(changed)), frame_id)
    match kind:
        case FaultKind.DROP:
            return []
        case FaultKind.DUPLICATE:
            return [sound, sound]
        case FaultKind.TRUNCATE:
            return [replace(sound, parts=_truncated(sound.parts))]
        case FaultKind.GARBAGE:
            return [Outgoing((plan.random(kind, frame_id).randbytes(1000),)), sound]
        case FaultKind.STRAY:
            return [Outgoing(tuple(encode_message(_stray(frame)))), sound]
        case FaultKind.STALL:
            return [replace(sound, delay_s=plan.stall_s)]
        case FaultKind.DISCONNECT:
            return [replace(sound, delay_s=plan.stall_s, reconnect=True)]
    return [sound]


def _truncated(parts: Parts) -> Parts:
    longest = max(range(len(parts)), key=lambda n: len(parts[n]))
    return tuple(part[: len(part) // 2] if n == longest else part for n, part in enumerate(parts))


def _stray(frame: Frame) -> Frame:
    return replace(frame, header=replace(frame.header, key=_other_key(frame.header.key, _STRAY_SERIES)))


def _other_key(key: SeriesKey, offset: int) -> SeriesKey:
    return SeriesKey(key.series_id + offset, f"{key.unique_id[::-1]}-{offset}" if key.unique_id else "")


def _corrupted(frame: Frame) -> Frame:
    """Make the first block's length run past the payload's end.

    There is no checksum in bslz4 or lz4, and none at all on uncompressed pixels, so other damage to a payload
    need not be noticeable.
    """
    if frame.header.compression is Compression.NONE:
        return replace(frame, payload=frame.payload[:-1])
    start = FILTER_HEADER.size
    payload = b"".join((frame.payload[:start], struct.pack(">I", 0x7FFFFFFF), frame.payload[start + 4 :]))
    return replace(frame, payload=memoryview(payload))


def _lying(frame: Frame) -> Frame:
    if frame.header.compression is Compression.NONE:
        return replace(frame, payload=memoryview(bytes(frame.payload) * 2))
    size, block_bytes = FILTER_HEADER.unpack_from(frame.payload)
    payload = FILTER_HEADER.pack(2 * size, block_bytes) + frame.payload[FILTER_HEADER.size :]
    return replace(frame, payload=memoryview(payload))


def _with_other_shape(frame: Frame) -> Frame:
    height, width = frame.header.shape
    return _blank(frame, ((height + 1) // 2, width) if height > 1 else (2, width), frame.header.dtype)


def _with_other_dtype(frame: Frame) -> Frame:
    other = np.dtype("<u2") if frame.header.dtype.itemsize != 2 else np.dtype("u1")
    return _blank(frame, frame.header.shape, other)


def _blank(frame: Frame, shape: tuple[int, int], dtype: np.dtype[np.unsignedinteger]) -> Frame:
    payload = encode(np.zeros(shape, dtype), frame.header.compression)
    return Frame(replace(frame.header, shape=shape, dtype=dtype), memoryview(payload))


_CHANGES: Mapping[FaultKind | None, Callable[[Frame], Frame]] = {
    FaultKind.CORRUPT: _corrupted,
    FaultKind.SIZE: _lying,
    FaultKind.SHAPE: _with_other_shape,
    FaultKind.DTYPE: _with_other_dtype,
}


def _kind(name: str) -> FaultKind:
    try:
        return FaultKind(name)
    except ValueError:
        raise UsageError(f"unknown fault {name!r}: expected one of {', '.join(FaultKind)}") from None


def _form(kind: FaultKind) -> str:
    return f"{kind} alone" if kind in _OF_SERIES else f"{kind}=PROBABILITY or {kind}@FRAME+FRAME"


def _rate(item: str, value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise UsageError(f"fault {item!r}: expected a probability from 0 to 1")
    return rate


def _frame_id(item: str, value: str) -> int:
    if not value.isdecimal():
        raise UsageError(f"fault {item!r}: expected frame ids joined by +")
    return int(value)
