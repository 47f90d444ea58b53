"""The tee over real sockets: what comes out is what went in, whoever comes late, is slow or goes away."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from streamer.config import IngestConfig, RunConfig, SecurityConfig, SourceConfig, TeeConfig
from streamer.curve import client_keys, encrypt_client
from streamer.errors import RunError, UsageError
from streamer.keys import make_key_files
from streamer.message_kind import Kind, kind_reader
from streamer.records import Compression, SeriesEnd, SeriesKey, StreamMessage
from streamer.sources import ZMQ_SCHEMES, Scheme, make_encoder
from streamer.tee import Tee, TeeCounts
from tests.streamer.ingest_run import KEY, T0, frame_of, series_of, start_of

PATIENCE_S = 20.0
LARGE = (512, 512)  # a frame of half a megabyte, uncompressed: queues of TCP hold few

Message = list[bytes]


def encoded(scheme: Scheme, messages: Sequence[StreamMessage]) -> list[Message]:
    encoder = make_encoder(scheme, T0)
    return [[bytes(part) for part in encoder.encode(message)] for message in messages]


def large_series(n_frames: int) -> list[Message]:
    frames = [frame_of(i, compression=Compression.NONE, shape=LARGE) for i in range(n_frames)]
    return encoded(Scheme.ATOMSTREAM, [start_of(n_frames, shape=LARGE), *frames, SeriesEnd(KEY)])


class RunningTee:
    """A tee in a thread between a detector, which is this, and the clients that a test makes."""

    def __init__(self, stack: ExitStack, scheme: Scheme, security: SecurityConfig, tee: TeeConfig) -> None:
        self._context = stack.enter_context(zmq.Context())
        self._stack = stack
        self.detector = stack.enter_context(self._context.socket(zmq.PUSH))
        self.detector.set(zmq.SNDHWM, 4)
        self.detector.set(zmq.LINGER, 0)
        self.detector.set(zmq.SNDTIMEO, int(1000 * PATIENCE_S))
        port = self.detector.bind_to_random_port("tcp://127.0.0.1")
        config = RunConfig(
            source=SourceConfig(address=f"{scheme}://127.0.0.1:{port}"),
            ingest=IngestConfig(receive_queue_frames=4),
            security=security,
            tee=tee,
        )
        self.tee = Tee(config)
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def client(self, address: str, queue: int = 1000, keys: Any = None) -> Any:
        """Connect a client; it is let go of at the test's end."""
        socket = self._stack.enter_context(self._context.socket(zmq.PULL))
        socket.set(zmq.RCVHWM, queue)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, int(1000 * PATIENCE_S))
        encrypt_client(socket, keys)
        socket.connect(address)
        return socket

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.detector.send_multipart(message)

    def wait_until(self, condition: Callable[[TeeCounts], bool]) -> TeeCounts:
        deadline = time.monotonic() + PATIENCE_S
        while not condition(counts := self.tee.counts()):
            if self._errors:
                raise self._errors[0]
            assert time.monotonic() < deadline, f"waited in vain: {counts}"
            time.sleep(0.01)
        return counts

    def finish(self) -> TeeCounts:
        """Stop, if the tee has not ended by itself, and return what it did."""
        self._stop.set()
        return self.end()

    def end(self) -> TeeCounts:
        """Wait for the tee's own end."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self._errors:
            raise self._errors[0]
        return self.tee.counts()

    def _run(self) -> None:
        try:
            with self.tee:
                self.tee.run(self._stop.is_set)
        except BaseException as error:
            self._errors.append(error)


@contextmanager
def running(
    lossless: int = 0,
    best_effort: int = 0,
    scheme: Scheme = Scheme.ATOMSTREAM,
    security: SecurityConfig | None = None,
    **more: Any,
) -> Iterator[RunningTee]:
    address = "tcp://127.0.0.1:*"
    tee = TeeConfig(lossless=(address,) * lossless, best_effort=(address,) * best_effort, **more)
    with ExitStack() as stack:
        run = RunningTee(stack, scheme, security or SecurityConfig(), tee)
        try:
            yield run
        finally:
            run._stop.set()
            run._thread.join(PATIENCE_S)


def take(client: Any, count: int) -> list[Message]:
    return [client.recv_multipart() for _ in range(count)]


@pytest.mark.parametrize("scheme", ZMQ_SCHEMES)
def test_every_client_gets_the_same_parts(scheme: Scheme) -> None:
    messages = encoded(scheme, series_of(range(20), 20))
    with running(2, 1, scheme, series=1) as run:
        clients = [run.client(address) for address in run.tee.addresses]
        run.wait_until(lambda counts: all(output.clients for output in counts.outputs))
        run.send(*messages)
        received = [take(client, len(messages)) for client in clients]
        counts = run.end()
    assert received == [messages] * 3
    assert (counts.frames, counts.starts, counts.ends, counts.unknown) == (20, 1, 1, 0)
    assert (counts.series, counts.stopped, counts.undelivered) == (1, False, False)
    assert counts.n_bytes == sum(len(part) for message in messages for part in message)
    for output in counts.outputs:
        assert (output.frames, output.starts, output.ends) == (20, 1, 1)
        assert (output.dropped, output.absent, output.withheld, output.breaks) == (0, 0, 0, 0)


def test_a_lossless_client_that_comes_late_has_missed_nothing() -> None:
    messages = encoded(Scheme.ATOMSTREAM, series_of(range(20), 20))
    with running(2, series=1) as run:
        first = run.client(run.tee.addresses[0])
        run.send(*messages)
        assert take(first, 1) == messages[:1]
        assert not first.poll(200)  # the other one holds the second message back
        late = run.client(run.tee.addresses[1])
        assert take(late, len(messages)) == messages
        assert take(first, len(messages) - 1) == messages[1:]


def test_a_lossless_client_without_room_holds_the_detector_back() -> None:
    messages = large_series(200)
    with running(1, series=1, queue_frames=2) as run:
        client = run.client(run.tee.addresses[0], queue=1)
        sender = threading.Thread(target=run.send, args=messages)
        sender.start()
        before = run.wait_until(lambda counts: counts.frames > 4)
        sender.join(1.0)
        assert sender.is_alive(), "the detector was not held back"
        assert run.tee.counts().frames - before.frames < 150
        assert take(client, len(messages)) == messages
        sender.join(PATIENCE_S)
        counts = run.end()
    assert (counts.outputs[0].frames, counts.undelivered) == (200, False)


def test_a_best_effort_client_without_room_loses_images_and_nobody_else_does() -> None:
    messages = large_series(200)
    with running(1, 1, series=1, queue_frames=2) as run:
        good, slow = run.client(run.tee.addresses[0]), run.client(run.tee.addresses[1], queue=1)
        run.wait_until(lambda counts: all(output.clients for output in counts.outputs))
        sender = threading.Thread(target=run.send, args=messages)
        sender.start()
        assert take(good, len(messages)) == messages
        sender.join(PATIENCE_S)
        got = [slow.recv_multipart()]
        while got[-1] != messages[-1]:
            got.append(slow.recv_multipart())
        counts = run.end()
    best_effort = counts.outputs[1]
    assert got[0] == messages[0]  # the start, and the end came too
    assert 0 < best_effort.dropped < 200
    assert best_effort.frames == len(got) - 2
    assert best_effort.frames + best_effort.dropped == 200
    assert (best_effort.starts, best_effort.ends, best_effort.withheld) == (1, 1, 0)
    assert [message for message in messages if message in got] == got  # in their order
    assert (counts.outputs[0].frames, counts.outputs[0].dropped) == (200, 0)


@pytest.mark.parametrize("scheme", ZMQ_SCHEMES)
def test_a_best_effort_client_that_comes_late_gets_the_start_first(scheme: Scheme) -> None:
    messages = encoded(scheme, series_of(range(20), 20))
    with running(1, 1, scheme, series=1) as run:
        good = run.client(run.tee.addresses[0])
        run.send(*messages[:11])
        assert take(good, 11) == messages[:11]
        run.wait_until(lambda counts: counts.outputs[1].absent == 10)
        late = run.client(run.tee.addresses[1])
        assert take(late, 1) == messages[:1]
        run.send(*messages[11:])
        assert take(late, 11) == messages[11:]
        counts = run.end()
    output = counts.outputs[1]
    assert (output.absent, output.frames, output.starts, output.ends) == (10, 10, 1, 1)


def test_a_start_that_comes_as_several_messages_is_repeated_whole() -> None:
    """As LiberTEM's simulator sends it."""
    (header, config), *images, end = encoded(Scheme.DECTRIS1, series_of(range(4), 4))
    with running(1, 1, Scheme.DECTRIS1, series=1) as run:
        good = run.client(run.tee.addresses[0])
        run.send([header], [config], *images[:2])
        take(good, 4)
        run.wait_until(lambda counts: counts.outputs[1].absent == 2)
        late = run.client(run.tee.addresses[1])
        assert take(late, 2) == [[header], [config]]
        run.send(*images[2:], end)
        assert take(late, 3) == [*images[2:], end]


