"""How ingest learns at once that an analyser of this machine is gone, and whether another will come.

Without that it would find out by itself, half a second later, but not why; and it cannot know that the last
one will not be replaced.
"""

from typing import cast

import zmq

from streamer.link import encode_lost
from streamer.records import AnalyserLost

__all__ = ["report_lost"]

_LINGER_MS = 1000


def report_lost(address: str, reason: str, worker: str = "") -> None:
    """Tell ingest that an analyser died, or (without a name) that none is left."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, _LINGER_MS)
        socket.connect(address)
        socket.send_multipart(cast("list[bytes]", encode_lost(AnalyserLost(reason, worker))))
