"""The sender on real sockets: every message, in order, at its time, whole; and it always comes to an end."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from simulator.faults import parse_faults
from simulator.sender import EncodedFrame, SenderSettings, SentCounts, encode_frame, run_sender, send_stream
from streamer.compression import decode
from streamer.config import IngestConfig
from streamer.errors import MessageError, RunError, UsageError, WorkerError
from streamer.records import Compression, Frame, SeriesEnd, SeriesKey, SeriesStart, StreamMessage
from streamer.sources import Scheme, Source, make_parser, open_receiver
from streamer.worker import Worker
from tests.streamer.frames import make_image

SCHEMES = [Scheme.DECTRIS2, Scheme.ATOMSTREAM]


def make_images(n: int, shape: tuple[int, int] = (40, 30), dtype: str = "<u2") -> Iterator[NDArray[Any]]:
    return (make_image(shape, dtype, seed) for seed in range(n))


def make_pool(n: int, size: int = 3) -> list[EncodedFrame]:
    pool = [encode_frame(image, Compression.BSLZ4) for image in make_images(size)]
    return [pool[i % size] for i in range(n)]


def fail() -> Iterable[NDArray[Any]]:
    yield make_image()
    raise RuntimeError("the microscope fell over")


@contextmanager
def sending(
    frames: Iterable[Any], settings: SenderSettings, stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Source, Future[SentCounts]]]:
    """Send in a thread of this process; the source is known once the sender is bound."""
    bound: Future[str] = Future()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send_stream, frames, settings, stop, bound.set_result)
        yield at(settings.scheme, bound.result(10)), sent


def at(scheme: Scheme, endpoint: str) -> Source:
    return Source(scheme, "127.0.0.1", int(endpoint.rpartition(":")[2]))


def receive(source: Source, count: int = 10**6, timeout_ms: int = 1000) -> list[StreamMessage | MessageError]:
    """Receive until an end, `count` messages or silence."""
    parser = make_parser(source)
    received: list[StreamMessage | MessageError] = []
    with zmq.Context() as context, open_receiver(context, source, IngestConfig(), timeout_ms) as receiver:
        while len(received) < count and not (received and isinstance(received[-1], SeriesEnd)):
            try:
                parts = [memoryview(part) for part in receiver.recv_multipart(copy=False)]
                message = parser.parse(parts)
            except zmq.Again:
                return received
            except MessageError as error:
                message = error
            assert message is not None
            received.append(message)
    return received


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_series_arrives_whole_and_in_order(scheme: Scheme, compression: Compression) -> None:
    settings = SenderSettings(
        scheme, compression=compression, n_planned=20, key=SeriesKey(9, "run"), pixel_size_A=0.12,
        frame_time_s=0.01, extra={"detector_description": "simulated"},
    )  # fmt: skip
    before = time.time()
    with sending(make_images(20), settings) as (source, sent):
        start, *frames, end = receive(source, timeout_ms=10_000)
    assert isinstance(start, SeriesStart)
    assert (start.key, start.shape, start.dtype) == (SeriesKey(9, "run"), (40, 30), np.dtype("<u2"))
    assert (start.n_frames_planned, start.pixel_size_A, start.frame_time_s) == (20, 0.12, 0.01)
    assert (start.saturation_value, start.extra["detector_description"]) == (65534, "simulated")
    assert end == SeriesEnd(SeriesKey(9, "run"))
    for n, (frame, image) in enumerate(zip(frames, make_images(20), strict=True)):
        assert isinstance(frame, Frame)
        assert (frame.header.frame_id, frame.header.compression) == (n, compression)
        assert before - 1 < frame.header.t_detector < time.time() + 1
        assert np.array_equal(decode(frame), image)
    counts = sent.result()
    assert (counts.frames, counts.messages, counts.injected) == (20, 22, ())


def test_frames_made_beforehand_are_sent_as_they_are() -> None:
    pool = make_pool(10)
    with sending(pool, SenderSettings()) as (source, _):
        frames = [message for message in receive(source, timeout_ms=10_000) if isinstance(message, Frame)]
    assert [bytes(frame.payload) for frame in frames] == [frame.payload for frame in pool]


def test_no_frame_leaves_before_it_is_due_and_late_ones_are_counted() -> None:

    def slow() -> Iterator[EncodedFrame]:
        for n, frame in enumerate(make_pool(20)):
            time.sleep(0.2 if n == 5 else 0)
            yield frame

    with sending(slow(), SenderSettings(rate_hz=50)) as (source, sent):
        frames = [m for m in receive(source, timeout_ms=10_000) if isinstance(m, Frame)]
    times = [frame.header.t_detector - frames[0].header.t_detector for frame in frames]
    for n, t in enumerate(times):
        assert t >= n / 50 - 0.002
    assert times[5] >= 0.2
    counts = sent.result()
    assert counts.late >= 3
    assert counts.elapsed_s >= 19 / 50 - 0.002


def test_a_sender_waits_for_its_receiver_and_loses_nothing() -> None:
    settings = SenderSettings(queue_frames=2)
    with sending(make_pool(500), settings) as (source, sent):
        time.sleep(0.3)
        assert not sent.done()
        received = receive(source, timeout_ms=10_000)
    ids = [message.header.frame_id for message in received if isinstance(message, Frame)]
    assert ids == list(range(500))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_faults_are_injected_and_told(scheme: Scheme) -> None:
    plan = parse_faults("drop@2,duplicate@4,truncate@6,no-end")
    with sending(make_images(8), SenderSettings(scheme, faults=plan)) as (source, sent):
        received = receive(source, timeout_ms=1500)
    ids = [m.header.frame_id if isinstance(m, Frame) else type(m).__name__ for m in received]
    assert ids == ["SeriesStart", 0, 1, 3, 4, 4, 5, "TruncatedMessageError", 7]
    counts = sent.result()
    assert [(fault.kind, fault.frame_id) for fault in counts.injected] == [
        ("drop", 2), ("duplicate", 4), ("truncate", 6), ("no-end", None),
    ]  # fmt: skip
    assert (counts.frames, counts.messages) == (7, 9)


def test_a_stopped_sender_ends_the_series() -> None:
    stop = threading.Event()
    with sending(make_pool(10_000), SenderSettings(rate_hz=20), stop.is_set) as (source, sent):
        received = receive(source, count=5, timeout_ms=10_000)
        stop.set()
        counts = sent.result(10)
    assert [type(message) for message in received] == [SeriesStart, Frame, Frame, Frame, Frame]
    assert 4 <= counts.frames < 100


def test_a_sender_without_a_receiver_can_be_stopped() -> None:
    stop = threading.Event()
    with sending(make_pool(10), SenderSettings(), stop.is_set) as (_, sent):
        time.sleep(0.1)
        assert not sent.done()
        stop.set()
        assert sent.result(10).messages == 0


def test_a_taken_address_is_named() -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(RunError, match=f"cannot bind tcp://127.0.0.1:{port}: Address already in use"):
            send_stream(make_pool(1), SenderSettings(bind=f"tcp://127.0.0.1:{port}"))


def test_nothing_to_send_is_an_error() -> None:
    with pytest.raises(UsageError, match="no frames to send"):
        send_stream([], SenderSettings())


def test_a_sender_in_its_own_process() -> None:
    settings = SenderSettings(n_planned=30, faults=parse_faults("drop@3"))
    worker = Worker("sender", run_sender, partial(make_images, 30), settings)
    source = at(settings.scheme, worker.wait_ready(30)["endpoint"])
    received = receive(source, timeout_ms=10_000)
    worker.join(20)
    worker.raise_error()
    assert len(received) == 31
    assert (worker.summary["frames"], worker.summary["messages"]) == (29, 31)
    assert worker.summary["injected"] == ({"kind": "drop", "frame_id": 3},)
    worker.close()


def test_an_error_in_the_frames_reaches_the_parent() -> None:
    worker = Worker("sender", run_sender, fail, SenderSettings(linger_s=0.1))
    receive(at(Scheme.DECTRIS2, worker.wait_ready(30)["endpoint"]), count=2, timeout_ms=5000)
    worker.join(20)
    with pytest.raises(WorkerError, match="sender: RuntimeError: the microscope fell over"):
        worker.raise_error()
    worker.close()
