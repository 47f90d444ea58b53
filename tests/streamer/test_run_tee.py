"""A run's own tee over real sockets: further clients get what is recorded, and what they do is counted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from streamer.check import check_file
from streamer.config import AnalysisConfig, RunConfig, SourceConfig, TeeConfig
from streamer.errors import UsageError
from streamer.run_tee import open_tee
from streamer.sources import ZMQ_SCHEMES, Scheme, make_encoder
from tests.streamer.ingest_run import T0, IngestRun, result_of, running, series_of, wait_for_rows
from tests.waiting import wait_until

PATIENCE_S = 20.0
ANY = "tcp://127.0.0.1:*"
LOSSLESS, BEST_EFFORT = TeeConfig(lossless=(ANY,)), TeeConfig(best_effort=(ANY,))


@contextmanager
def client(run: IngestRun, which: int = 0) -> Iterator[Any]:
    """Connect to one of the run's outputs, as it has told the user."""
    wait_until(lambda: len(run.told) > which)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, int(1000 * PATIENCE_S))
        socket.connect("tcp://" + run.told[which].rpartition("//")[2])
        yield socket


def as_bytes(scheme: Scheme, messages: list[Any]) -> list[list[bytes]]:
    encoder = make_encoder(scheme, T0)
    return [[bytes(part) for part in encoder.encode(message)] for message in messages]


def take(socket: Any, count: int) -> list[list[bytes]]:
    return [socket.recv_multipart() for _ in range(count)]


@pytest.mark.parametrize("scheme", ZMQ_SCHEMES)
def test_clients_get_the_messages_that_are_recorded(scheme: Scheme, tmp_path: Path) -> None:
    path, messages = tmp_path / "run.nxs", series_of(range(20), 20)
    tee = TeeConfig(lossless=(ANY, ANY))
    with running(path, scheme=scheme, tee=tee) as (detector, run, _):
        with client(run, 0) as one, client(run, 1) as other:
            detector.send(*messages)
            assert take(one, 22) == take(other, 22) == as_bytes(scheme, messages)
            summary = run.finish()
    assert (summary["recorded"], summary["lost"], summary["tee_undelivered"]) == (20, 0, False)
    for output in summary["tee"]:
        assert (output["policy"], output["frames"], output["starts"], output["ends"]) == (
            "lossless",
            20,
            1,
            1,
        )
        assert (output["dropped"], output["absent"], output["breaks"]) == (0, 0, 0)
    assert check_file(path).ok


def test_a_client_besides_an_analyser_costs_neither_anything(tmp_path: Path) -> None:
    analysis = AnalysisConfig(queue_frames=2)
    with running(tmp_path / "run.nxs", analysis, tee=LOSSLESS) as (detector, run, analyser):
        with client(run) as other:
            end = analyser()
            detector.send(*series_of(range(30), 30))
            for _ in range(30):
                end.answer(result_of(end.next_task()))
            assert len(take(other, 32)) == 32
            summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (30, 0)


def test_a_lossless_client_is_waited_for_and_the_source_is_not_called_silent(tmp_path: Path) -> None:
    path, messages = tmp_path / "run.nxs", series_of(range(20), 20)
    with running(path, tee=LOSSLESS, idle_timeout_s=0.3) as (detector, run, _):
        detector.send(*messages)
        time.sleep(1.0)  # longer than the silence, and than the wait for an end, that would end the run
        with client(run) as late:
            assert take(late, 22) == as_bytes(Scheme.DECTRIS2, messages)
            summary = run.finish()
    assert (summary["recorded"], summary["lost"], summary["ended_by"]) == (20, 0, "end message")
    assert summary["tee"][0]["frames"] == 20


def test_a_best_effort_client_that_is_not_there_holds_nothing_back(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, tee=BEST_EFFORT) as (detector, run, _):
        detector.send(*series_of(range(20), 20))
        summary = run.finish()
    assert (summary["recorded"], summary["lost"], summary["tee_undelivered"]) == (20, 0, False)
    assert (summary["tee"][0]["frames"], summary["tee"][0]["absent"]) == (0, 20)


def test_a_best_effort_client_that_comes_late_gets_the_start_first(tmp_path: Path) -> None:
    path, messages = tmp_path / "run.nxs", series_of(range(20), 20)
    with running(path, tee=BEST_EFFORT) as (detector, run, _):
        detector.send(*messages[:11])
        wait_for_rows(path, "entry/ledger/frame_id", 10)
        with client(run) as late:
            assert take(late, 1) == as_bytes(Scheme.DECTRIS2, messages[:1])
            detector.send(*messages[11:])
            assert take(late, 11) == as_bytes(Scheme.DECTRIS2, messages)[11:]
            summary = run.finish()
    output = summary["tee"][0]
    assert (output["absent"], output["frames"], output["starts"], output["ends"]) == (10, 10, 1, 1)


def test_a_lossless_client_that_leaves_is_counted_and_the_next_one_goes_on(tmp_path: Path) -> None:
    path, messages = tmp_path / "run.nxs", series_of(range(20), 20)
    with running(path, tee=LOSSLESS) as (detector, run, _):
        with client(run) as first:
            detector.send(*messages[:6])
            take(first, 6)
        time.sleep(0.3)  # until its end is known
        detector.send(*messages[6:])
        with client(run) as second:
            got = take(second, 17)
            summary = run.finish()
    assert got == as_bytes(Scheme.DECTRIS2, [messages[0], *messages[6:]])
    assert (summary["recorded"], summary["lost"]) == (20, 0)
    assert summary["tee"][0]["breaks"] == 1


def test_a_stop_waits_for_no_client(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, tee=LOSSLESS) as (detector, run, _):
        detector.send(*series_of(range(20), 20))
        wait_until(lambda: bool(run.told))
        time.sleep(0.3)  # until the start is in hand
        began = time.monotonic()
        summary = run.stop()
    assert time.monotonic() - began < 10
    assert (summary["ended_by"], summary["tee_undelivered"]) == ("stopped on request", False)
    assert summary["tee"][0]["frames"] == 0


def test_no_thread_and_no_socket_is_there_without_clients() -> None:
    before = threading.active_count()
    with open_tee(RunConfig(source=SourceConfig(address="dectris2://127.0.0.1:9"))) as tee:
        assert tee is None
        assert threading.active_count() == before


def test_a_source_without_zeromq_cannot_be_passed_on() -> None:
    config = RunConfig(source=SourceConfig(address="merlin://127.0.0.1:9"), tee=LOSSLESS)
    with pytest.raises(UsageError, match="merlin:// is not a ZeroMQ stream"), open_tee(config):
        pass
