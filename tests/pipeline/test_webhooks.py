"""Webhooks whose other end misbehaves, and what a run says of those that it has called."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pipeline.supervisor import supervise
from pipeline.webhooks import Webhooks
from streamer.config import TriggerConfig
from streamer.triggers import Event
from tests.waiting import wait_until

from .test_supervisor import frames, plan_of, processes

PATIENCE_S = 60.0


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Give each client an answer of one's own; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        end = threading.Event()

        def serve() -> None:
            while not end.is_set():
                try:
                    client, _ = listening.accept()
                except TimeoutError:
                    continue
                with client:
                    client.settimeout(PATIENCE_S)
                    client.recv(65536)
                    answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            end.set()
            thread.join()


def event() -> Event:
    return Event("high", "total_atoms", 101.0, "text", 3, time.time(), time.time())


def test_an_answer_that_is_no_http_fails_its_call_and_no_later_one() -> None:
    answers = [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"]
    with server(lambda client: client.sendall(answers.pop(0))) as address:
        with Webhooks({"high": address}, time.time) as webhooks:
            for _ in range(2):
                webhooks.take(event())
        assert (webhooks.called, webhooks.failed) == (1, 1)


def test_an_address_that_is_none_fails_its_call(caplog: pytest.LogCaptureFixture) -> None:
    with Webhooks({"high": "http://127.0.0.1:1/one two"}, time.time) as webhooks:
        webhooks.take(event())
    assert (webhooks.called, webhooks.failed) == (0, 1)
    assert "the webhook of trigger high failed" in caplog.text


def test_an_answer_that_trickles_in_does_not_keep_the_run_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, over, closed = threading.Event(), threading.Event(), []

    def trickle(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        deadline = time.monotonic() + PATIENCE_S
        asked.set()
        while not over.wait(0.05) and time.monotonic() < deadline:
            client.sendall(b"x")

    monkeypatch.setattr("pipeline.webhooks._TIMEOUT_S", 0.5)
    with server(trickle) as address:
        webhooks = Webhooks({"high": address}, time.time)
        for _ in range(3):
            webhooks.take(event())
        assert asked.wait(PATIENCE_S)
        began = time.monotonic()
        webhooks.close()
        closed.append(time.monotonic() - began < PATIENCE_S / 2)
        said = webhooks.done()
        over.set()
    assert closed == [True]
    assert said.startswith("webhooks: 0 answered, 1 failed, 2 not made")
    wait_until(lambda: not any(thread.name == "atomstream-webhooks" for thread in threading.enumerate()))


def test_calls_that_are_due_at_the_end_are_made_before_they_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr("pipeline.webhooks._TIMEOUT_S", PATIENCE_S)

    def answer_late(client: socket.socket) -> None:
        wait_until(lambda: processes() == [])
        time.sleep(0.5)
        client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with server(answer_late) as address:
        plan = plan_of(tmp_path / "run.nxs", frames(20), say=said.append)
        last = TriggerConfig(name="last", when="n_columns", below=1.0, for_frames=20, webhook=address)
        supervise(replace(plan, config=msgspec.structs.replace(plan.config, trigger=(last,))))
    assert [line.partition(";")[0] for line in said if line.startswith("webhooks")] == [
        "webhooks: 1 answered, 0 failed, 0 not made"
    ]
