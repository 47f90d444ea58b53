"""Waiting for what other threads and processes do in their own time, and free ports for them."""

import socket
import time
from collections.abc import Callable

PATIENCE_S = 150.0


def wait_until(condition: Callable[[], bool], what: str = "it", patience_s: float = PATIENCE_S) -> None:
    """Ask until the answer is yes; fail after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {patience_s:g} s"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]
