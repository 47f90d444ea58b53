"""A detector, an analyser and ingest between them, over real sockets, for the tests of recording."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import zmq
from zmq.utils import garbage

from streamer import joining
from streamer.clock import RunClock
from streamer.compression import encode
from streamer.config import (
    AnalysisConfig,
    ChannelConfig,
    IngestConfig,
    RecordConfig,
    RunConfig,
    SourceConfig,
    TeeConfig,
    TriggerConfig,
)
from streamer.control import Remote
from streamer.ingest import run_ingest
from streamer.joining import FromIngest, Join, decode_from_ingest
from streamer.link import Task, decode_task, encode_analyser, encode_failure, encode_lost, encode_result
from streamer.records import (
    CHANGE_DTYPE,
    COLUMN_DTYPE,
    PARTICLE_DTYPE,
    AnalyserInfo,
    AnalyserLost,
    Compression,
    Frame,
    FrameFailure,
    FrameHeader,
    FrameResult,
    SeriesEnd,
    SeriesKey,
    SeriesStart,
    StreamMessage,
)
from streamer.sources import Encoder, Scheme, make_encoder
from streamer.worker import Control

KEY = SeriesKey(7, "01HRCJF83S")
SHAPE = (48, 64)
DTYPE = np.dtype("<u2")
T0 = 1_700_000_000.0
TIMEOUT_S = 20.0

RECORD_ONLY = AnalysisConfig(enabled=False)


def image_of(
    frame_id: int, shape: tuple[int, int] = SHAPE, dtype: np.dtype[Any] = DTYPE
) -> np.ndarray[Any, Any]:
    """Make the frame that every test expects under an id."""
    return np.random.default_rng(frame_id).poisson(0.5, shape).astype(dtype)


def start_of(n_planned: int, key: SeriesKey = KEY, shape: tuple[int, int] = SHAPE) -> SeriesStart:
    return SeriesStart(
        key, n_planned, shape, DTYPE, pixel_size_A=0.25, frame_time_s=0.01, saturation_value=60_000
    )


def frame_of(
    frame_id: int,
    key: SeriesKey = KEY,
    compression: Compression = Compression.BSLZ4,
    shape: tuple[int, int] = SHAPE,
    dtype: np.dtype[Any] = DTYPE,
) -> Frame:
    header = FrameHeader(key, frame_id, shape, dtype, compression, T0 + 0.01 * frame_id)
    return Frame(header, memoryview(encode(image_of(frame_id, shape, dtype), compression)))


def series_of(frame_ids: Sequence[int], n_planned: int, key: SeriesKey = KEY) -> list[StreamMessage]:
    return [start_of(n_planned, key), *(frame_of(i, key) for i in frame_ids), SeriesEnd(key)]


class Detector:
    """The sending end: a bound PUSH socket and a wire format."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", scheme: Scheme = Scheme.DECTRIS2) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDTIMEO, int(1000 * TIMEOUT_S))
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"{scheme}://127.0.0.1:{port}"
        self._encoder = make_encoder(scheme, T0)

    def send(self, *messages: StreamMessage) -> None:
        for message in messages:
            self._socket.send_multipart([bytes(part) for part in self._encoder.encode(message)])

    def send_as_one(self, *messages: StreamMessage) -> None:
        """Send them as the parts of a single ZeroMQ message."""
        self._socket.send_multipart([bytes(self._encoder.encode(message)[0]) for message in messages])

    @staticmethod
    def v2_encoder() -> Encoder:
        return make_encoder(Scheme.DECTRIS2, T0)

    def send_bytes(self, *messages: bytes) -> None:
        for message in messages:
            self._socket.send(message)

    def close(self) -> None:
        self._socket.close()


