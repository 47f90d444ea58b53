"""Where frames come from: addresses, and for each kind of source its parser, its encoder and its socket."""

import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import zmq

from streamer.config import IngestConfig
from streamer.connection import set_reconnection
from streamer.curve import ClientKeys, encrypt_client
from streamer.dectris_v1 import DectrisV1Parser
from streamer.dectris_v1_encode import DectrisV1Encoder
from streamer.dectris_v2 import DectrisV2Parser
from streamer.dectris_v2_encode import DectrisV2Encoder
from streamer.errors import SourceUnreachableError, UsageError
from streamer.merlin import MerlinParser
from streamer.records import StreamMessage
from streamer.wire import AtomstreamEncoder, AtomstreamParser

__all__ = [
    "Encoder",
    "Parser",
    "ZMQ_SCHEMES",
    "Scheme",
    "Source",
    "make_encoder",
    "make_parser",
    "open_receiver",
    "parse_source",
    "wait_reachable",
]

_ADDRESS = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+)(:(?P<port>[0-9]{1,5}))?/?"
)
_PROBE_INTERVAL_S = 0.1


class Scheme(StrEnum):
    """The streams that are understood."""

    DECTRIS2 = "dectris2"
    DECTRIS1 = "dectris1"
    ATOMSTREAM = "atomstream"
    MERLIN = "merlin"
    DE = "de"


ZMQ_SCHEMES = (Scheme.DECTRIS2, Scheme.DECTRIS1, Scheme.ATOMSTREAM)
"""The streams that come over ZeroMQ, which can also be sent; the others come through `streamer.bridge`."""

_DEFAULT_PORTS = {Scheme.DECTRIS2: 31001, Scheme.DECTRIS1: 9999, Scheme.MERLIN: 6342, Scheme.DE: 13240}


@dataclass(frozen=True, slots=True)
class Source:
    """A stream's address; `host` is as the user wrote it (an IPv6 address in brackets)."""

    scheme: Scheme
    host: str
    port: int

    @property
    def endpoint(self) -> str:
        """ZeroMQ's name for the address."""
        return f"tcp://{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


class Parser(Protocol):
    """Turns received messages into records; one instance serves one source, on one thread.

    The receiver splits each ZeroMQ message, and parses what it is split into one by one, so that damage to
    one of the stream's messages costs no other.
    """

    def split(self, parts: Sequence[memoryview]) -> Sequence[Sequence[memoryview]]:
        """Divide the parts of one ZeroMQ message into the stream's own messages: nearly always one."""

    def parse(self, parts: Sequence[memoryview]) -> StreamMessage | None:
        """Parse the parts of one of the stream's messages.

        Returns None where the stream's own message is not complete yet. A frame's payload is a view into one
        of the parts. Raises `MessageError` for a damaged message, after which the next one can be parsed.
        """


class Encoder(Protocol):
    """Turns records into messages; one instance serves one stream."""

    def encode(self, message: StreamMessage) -> Sequence[bytes | memoryview]:
        """Make the parts of one ZeroMQ message."""


