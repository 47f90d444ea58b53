"""Streams a recorded file as a detector would: start, images at the recorded or another rate, end.

Frames whose stored chunks are stream payloads (our own recordings, DECTRIS files) are sent on as they are;
others are read, turned into counts and encoded, a few frames ahead (`streamer.read_ahead`).

A frame that the file cannot give is named, and the next one follows. In our own format it leaves without
pixels, so that whoever receives it counts it as damaged; the others have no such message: its id is left out.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from streamer.clock import RunClock
from streamer.config import LOCAL_ONLY, SecurityConfig
from streamer.connection import ConnectionWatch, set_reconnection
from streamer.curve import Guard, client_keys, connect_client
from streamer.errors import FileReadError, RunError, UsageError
from streamer.files import UNSCALED, FileInfo, FrameFile, Scaling, open_file, stream_dtype
from streamer.flag import SharedFlag
from streamer.pacing import Pacer
from streamer.read_ahead import Made, Payload, payload_or_damage, payloads
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage
from streamer.sources import Encoder, Scheme, make_encoder
from streamer.worker import Control

__all__ = ["ReplayCounts", "ReplaySettings", "expect_replayable", "rate_of", "run_replay", "stream_file"]

_CHECK_MS = 50
_STOP_LINGER_MS = 1000
_MOST_NAMED = 20  # frames that cannot be read
_FIRST_TRIED = 8  # frames, of which one must be readable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """What is streamed, and how.

    Attributes
    ----------
    path : str
    format, dataset : str
        As for `streamer.files.open_file`.
    frames : sequence of int or None
        Which of the file's frames, in this order; None: all.
    loops : int
        How often; 0: without end. The frame ids go on counting.
    rate_hz : float or None
        Frames a second; 0: as fast as they are taken; None: as recorded.
    scaling : Scaling
        How stored values become counts.
    pixel_size_A : float or None
        At the specimen [Å]; None: as the file says.
    scheme : Scheme
        The stream's format.
    address : str
        ZeroMQ address to bind, or to connect to.
    connect : bool
        Whether the receiver is the one that has bound.
    connect_timeout_s : float
        How long to wait for it then.
    compression : Compression
        For frames that have to be encoded.
    queue_frames : int
        ZeroMQ's send queue.
    linger_s : float
        How long the last messages may take to leave [s].
    security : SecurityConfig
        Who may connect; without, programs on this machine.
    server_key : str
        The receiver's public key file, where it is the one that has bound, encrypted.
    """

    path: str
    format: str = ""
    dataset: str = ""
    frames: Sequence[int] | None = None
    loops: int = 1
    rate_hz: float | None = None
    scaling: Scaling = UNSCALED
    pixel_size_A: float | None = None
    scheme: Scheme = Scheme.ATOMSTREAM
    address: str = "tcp://127.0.0.1:*"
    connect: bool = False
    connect_timeout_s: float = 5.0
    compression: Compression = Compression.BSLZ4
    queue_frames: int = 100
    linger_s: float = 30.0
    security: SecurityConfig = LOCAL_ONLY
    server_key: str = ""


@dataclass(frozen=True, slots=True)
class ReplayCounts:
    """What left, and what could not.

    Attributes
    ----------
    frames, as_stored : int
        Frames with pixels, and how many of them as stored.
    n_bytes : int
        Of payloads.
    late : int
        Frames sent late.
    elapsed_s : float
    unreadable : int
        Frames that the file could not give.
    damage : tuple of str
        Why, of the first of these.
    """

    frames: int
    as_stored: int
    n_bytes: int
    late: int
    elapsed_s: float
    unreadable: int = 0
    damage: tuple[str, ...] = ()


_WITHOUT_PIXELS = Payload(Compression.NONE, b"", as_stored=False)


def run_replay(control: Control, settings: ReplaySettings, begin: SharedFlag) -> None:
    """Stream a file once `begin` is set: a target for `streamer.worker.Worker`.

    Ready, with the stream's `address`, as soon as it is bound; the summary is `ReplayCounts` as a dictionary.
    """

    def on_bound(address: str) -> None:
        control.ready(address=address)
        while not begin.wait(0.1) and not control.stopping():
            pass

    control.finished(asdict(stream_file(settings, control.stopping, on_bound)))


def stream_file(
    settings: ReplaySettings,
    stop: Callable[[], bool] = lambda: False,
    on_bound: Callable[[str], None] = lambda address: None,
    on_frame: Callable[[], object] = lambda: None,
) -> ReplayCounts:
    """Stream a file from this process.

    Parameters
    ----------
    settings : ReplaySettings
    stop : callable
        Asked at least every 0.1 s; once it says yes, the series is ended early.
    on_bound : callable
        Told the stream's address, such as ``atomstream://127.0.0.1:5555``, before anything is sent.
    on_frame : callable
        Called after each frame that was handed to ZeroMQ.

    Raises
    ------
    UsageError
        If the file or the settings do not fit; see `expect_replayable`.
    FileReadError
        If a pixel is no count; the frames before that have been sent, and the end.
    RunError
        If the address cannot be bound, or nothing that takes the stream answers there.
    """
    with closing(open_file(Path(settings.path), settings.format, settings.dataset)) as file:
        expect_replayable(file, settings)
        with (
            zmq.Context() as context,
            Guard(context, settings.security) as guard,
            context.socket(zmq.PUSH) as socket,
        ):
            socket.set(zmq.SNDHWM, settings.queue_frames)
            socket.set(zmq.LINGER, round(1000 * settings.linger_s))
            on_bound(_attach(socket, settings, guard, stop))
            counts = _send_all(socket, file, settings, stop, on_frame)
            if stop():
                socket.set(zmq.LINGER, _STOP_LINGER_MS)
            return counts


def expect_replayable(file: FrameFile, settings: ReplaySettings) -> None:
    """Check, with the first frame that can be read, that a file can be streamed as the settings say.

    Raises
    ------
    UsageError
        If a frame is not in the file, the rate is not known, or the pixels cannot become counts.
    FileReadError
        If none of the first few frames can be read.
    """
    frames = _frames(file.info, settings)
    if not frames or min(frames) < 0 or max(frames) >= file.info.n_frames:
        raise UsageError(
            f"{file.info.path} has the frames 0 to {file.info.n_frames - 1}, not those asked for"
        )
    if file.info.largest_is_no_data and not settings.scaling.is_identity:
        raise UsageError(f"{file.info.path} holds counts already: leave out --scale and --offset")
    rate_of(file.info, settings)
    _expect_one_readable(file, settings, frames[:_FIRST_TRIED])


def _expect_one_readable(file: FrameFile, settings: ReplaySettings, frames: Sequence[int]) -> None:
    for index in frames:
        found = payload_or_damage(file, index, settings.scaling, settings.compression)
        if isinstance(found, Payload):
            return
    if isinstance(found, FileReadError):
        raise found


def rate_of(info: FileInfo, settings: ReplaySettings) -> float:
    """Return the rate [Hz]; 0: as fast as the frames are taken.

    Raises
    ------
    UsageError
        If neither the settings nor the file give one.
    """
    if settings.rate_hz is not None:
        return settings.rate_hz
    if info.frame_time_s is None:
        raise UsageError(
            f"{info.path} does not say how fast it was recorded ({info.frame_time_from}):"
            " give --fps F (0: as fast as the frames are taken)"
        )
    return 1 / info.frame_time_s


def _frames(info: FileInfo, settings: ReplaySettings) -> Sequence[int]:
    return range(info.n_frames) if settings.frames is None else settings.frames


def _indices(info: FileInfo, settings: ReplaySettings) -> Iterable[int]:
    """Return the file's numbers of all frames that leave, in all loops."""
    frames = _frames(info, settings)
    loops = itertools.repeat(frames, settings.loops) if settings.loops else itertools.repeat(frames)
    return itertools.chain.from_iterable(loops)