class Analyser:
    """The analysing end: takes tasks and answers them as the test wishes."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        address: str,
        name: str = "analyser-1",
        room: int = 2,
        info: AnalyserInfo | None = None,
        join: Any = None,
    ) -> None:
        self.name = name
        self._socket = context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 1000)
        self._socket.connect(address)
        if info is not None:
            self.introduce(info)
        self._socket.send(joining.encode(join or Join(name, room)))
        self._tasks: list[Task] = []
        self.heard: list[FromIngest] = []

    def next_task(self) -> Task:
        assert self.has_task(int(1000 * TIMEOUT_S)), f"{self.name} got no task"
        return self._tasks.pop(0)

    def has_task(self, wait_ms: int) -> bool:
        """Whether a task is there, or comes within this time."""
        deadline = time.monotonic() + wait_ms / 1000
        while not self._tasks and self._read(max(0, round(1000 * (deadline - time.monotonic())))):
            pass
        return bool(self._tasks)

    def _read(self, wait_ms: int) -> bool:
        """Take one message in; False if none has come in time."""
        if not self._socket.poll(wait_ms):
            return False
        parts = [part.buffer for part in self._socket.recv_multipart(copy=False)]
        if len(parts) > 1:
            self._take_parts(parts)
        else:
            self.heard.append(decode_from_ingest(parts[0]))
        return True

    def _take_parts(self, parts: list[memoryview]) -> None:
        self._tasks.append(decode_task(parts))

    def introduce(self, info: AnalyserInfo) -> None:
        self._socket.send_multipart(encode_analyser(info))

    def hears(self, kind: type[Any]) -> Any:
        """Wait until ingest says something of a kind, other than tasks, and return it."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := [message for message in self.heard if isinstance(message, kind)]):
            assert time.monotonic() < deadline, f"only {self.heard} was heard"
            self._read(20)
        return found[-1]

    def say(self, message: Any) -> None:
        self._socket.send(joining.encode(message))

    def report_loss(self, reason: str, of: str = "") -> None:
        """Say, in the place of the supervisor, that an analyser has died, or that none is left."""
        self._socket.send_multipart(encode_lost(AnalyserLost(reason, of)))

    def answer(self, result: FrameResult | FrameFailure) -> None:
        parts = encode_result(result) if isinstance(result, FrameResult) else encode_failure(result)
        self._socket.send_multipart(parts)

    def send(self, parts: list[Any]) -> None:
        """Send anything."""
        self._socket.send_multipart(parts)

    def close(self) -> None:
        self._socket.close()


def particles_of(frame_id: int) -> np.ndarray[Any, Any]:
    """Make up to two particles whose every value tells which frame they belong to."""
    particles = np.zeros(frame_id % 3, PARTICLE_DTYPE)
    particles["y"], particles["x"] = frame_id + 0.25, np.arange(len(particles))
    particles["centre"], particles["size"], particles["area"] = frame_id / 40, 3 + frame_id, 7 + frame_id
    particles["axes"], particles["touches_border"] = (4 + frame_id, 2 + frame_id), frame_id % 2
    particles["shape"] = frame_id % 4 - 1
    particles["shape_probabilities"] = np.nan
    particles["shape_probabilities"][:, :3] = (0.5, 0.3, 0.2)
    particles["outline"] = frame_id
    return particles


def result_of(task: Task, **changes: Any) -> FrameResult:
    """Make a result whose every value tells which frame it belongs to."""
    header = task.frame.header
    n_columns = header.frame_id % 4
    columns = np.zeros(n_columns, COLUMN_DTYPE)
    columns["y"], columns["x"] = header.frame_id + 0.5, np.arange(n_columns)
    columns["count"], columns["track_id"] = header.frame_id % 7 + 1, 100 * header.frame_id
    noticed = np.zeros(header.frame_id % 3, CHANGE_DTYPE)
    noticed["track_id"], noticed["before"] = header.frame_id, -1
    noticed["after"] = np.arange(len(noticed)) + 1
    t = task.t_received
    return replace(
        FrameResult(
            header.frame_id, header.key, columns, 10.0 * header.frame_id, 1.5, t, t + 0.25, t + 0.5,
            (float(header.frame_id), -1.0), 0.125, fused_atoms=10.5 * header.frame_id, changes=noticed,
            particles=particles_of(header.frame_id),
        ),
        **changes,
    )  # fmt: skip