def parse_source(address: str) -> Source:
    """Read an address such as ``dectris2://192.168.1.10:31001``.

    Raises
    ------
    UsageError
        If it is not one.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or found["scheme"] not in list(Scheme):
        raise UsageError(
            f"{address!r} is not a source: expected dectris2://HOST:31001, dectris1://HOST:9999,"
            " merlin://HOST:6342, de://HOST:13240 or atomstream://HOST:PORT"
        )
    scheme = Scheme(found["scheme"])
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS.get(scheme, 0)
    if not 0 < port < 1 << 16:
        raise UsageError(f"{address!r} needs a port from 1 to 65535, as in {scheme}://{found['host']}:5555")
    return Source(scheme, found["host"], port)


def make_parser(source: Source, channel: str = "", limits: IngestConfig | None = None) -> Parser:
    """Make the parser for a source.

    Parameters
    ----------
    source : Source
    channel : str
        A detector's threshold; empty: the first.
    limits : IngestConfig, optional
        The largest message and frame accepted.
    """
    limits = limits or IngestConfig()
    if channel and source.scheme is not Scheme.DECTRIS2:
        raise UsageError(f"{source} carries one channel; {channel!r} can be chosen from dectris2:// only")
    match source.scheme:
        case Scheme.DECTRIS2:
            return DectrisV2Parser(channel, limits.message_limit_bytes, limits.frame_limit_bytes)
        case Scheme.DECTRIS1:
            return DectrisV1Parser(limits.message_limit_bytes, limits.frame_limit_bytes)
        case Scheme.ATOMSTREAM | Scheme.DE:  # what polls a DE-Server passes its frames on in our own format
            return AtomstreamParser(limits.message_limit_bytes, limits.frame_limit_bytes)
        case Scheme.MERLIN:
            return MerlinParser(limits.message_limit_bytes, limits.frame_limit_bytes)


def make_encoder(scheme: Scheme, series_date_s: float) -> Encoder:
    """Make the encoder for a stream; DECTRIS's times are written relative to `series_date_s` [Unix s].

    Raises
    ------
    UsageError
        If the stream is one that this program only receives.
    """
    match scheme:
        case Scheme.DECTRIS2:
            return DectrisV2Encoder(series_date_s)
        case Scheme.DECTRIS1:
            return DectrisV1Encoder(series_date_s)
        case Scheme.ATOMSTREAM:
            return AtomstreamEncoder()
        case Scheme.MERLIN | Scheme.DE:
            raise UsageError(f"{scheme}:// can be received, not sent; choose one of {', '.join(ZMQ_SCHEMES)}")


def open_receiver(
    context: zmq.Context[zmq.Socket[bytes]],
    source: Source,
    limits: IngestConfig,
    receive_timeout_ms: int = 100,
    keys: ClientKeys | None = None,
    on_made: Callable[[zmq.Socket[bytes]], None] = lambda receiver: None,
) -> zmq.Socket[bytes]:
    """Connect a PULL socket to a source; the caller closes it.

    ZeroMQ connects in the background and again after a loss, at most once a second; a source that vanished
    without a word (a cable, a power cut) is taken for lost after half a minute. It ends a connection on
    which a message of more than twice `message_limit_bytes` is announced, before reading it; up to there
    the parser refuses the message by name, and nothing else is lost. `on_made` is given the socket before it
    connects.
    """
    receiver: zmq.Socket[bytes] = context.socket(zmq.PULL)
    on_made(receiver)
    # Every option before connect: libzmq ignores some of them afterwards.
    receiver.set(zmq.RCVHWM, limits.receive_queue_frames)
    receiver.set(zmq.MAXMSGSIZE, 2 * limits.message_limit_bytes)
    receiver.set(zmq.LINGER, 0)
    receiver.set(zmq.RCVTIMEO, receive_timeout_ms)
    set_reconnection(receiver)
    encrypt_client(receiver, keys)
    receiver.set(zmq.IPV6, int(source.host.startswith("[")))
    receiver.connect(source.endpoint)
    return receiver


def wait_reachable(source: Source, timeout_s: float) -> None:
    """Wait until something accepts TCP connections at the source's address.

    Called before a run starts, because ZeroMQ itself waits for ever without a word. The connection is closed
    at once; a PUSH socket gives no message to a peer that has not introduced itself.

    Raises
    ------
    SourceUnreachableError
        If nothing has answered within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    address = (source.host.strip("[]"), source.port)
    while True:
        try:
            socket.create_connection(address, timeout=max(deadline - time.monotonic(), 0.05)).close()
            return
        except OSError as error:
            if isinstance(error, socket.gaierror) or time.monotonic() + _PROBE_INTERVAL_S > deadline:
                raise SourceUnreachableError(
                    f"nothing answers at {source} ({error.strerror or error}): is the sender running, its"
                    " stream enabled, and the port right?"
                ) from error
        time.sleep(_PROBE_INTERVAL_S)