def _attach(
    socket: zmq.Socket[bytes], settings: ReplaySettings, guard: Guard, stop: Callable[[], bool]
) -> str:
    """Bind or connect, and return the stream's address."""
    if settings.connect:
        _connect(socket, settings, stop)
    endpoint = settings.address if settings.connect else guard.bind(socket, settings.address)
    return f"{settings.scheme}://{endpoint.removeprefix('tcp://')}"


def _connect(socket: zmq.Socket[bytes], settings: ReplaySettings, stop: Callable[[], bool]) -> None:
    """Connect, and wait for the receiver: ZeroMQ takes frames for one that is never there, and drops them."""
    keys = client_keys(settings.security.key, settings.server_key)
    set_reconnection(socket)
    with closing(ConnectionWatch(socket)) as watch:
        try:
            connect_client(socket, settings.address, keys)
        except zmq.ZMQError as error:
            raise RunError(f"cannot connect to {settings.address}: {error.strerror}") from error
        deadline = time.monotonic() + settings.connect_timeout_s
        while not (watch.n_peers or watch.refusal or stop() or time.monotonic() > deadline):
            watch.wait(0.1)
    if watch.refusal:
        raise RunError(f"{settings.address} does not take the stream: {watch.refusal}")
    if not watch.n_peers and not stop():
        raise RunError(
            f"nothing has answered at {settings.address} within {settings.connect_timeout_s:g} s: is the"
            " receiver running there, and the port right?"
        )


