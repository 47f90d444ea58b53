"""The view hub: publishers and windows come and go, and nothing holds a publisher up."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import zmq

from pipeline.hub import ViewHub
from pipeline.progress import RunProgress
from streamer.config import SecurityConfig
from streamer.errors import RunError
from streamer.window_link import encode_status
from tests.gui.publisher import make_status
from tests.waiting import wait_until

PATIENCE_MS = 5000


Connect = Callable[..., Any]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that opens a connected socket; all are closed at the end."""
    with zmq.Context() as context, ExitStack() as sockets:

        def open_socket(kind: int, address: str, topic: bytes | None = None) -> Any:
            socket = sockets.enter_context(context.socket(kind))
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.RCVTIMEO, PATIENCE_MS)
            if topic is not None:
                socket.subscribe(topic)
            socket.connect(address)
            return socket

        yield open_socket


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def publish_until_seen(publisher: Any, window: Any, parts: list[bytes]) -> list[bytes]:
    """Publish until the subscription has travelled through the hub and a copy arrives."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        publisher.send_multipart(parts)
        if window.poll(20):
            return list(window.recv_multipart())
    raise AssertionError("nothing came through the hub")


def test_every_window_gets_what_any_publisher_sends(connect: Connect) -> None:
    with ViewHub("tcp://127.0.0.1:0") as hub:
        publishers = [connect(zmq.PUB, hub.inner_address) for _ in range(2)]
        windows = [connect(zmq.SUB, hub.outer_address, b"view") for _ in range(2)]
        for publisher in publishers:
            for window in windows:
                seen = publish_until_seen(publisher, window, [b"view", b"header", b"\x00" * 1000])
                assert seen == [b"view", b"header", b"\x00" * 1000]


def test_a_late_window_and_a_late_publisher_find_each_other(connect: Connect) -> None:
    with ViewHub("tcp://127.0.0.1:0") as hub:
        first = connect(zmq.PUB, hub.inner_address)
        first.send_multipart([b"status", b"nobody looks"])
        window = connect(zmq.SUB, hub.outer_address, b"status")
        late = connect(zmq.PUB, hub.inner_address)
        assert publish_until_seen(late, window, [b"status", b"1"]) == [b"status", b"1"]


def test_a_window_that_does_not_read_never_blocks_a_publisher(connect: Connect) -> None:
    with ViewHub("tcp://127.0.0.1:0") as hub:
        publisher = connect(zmq.PUB, hub.inner_address)
        lazy = connect(zmq.SUB, hub.outer_address, b"view")
        publish_until_seen(publisher, lazy, [b"view", b""])
        sent = threading.Event()

        def flood() -> None:
            for _ in range(500):
                publisher.send_multipart([b"view", bytes(200_000)])
            sent.set()

        thread = threading.Thread(target=flood)
        thread.start()
        finished = sent.wait(PATIENCE_MS / 1000)
        lazy.close()
        thread.join()
        assert finished


def test_the_last_message_before_the_end_arrives(connect: Connect) -> None:
    with ViewHub("tcp://127.0.0.1:0") as hub:
        publisher = connect(zmq.PUB, hub.inner_address)
        window = connect(zmq.SUB, hub.outer_address, b"status")
        publish_until_seen(publisher, window, [b"status", b"running"])
        publisher.send_multipart([b"status", b"ended"])
    last = b""
    while last != b"ended":
        last = window.recv_multipart()[1]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("bind", ["tcp://[::1]:0", "tcp://[::]:0", "tcp://0.0.0.0:0"])
def test_who_is_on_this_machine_finds_a_hub_bound_by_ipv6_too(connect: Connect, bind: str) -> None:
    with ViewHub(bind, SecurityConfig(insecure=True)) as hub:
        assert not {"[::]", "0.0.0.0"} & {hub.shown_address.split("//")[1].rpartition(":")[0]}
        publisher = connect(zmq.PUB, hub.inner_address)
        with closing(RunProgress(hub.local_address, analysing=False)) as progress:
            began = progress.advanced_at

            def has_heard() -> bool:
                publisher.send_multipart(encode_status(make_status()))
                progress.update()
                return progress.advanced_at > began

            wait_until(has_heard)


def test_an_address_in_use_is_named() -> None:
    with ViewHub("tcp://127.0.0.1:0") as hub, pytest.raises(RunError, match="in use"):
        ViewHub(hub.outer_address)


def test_nothing_is_left_after_the_end() -> None:
    before = threading.active_count()
    with ViewHub("tcp://127.0.0.1:0") as hub:
        address = hub.outer_address
    assert threading.active_count() == before
    with ViewHub(address) as again:
        assert again.outer_address == address
