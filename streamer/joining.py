"""Messages by which analysers join a run and leave it: the one module that knows their bytes.

Between ingest (ROUTER) and each analyser (DEALER) goes one connection. It carries tasks and results
(`streamer.link`), pictures of analysers on other machines, and these, each one part::

    analyser                                  ingest
       │── Hello ────────────────────────────►│   on another machine: what am I to do?
       │◄──────────── Welcome, or Refused ────│   the run's configuration
       │── AskTime ──────────────────────────►│   its clock is set by ingest's
       │◄───────────────────────────── Time ──│
       │      (it loads its networks)         │
       │── introduction, then Join ──────────►│   from here on it gets tasks, as many as it has room for
       │◄────────────────────────────── Ping ─│   twice a second: the connection stands; does anybody look?
       │── Bye ──────────────────────────────►│   what it has is given to others
       │◄────────────────────────────── Over ─│

An analyser on this machine was told its task when it was started, and begins with its introduction. The
follower (`streamer.follower_queue`) is on this machine; it begins with Follow, and gets unfollowed results.
"""

import msgspec

from streamer.errors import MessageError

__all__ = [
    "PROTOCOL",
    "AskTime",
    "Bye",
    "Follow",
    "FromAnalyser",
    "FromIngest",
    "Hello",
    "Join",
    "Over",
    "Ping",
    "Refused",
    "Time",
    "Welcome",
    "decode_from_ingest",
    "encode",
]

PROTOCOL = 3
"""Both ends must have the same; it changes with these messages, with tasks and with results."""


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """What all have in common."""


class Hello(_Message, frozen=True, tag="hello"):
    """An analyser on another machine, before it loads anything."""

    name: str
    protocol: int = PROTOCOL


class Join(_Message, frozen=True, tag="join"):
    """It is ready, and keeps busy with `room` frames that it has not answered."""

    name: str
    room: int


class Follow(_Message, frozen=True, tag="follow"):
    """It follows what analysers find with these networks, SHA-256 by file name."""

    name: str
    networks: dict[str, str]


class Bye(_Message, frozen=True, tag="bye"):
    """It answers nothing more."""

    reason: str


class AskTime(_Message, frozen=True, tag="ask time"):
    """What time is it? `t` is repeated in the answer [s on any clock]."""

    t: float


class Welcome(_Message, frozen=True, tag="welcome"):
    """What an analyser on another machine is to do: the parts of the run's configuration that concern it."""

    number: int
    configuration: str


class Refused(_Message, frozen=True, tag="refused"):
    """It is not wanted, for this reason."""

    reason: str


class Ping(_Message, frozen=True, tag="ping"):
    """The connection stands; `looked_at` says whether a window wants pictures."""

    looked_at: bool


class Time(_Message, frozen=True, tag="time"):
    """The run's clock stood at `t` [Unix s] when `asked` came."""

    asked: float
    t: float


class Over(_Message, frozen=True, tag="over"):
    """The run has ended."""

    reason: str


FromAnalyser = Hello | Join | Follow | Bye | AskTime
FromIngest = Welcome | Refused | Ping | Time | Over

encode = msgspec.msgpack.Encoder().encode
_from_ingest = msgspec.msgpack.Decoder(FromIngest)


def decode_from_ingest(part: bytes | memoryview) -> FromIngest:
    """Read what ingest says besides tasks.

    Raises
    ------
    MessageError
        If it is nothing of that kind.
    """
    try:
        message: FromIngest = _from_ingest.decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not what ingest says to an analyser: {error}") from error
    return message