def _send_all(
    socket: zmq.Socket[bytes],
    file: FrameFile,
    settings: ReplaySettings,
    stop: Callable[[], bool],
    on_frame: Callable[[], object],
) -> ReplayCounts:
    clock = RunClock.start()
    encoder = make_encoder(settings.scheme, clock.now())
    pacer = Pacer(rate_of(file.info, settings), stop)
    start = _start(file.info, settings)
    tally = _Tally()
    if not _send(socket, encoder, start, stop):
        return ReplayCounts(0, 0, 0, 0, 0.0)
    t_begin = clock.now()
    try:
        wanted = _indices(file.info, settings), settings.scaling, settings.compression
        with closing(payloads(file, *wanted)) as all_made:
            for frame_id, made in enumerate(all_made):
                if not pacer.wait_for(frame_id):
                    break
                payload = _in_stream(made, settings.scheme)
                t_detector = t_begin + frame_id * start.frame_time_s if start.frame_time_s else clock.now()
                if payload and not _send(socket, encoder, _frame(frame_id, payload, start, t_detector), stop):
                    break
                tally.add(made)
                on_frame()
    finally:  # also after a frame that is no count: whoever receives need not wait in vain
        _send(socket, encoder, SeriesEnd(start.key), stop)
    return tally.counts(pacer)


class _Tally:
    """What has left so far."""

    def __init__(self) -> None:
        self._frames = self._as_stored = self._n_bytes = self._unreadable = 0
        self._damage: list[str] = []

    def add(self, made: Made) -> None:
        if isinstance(made, Payload):
            self._frames += 1
            self._as_stored += made.as_stored
            self._n_bytes += len(made.data)
            return
        self._unreadable += 1
        if len(self._damage) < _MOST_NAMED:
            self._damage.append(str(made))

    def counts(self, pacer: Pacer) -> ReplayCounts:
        return ReplayCounts(
            self._frames, self._as_stored, self._n_bytes, pacer.late, pacer.elapsed_s,
            self._unreadable, tuple(self._damage),
        )  # fmt: skip


def _in_stream(made: Made, scheme: Scheme) -> Payload | None:
    """Return what stands for a frame in the stream; None if nothing does."""
    if isinstance(made, Payload):
        return made
    return _WITHOUT_PIXELS if scheme is Scheme.ATOMSTREAM else None


def _start(info: FileInfo, settings: ReplaySettings) -> SeriesStart:
    frames = _frames(info, settings)
    rate_hz = settings.rate_hz or 0.0
    about = {"file": info.path.name, "format": info.format, "first_frame": frames[0], "loops": settings.loops}
    return SeriesStart(
        key=SeriesKey(1, "replay"),
        n_frames_planned=len(frames) * settings.loops,
        shape=info.shape,
        dtype=stream_dtype(info.dtype, settings.scaling, info.largest_is_no_data),
        pixel_size_A=settings.pixel_size_A or info.pixel_size_A,
        frame_time_s=info.frame_time_s or (1 / rate_hz if rate_hz else None),
        saturation_value=info.saturation_value,
        extra={**info.extra, "replay": about},
    )


def _frame(frame_id: int, payload: Payload, start: SeriesStart, t_detector: float) -> Frame:
    """Return a frame, exposed as long after the first as it was in the movie, however fast that is sent."""
    dtype = start.dtype or np.dtype("<u2")
    header = FrameHeader(start.key, frame_id, start.shape, dtype, payload.compression, t_detector)
    return Frame(header, memoryview(payload.data))


def _send(
    socket: zmq.Socket[bytes], encoder: Encoder, message: StreamMessage, stop: Callable[[], bool]
) -> bool:
    """Hand a message to ZeroMQ, waiting for a receiver and for room; False if `stop` came first."""
    parts: Any = encoder.encode(message)
    while True:
        try:
            socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
            return True
        except zmq.Again:
            if stop():
                return False
            socket.poll(_CHECK_MS, zmq.POLLOUT)