def test_a_client_that_comes_between_two_series_gets_no_old_start() -> None:
    first = encoded(Scheme.ATOMSTREAM, series_of(range(3), 3))
    second = encoded(Scheme.ATOMSTREAM, series_of(range(3), 3, SeriesKey(8, "next")))
    with running(1, 1, series=2) as run:
        good = run.client(run.tee.addresses[0])
        run.send(*first)
        take(good, len(first))
        run.wait_until(lambda counts: counts.series == 1)
        late = run.client(run.tee.addresses[1])
        run.wait_until(lambda counts: counts.outputs[1].clients == 1)
        run.send(*second)
        assert take(late, len(second)) == second
        assert run.end().series == 2


def test_a_lossless_client_that_leaves_in_mid_series_is_noted_and_may_come_back() -> None:
    messages = encoded(Scheme.ATOMSTREAM, series_of(range(20), 20))
    with running(1, series=1) as run:
        client = run.client(run.tee.addresses[0])
        run.send(*messages[:5])
        take(client, 5)
        client.close()
        run.wait_until(lambda counts: counts.outputs[0].clients == 0)
        run.send(*messages[5:])
        again = run.client(run.tee.addresses[0])
        assert take(again, 1) == messages[:1]  # without it the rest would be of an unknown series
        assert take(again, 17) == messages[5:]
        counts = run.end()
    assert [output.breaks for output in counts.breaks] == [1]


