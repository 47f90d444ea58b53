"""The analyser's end of the live view: pictures are made for somebody, at a bounded rate, or not at all."""

from typing import Any

import zmq

from pipeline.views import ViewClock
from streamer.window_link import VIEW_TOPIC, View, encode_view

__all__ = ["Windows"]

_SUBSCRIBE = 1  # first byte of a subscription, ZMTP 3.0; the topic follows


class Windows:
    """Publishes views; knows from the subscriptions that the hub passes on whether anybody looks.

    Parameters
    ----------
    socket : zmq.Socket
        XPUB, connected to the view hub.
    rate_hz : float
        Pictures a second, at most.
    """

    def __init__(self, socket: Any, rate_hz: float) -> None:
        self._socket = socket
        self._clock = ViewClock(rate_hz)
        self._topics: set[bytes] = set()

    def want_picture(self, now_s: float) -> bool:
        """Whether somebody looks and a picture is due; if so, the next is due later."""
        while self._socket.poll(0):
            message = self._socket.recv(zmq.NOBLOCK)
            change = self._topics.add if message[:1] == bytes([_SUBSCRIBE]) else self._topics.discard
            change(message[1:])
        looked_at = any(VIEW_TOPIC.startswith(topic) for topic in self._topics)
        return looked_at and self._clock.due(now_s)

    def show(self, view: View) -> None:
        """Publish a picture; dropped where a window, or the hub, does not take it."""
        self._socket.send_multipart(encode_view(view))
