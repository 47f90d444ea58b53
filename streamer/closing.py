"""What holds sockets, threads or servers, and lets go of them at the end of a ``with`` block."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import zmq

__all__ = ["Closing", "short_queue_socket"]


class Closing(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def short_queue_socket(
    context: "zmq.Context[Any]", kind: int, queue_messages: int, linger_ms: int, message_limit_bytes: int = -1
) -> Any:
    """Open a socket that holds few messages either way, and refuses longer ones (-1: takes any)."""
    socket = context.socket(kind)
    socket.set(zmq.MAXMSGSIZE, message_limit_bytes)
    socket.set(zmq.RCVHWM, queue_messages)
    socket.set(zmq.SNDHWM, queue_messages)
    socket.set(zmq.LINGER, linger_ms)
    return socket
