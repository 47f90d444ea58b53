"""Streams frames as a detector does: binds a PUSH socket and sends start, images and end.

Frames come as images, or as payloads made beforehand (a benchmark's pool), from any iterable. The schedule is
absolute: frame n is due at the first frame's time + n / rate, so one late frame delays no other. Where the
receiver is slower, ZeroMQ's queue fills and the sender waits; it loses nothing by itself.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from simulator.faults import NO_FAULTS, FaultPlan, Injected, inject
from streamer.clock import RunClock
from streamer.closing import Closing
from streamer.compression import encode
from streamer.config import LOCAL_ONLY, SecurityConfig
from streamer.curve import Guard
from streamer.errors import RunError, UsageError
from streamer.pacing import Pacer
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage
from streamer.sources import Scheme, make_encoder
from streamer.worker import Control

__all__ = ["EncodedFrame", "SenderSettings", "SentCounts", "encode_frame", "run_sender", "send_stream"]

_CHECK_S = 0.05
_STOP_LINGER_MS = 1000
_KEY = SeriesKey(1, "simulated")


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame whose payload is made already, so that it can be sent many times at no cost."""

    payload: bytes
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    compression: Compression


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How a stream is sent.

    Attributes
    ----------
    scheme : Scheme
        The stream's format.
    bind : str
        Address to bind; port ``*`` takes a free one.
    compression : Compression
        For frames that come as images.
    rate_hz : float
        Frames a second; 0: as fast as the receiver takes them.
    n_planned : int
        What the start message promises; 0 where that is not known.
    key : SeriesKey
    pixel_size_A : float or None
        At the specimen [Å], told in the start message.
    frame_time_s : float or None
        Told in the start message; None: 1 / rate.
    extra : Mapping
        Further fields of the start message; JSON-like values.
    queue_frames : int
        ZeroMQ's send queue.
    linger_s : float
        How long the last messages may take to leave [s].
    faults : FaultPlan
    security : SecurityConfig
        Who may connect; without, programs on this machine.
    """

    scheme: Scheme = Scheme.DECTRIS2
    bind: str = "tcp://127.0.0.1:*"
    compression: Compression = Compression.BSLZ4
    rate_hz: float = 0.0
    n_planned: int = 0
    key: SeriesKey = _KEY
    pixel_size_A: float | None = None
    frame_time_s: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    queue_frames: int = 100
    linger_s: float = 30.0
    faults: FaultPlan = NO_FAULTS
    security: SecurityConfig = LOCAL_ONLY


@dataclass(frozen=True, slots=True)
class SentCounts:
    """What left the sender.

    `frames` counts the frames of the series (duplicates and strays not), `messages` everything; `late` counts
    the frames whose turn came more than one frame time after they were due; `elapsed_s` runs from the first
    frame's turn to the last one's.
    """

    frames: int
    messages: int
    n_bytes: int
    late: int
    elapsed_s: float
    injected: tuple[Injected, ...]


def send_stream(
    frames: Iterable[NDArray[Any] | EncodedFrame],
    settings: SenderSettings,
    stop: Callable[[], bool] = lambda: False,
    on_bound: Callable[[str], None] = lambda endpoint: None,
) -> SentCounts:
    """Send one series.

    Parameters
    ----------
    frames : iterable of numpy.ndarray of shape (height, width), uint8, uint16 or uint32, or of EncodedFrame
        All of one shape and dtype.
    settings : SenderSettings
    stop : callable
        Asked at least every 0.1 s; once it says yes, the series is ended early.
    on_bound : callable
        Told the endpoint, as ``tcp://127.0.0.1:PORT``, before anything is sent.
    """
    with _Outlet(settings) as outlet:
        on_bound(outlet.endpoint)
        counts = _send_all(outlet, frames, settings, stop)
        if stop():
            outlet.hurry()
        return counts


def run_sender(
    control: Control,
    make_frames: Callable[[], Iterable[NDArray[Any] | EncodedFrame]],
    settings: SenderSettings,
) -> None:
    """Send a stream from a process of its own (`streamer.worker.Worker`).

    `make_frames` is a module-level function, or a `functools.partial` of one; it is called in the child. The
    child is ready, with its `endpoint`, once it is bound; its summary is `SentCounts` as a dictionary.
    """
    counts = send_stream(
        make_frames(), settings, control.stopping, lambda endpoint: control.ready(endpoint=endpoint)
    )
    control.finished(asdict(counts))


def encode_frame(image: NDArray[Any], compression: Compression) -> EncodedFrame:
    """Make the payload of an image."""
    dtype = image.dtype.newbyteorder("<")
    height, width = image.shape
    return EncodedFrame(encode(image, compression), (height, width), dtype, compression)


class _Outlet(Closing):
    """A bound PUSH socket that can be closed and opened again; a context manager that sends what is left."""

    def __init__(self, settings: SenderSettings) -> None:
        self._settings = settings
        self.endpoint = self._open(settings.bind)

    def send(self, parts: Sequence[bytes | memoryview], stop: Callable[[], bool]) -> bool:
        """Hand a message to ZeroMQ, waiting for room; False if that was given up because of `stop`."""
        while True:
            try:
                self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
                return True
            except zmq.Again:
                if stop():
                    return False
                self._socket.poll(round(1000 * _CHECK_S), zmq.POLLOUT)

    def close(self) -> None:
        """Close all connections, after everything that was sent has left."""
        self._socket.close()
        self._guard.close()
        self._context.term()

    def reopen(self) -> None:
        """Bind the same address again."""
        self._open(self.endpoint)

    def hurry(self) -> None:
        """Give what has not left a moment only."""
        self._socket.set(zmq.LINGER, _STOP_LINGER_MS)

    def _open(self, address: str) -> str:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._guard = Guard(self._context, self._settings.security)
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.set(zmq.SNDHWM, self._settings.queue_frames)
        self._socket.set(zmq.LINGER, round(1000 * self._settings.linger_s))
        try:
            return self._guard.bind(self._socket, address)
        except (UsageError, RunError):
            self.close()
            raise


def _send_all(
    outlet: _Outlet,
    frames: Iterable[NDArray[Any] | EncodedFrame],
    settings: SenderSettings,
    stop: Callable[[], bool],
) -> SentCounts:
    pacer, clock = Pacer(settings.rate_hz, stop), RunClock.start()
    encoder = make_encoder(settings.scheme, clock.now())
    injected: list[Injected] = []
    messages = _messages(_encoded(frames, settings.compression), settings, pacer, clock)
    sent, n_frames, n_bytes, last_id = 0, 0, 0, None
    for outgoing in inject(messages, encoder.encode, settings.faults, injected):
        if outgoing.reconnect:
            outlet.close()
        if outgoing.delay_s:
            pacer.pause(outgoing.delay_s)
        if outgoing.reconnect:
            outlet.reopen()
        if not outlet.send(outgoing.parts, stop):
            break
        sent += 1
        n_bytes += sum(len(part) for part in outgoing.parts)
        if outgoing.frame_id not in (None, last_id):  # a duplicate follows its frame at once
            n_frames, last_id = n_frames + 1, outgoing.frame_id
    return SentCounts(n_frames, sent, n_bytes, pacer.late, pacer.elapsed_s, tuple(injected))


def _messages(
    frames: Iterator[EncodedFrame], settings: SenderSettings, pacer: Pacer, clock: RunClock
) -> Iterator[StreamMessage]:
    """Yield the series' messages, each frame when it is due."""
    first = next(frames, None)
    if first is None:
        raise UsageError("there are no frames to send")
    yield _start(first, settings)
    for frame_id, frame in enumerate(itertools.chain((first,), frames)):
        if not pacer.wait_for(frame_id):
            break
        header = FrameHeader(settings.key, frame_id, frame.shape, frame.dtype, frame.compression, clock.now())
        yield Frame(header, memoryview(frame.payload))
    yield SeriesEnd(settings.key)


def _start(first: EncodedFrame, settings: SenderSettings) -> SeriesStart:
    frame_time_s = settings.frame_time_s or (1 / settings.rate_hz if settings.rate_hz else None)
    return SeriesStart(
        key=settings.key,
        n_frames_planned=settings.n_planned,
        shape=first.shape,
        dtype=first.dtype,
        pixel_size_A=settings.pixel_size_A,
        frame_time_s=frame_time_s,
        saturation_value=int(np.iinfo(first.dtype).max) - 1,  # the largest value means "no data"
        extra=settings.extra,
    )


def _encoded(
    frames: Iterable[NDArray[Any] | EncodedFrame], compression: Compression
) -> Iterator[EncodedFrame]:
    for frame in frames:
        yield frame if isinstance(frame, EncodedFrame) else encode_frame(frame, compression)
