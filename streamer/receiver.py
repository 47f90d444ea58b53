"""The receiving end of a source: a socket to read from, whether the source lets us in, and why it failed."""

import time
from collections.abc import Callable

import zmq

from streamer.bridge import Bridge, Pump
from streamer.config import RunConfig
from streamer.connection import ConnectionWatch
from streamer.curve import client_keys
from streamer.direct_electron import DirectElectronServer
from streamer.errors import SourceRefusedError
from streamer.merlin_connection import MerlinConnection, start_acquisition
from streamer.sources import ZMQ_SCHEMES, Scheme, open_receiver, parse_source

__all__ = ["BridgedReceiver", "Receiver", "open_source"]

_CHECK_S = 0.05


def open_source(context: zmq.Context[zmq.Socket[bytes]], config: RunConfig) -> "Receiver | BridgedReceiver":
    """Connect to the configured source, whatever it speaks.

    Raises
    ------
    RunError
        If a source without ZeroMQ cannot be reached; others may be started later.
    """
    if parse_source(config.source.address).scheme in ZMQ_SCHEMES:
        return Receiver(context, config)
    return BridgedReceiver(context, config)


class Receiver:
    """A PULL socket that is connected to the configured source; used by one thread.

    Parameters
    ----------
    context : zmq.Context
    config : RunConfig
        Its `source`, `ingest` limits and `security`.
    receive_timeout_ms : int
    affinity : int
        Which of the context's I/O threads read from it, as bits; 0: any.

    Attributes
    ----------
    socket : zmq.Socket
    error : None
        A ZeroMQ source that goes away may come back: it does not fail.
    """

    error: Exception | None = None

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        config: RunConfig,
        receive_timeout_ms: int = 100,
        affinity: int = 0,
    ) -> None:
        self._affinity = affinity
        self._source = parse_source(config.source.address)
        self._timeout_s = config.source.connect_timeout_s
        self._keys = client_keys(config.security.key, config.source.server_key)
        self.socket = open_receiver(
            context, self._source, config.ingest, receive_timeout_ms, self._keys, self._watch
        )

    def close(self) -> None:
        """Close the socket; what it has received and was not taken is lost."""
        self._connection.close()
        self.socket.close()

    def expect_admitted(self, stopping: Callable[[], bool]) -> None:
        """Wait until an encrypted source has let us in; another is not waited for, as old ones do not say.

        Raises
        ------
        SourceRefusedError
            If it does not.
        """
        deadline = time.monotonic() + self._timeout_s
        while self._keys is not None and not self._connection.n_joined and not stopping():
            self.expect_not_refused()
            if time.monotonic() > deadline:
                raise SourceRefusedError(
                    f"{self._source} did not agree on encryption within {self._timeout_s:g} s:"
                    " is the port right?"
                )
            self._connection.wait(_CHECK_S)

    def expect_not_refused(self) -> None:
        """Look whether the source refuses us; a source that has let us in once may be restarted as it likes.

        Only to be asked before the first message: very old peers (ZMTP 2) say nothing when they let us in.

        Raises
        ------
        SourceRefusedError
            If it does, and never let us in.
        """
        self._connection.update()
        if self._connection.refusal and not self._connection.n_joined:
            raise SourceRefusedError(f"{self._source} refuses the connection: {self._connection.refusal}")

    def _watch(self, socket: zmq.Socket[bytes]) -> None:
        self._connection = ConnectionWatch(socket)
        socket.set(zmq.AFFINITY, self._affinity)


class BridgedReceiver:
    """The same for a source that does not speak ZeroMQ: a bridge brings its messages.

    Attributes
    ----------
    socket : zmq.Socket
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: RunConfig) -> None:
        pump = _make_pump(config)
        self._bridge = Bridge(context, pump, config.ingest)
        self.socket = self._bridge.receiver

    @property
    def error(self) -> Exception | None:
        """Why the source has failed; None while it works."""
        return self._bridge.error

    def close(self) -> None:
        """Stop the bridge; what it has brought and was not taken is lost."""
        self._bridge.close()
        self.socket.close()

    def expect_admitted(self, stopping: Callable[[], bool]) -> None:
        """Return at once: the source was reached before."""

    def expect_not_refused(self) -> None:
        """Return at once: the source was reached before."""


def _make_pump(config: RunConfig) -> Pump:
    source, wait_s = parse_source(config.source.address), config.source.connect_timeout_s
    if source.scheme is Scheme.DE:
        return DirectElectronServer(source, config.source.start_frames, wait_s)
    connection = MerlinConnection(source, config.ingest.message_limit_bytes, wait_s)
    try:
        if config.source.control_port:
            start_acquisition(source, config.source.control_port, wait_s)
    except BaseException:
        connection.close()
        raise
    return connection
