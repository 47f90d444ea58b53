"""Run by tickit's environment: tickit's command, with its stream sockets bound only.

tickit 0.4 both binds its PUSH socket and connects it to the same address. Now and then libzmq keeps the pipe
to itself, and every second message goes to nobody. What is sent stays tickit's own.
"""

from typing import Any

import aiozmq
from tickit.cli import main

_create_zmq_stream = aiozmq.create_zmq_stream


async def _create_bound_stream(zmq_type: int, *, bind: str, connect: str) -> Any:
    return await _create_zmq_stream(zmq_type, bind=bind)


if __name__ == "__main__":
    aiozmq.create_zmq_stream = _create_bound_stream
    main()