def test_a_client_that_leaves_after_the_end_is_no_loss() -> None:
    messages = encoded(Scheme.ATOMSTREAM, series_of(range(3), 3))
    with running(1) as run:
        client = run.client(run.tee.addresses[0])
        run.send(*messages)
        take(client, len(messages))
        client.close()
        run.wait_until(lambda counts: counts.outputs[0].clients == 0)
        counts = run.finish()
    assert not counts.breaks
    assert counts.stopped


def test_what_is_not_understood_is_passed_on_like_an_image() -> None:
    start, *_, end = encoded(Scheme.DECTRIS2, series_of([], 0))
    with running(1, 1, Scheme.DECTRIS2, series=1) as run:
        good, other = (run.client(address) for address in run.tee.addresses)
        run.wait_until(lambda counts: all(output.clients for output in counts.outputs))
        run.send(start, [b"\xff\x00 nonsense"], [b""], end)
        assert take(good, 4) == take(other, 4) == [start, [b"\xff\x00 nonsense"], [b""], end]
        assert run.end().unknown == 2


def test_a_stop_does_not_wait_for_a_client_that_never_comes() -> None:
    with running(1) as run:
        run.send(*encoded(Scheme.ATOMSTREAM, series_of(range(3), 3)))
        run.wait_until(lambda counts: counts.starts == 1)
        assert run.finish().outputs[0].frames == 0


def test_outputs_can_be_encrypted(tmp_path: Path) -> None:
    for name in ("tee", "friend", "stranger"):
        make_key_files(tmp_path / name)
    security = SecurityConfig(key=str(tmp_path / "tee.key_secret"), clients=(str(tmp_path / "friend.key"),))
    messages = encoded(Scheme.ATOMSTREAM, series_of(range(3), 3))
    with running(1, security=security, series=1) as run:
        keys = [
            client_keys(str(tmp_path / f"{name}.key_secret"), str(tmp_path / "tee.key"))
            for name in ("stranger", "friend")
        ]
        stranger, friend = (run.client(run.tee.addresses[0], keys=key) for key in keys)
        run.send(*messages)
        assert take(friend, len(messages)) == messages
        assert not stranger.poll(0)


def test_addresses_that_cannot_be_had_are_named() -> None:
    source = SourceConfig(address="atomstream://127.0.0.1:9")
    with pytest.raises(UsageError, match="--insecure"):
        Tee(RunConfig(source=source, tee=TeeConfig(best_effort=("tcp://*:5555",))))
    with running(1) as run, pytest.raises(RunError, match="in use"):
        Tee(RunConfig(source=source, tee=TeeConfig(lossless=tuple(run.tee.addresses))))


@pytest.mark.parametrize("scheme", ZMQ_SCHEMES)
def test_the_kinds_of_messages(scheme: Scheme) -> None:
    kind_of = kind_reader(scheme)
    kinds = [
        kind_of([memoryview(part) for part in message]) for message in encoded(scheme, series_of([0], 1))
    ]
    assert kinds == [Kind.START, Kind.IMAGE, Kind.END]
    for damaged in ([], [b""], [b"\xc1"], [b"\x81\xa4type\x93"], [b"\xa1\x64type"]):
        kind = kind_of([memoryview(part) for part in damaged])
        assert kind in (Kind.UNKNOWN, *([Kind.MORE] if scheme is Scheme.DECTRIS1 else []))


def test_a_message_of_several_is_what_matters_most() -> None:
    start, image, end = encoded(Scheme.DECTRIS2, series_of([0], 1))
    kind_of = kind_reader(Scheme.DECTRIS2)
    assert kind_of([memoryview(part) for part in (*start, *image)]) is Kind.START
    assert kind_of([memoryview(part) for part in (*image, *end)]) is Kind.END
    start, image, end = encoded(Scheme.DECTRIS1, series_of([0], 1))
    kind_of = kind_reader(Scheme.DECTRIS1)
    assert kind_of([memoryview(part) for part in (*start, *image)]) is Kind.START