class IngestRun:
    """Ingest in a thread, and what it has said."""

    def __init__(self, config: RunConfig, remote: Remote | None = None) -> None:
        self._remote = remote or Remote()
        self.summary: dict[str, Any] = {}
        self.told: list[str] = []
        self.informed: dict[str, Any] = {}
        self.error: BaseException | None = None
        self._ready = threading.Event()
        self._addresses: dict[str, str] = {}
        self._stop = threading.Event()
        self.control = Control(self._stop, self._report)
        self._thread = threading.Thread(target=self._run, args=(config,))
        self._thread.start()

    def address(self, which: str = "analysers") -> str:
        assert self._ready.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return self._addresses[which]

    def finish(self) -> dict[str, Any]:
        """Wait for the run's own end."""
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive(), "ingest has not ended"
        if self.error is not None:
            raise self.error
        return self.summary

    def stop(self) -> dict[str, Any]:
        self._stop.set()
        return self.finish()

    def _report(self, message: tuple[str, Any]) -> None:
        kind, value = message
        if kind == "told":
            self.told.append(value)
        elif kind == "inform":
            self.informed.update(value)
        elif kind == "ready":
            self._addresses = value
            self._ready.set()
        else:
            self.summary = value

    def _run(self, config: RunConfig) -> None:
        try:
            run_ingest(self.control, config, RunClock.start(), remote=self._remote)
        except BaseException as error:
            self.error = error
            self._ready.set()


@contextmanager
def running(
    path: Path | str,
    analysis: AnalysisConfig = RECORD_ONLY,
    scheme: Scheme = Scheme.DECTRIS2,
    record: RecordConfig | None = None,
    remote: Remote | None = None,
    channel: tuple[ChannelConfig, ...] = (),
    trigger: tuple[TriggerConfig, ...] = (),
    tee: TeeConfig | None = None,
    **limits: Any,
) -> Iterator[tuple[Detector, IngestRun, Callable[..., Analyser]]]:
    """Start a detector and ingest; the third value makes analysers, of this machine if not `remote`."""
    with zmq.Context() as context:
        detector = Detector(context, scheme)
        config = RunConfig(
            source=SourceConfig(address=detector.address),
            ingest=IngestConfig(**{"end_timeout_s": 0.3, "result_timeout_s": 2.0, **limits}),
            record=msgspec.structs.replace(record or RecordConfig(), path=str(path)),
            analysis=analysis,
            channel=channel,
            trigger=trigger,
            tee=tee or TeeConfig(),
        )
        run = IngestRun(config, remote)
        analysers: list[Analyser] = []

        def analyser(remote: bool = False, **options: Any) -> Analyser:
            name = options.pop("name", f"analyser-{len(analysers) + 1}")
            address = run.address("remote" if remote else "analysers")
            kind: type[Analyser] = options.pop("kind", Analyser)
            analysers.append(kind(context, address, name, **options))
            return analysers[-1]

        try:
            run.address()
            yield detector, run, analyser
        finally:
            run.control.request_stop()
            run._thread.join(TIMEOUT_S)
            for end in (detector, *analysers):
                end.close()
            garbage.gc.stop()  # pyzmq's thread, started by the first zero-copy send of a large task


def record(path: Path, *messages: StreamMessage | bytes, **options: Any) -> dict[str, Any]:
    """Record the messages without analysis, until ingest ends by itself."""
    with running(path, **options) as (detector, run, _):
        for message in messages:
            (detector.send_bytes if isinstance(message, bytes) else detector.send)(message)
        return run.finish()


def wait_for_rows(path: Path, table: str, n_rows: int) -> None:
    """Wait, as a concurrent reader of the file, until a table's `frame_id` (or the like) is so long."""
    deadline = time.monotonic() + TIMEOUT_S
    while _rows(path, table) < n_rows:
        assert time.monotonic() < deadline, f"{table} has {_rows(path, table)} rows, expected {n_rows}"
        time.sleep(0.02)


def wait_for_line(path: Path, beginning: str) -> None:
    """Wait, as a concurrent reader of the file, until a line of its log begins so."""
    deadline = time.monotonic() + TIMEOUT_S
    while not any(line.startswith(beginning.encode()) for line in _log_of(path)):
        assert time.monotonic() < deadline, f"no line {beginning!r} in {_log_of(path)}"
        time.sleep(0.02)


def _log_of(path: Path) -> list[bytes]:
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return list(file["entry/process/log/text"][:])
    except (OSError, KeyError):  # not there yet, or still being laid out
        return []


def _rows(path: Path, table: str) -> int:
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return int(file[table].shape[0])
    except (OSError, KeyError):  # not there yet, or still being laid out
        return -1
