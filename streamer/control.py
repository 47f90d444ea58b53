"""Commands to a run, and its replies: the one module that knows their bytes.

A request is one MessagePack map, a reply another, over ZeroMQ REQ/REP (docs/remote-control.md)::

    {"do": "note", "text": "CO on", "age_s": 1.5}     age_s: how long ago it was
    {"do": "record", "on": false}
    {"do": "next_file"}
    {"do": "keep"}                                    all frames around this moment
    {"do": "stop"}
    {"do": "status"}
    {"do": "displayed", "after_s": [0.04, 0.05]}      a window: frames it drew, so long after they came

    {"ok": true, "error": "", "t": 1700000000.1, "frame_id": 812, "recording": true, "path": "run.nxs"}

The supervisor checks each request and hands it to ingest, which alone writes the file::

    client ──REQ──► ROUTER  supervisor  DEALER ──► DEALER  ingest
                             [REQUEST, client, request] ──►
                             ◄── [client, reply]

Nothing is ever unpickled, and nothing longer than `MESSAGE_LIMIT_BYTES` is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Annotated

import msgspec

from streamer.errors import MessageError, MessageTooLargeError

__all__ = [
    "MESSAGE_LIMIT_BYTES",
    "MOST_DISPLAYED",
    "NOTE_BYTES",
    "REQUEST",
    "Displayed",
    "Keep",
    "NextFile",
    "Note",
    "Query",
    "Record",
    "Remote",
    "Reply",
    "Request",
    "Stop",
    "decode_reply",
    "decode_request",
    "encode",
]

MESSAGE_LIMIT_BYTES = 4096
NOTE_BYTES = 255
"""Length of a note in UTF-8; its place in the file is one longer."""

REQUEST = b"request"
"""First part of a request on its way from the supervisor to ingest."""

MOST_DISPLAYED = 100
"""Frames in one request; a window draws fewer in a second."""

_LONGEST_AGE_S = 3600.0
_LONGEST_DISPLAY_S = 60.0


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """What all requests have in common."""


class Note(_Request, frozen=True, tag="note"):
    """Write `text` into the file, with the time it was `age_s` ago and the frame of that moment."""

    text: Annotated[str, msgspec.Meta(min_length=1)]
    age_s: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_AGE_S)] = 0.0


class Record(_Request, frozen=True, tag="record"):
    """Switch recording on or off; frames go on being received, analysed and shown."""

    on: bool


class NextFile(_Request, frozen=True, tag="next_file"):
    """Close the file and go on in the next one."""


class Keep(_Request, frozen=True, tag="keep"):
    """Keep all frames around this moment, as far as the run's look-back and look-ahead reach."""


class Stop(_Request, frozen=True, tag="stop"):
    """End the run, as Ctrl-C does."""


class Query(_Request, frozen=True, tag="status"):
    """Say how the run stands, and change nothing."""


class Displayed(_Request, frozen=True, tag="displayed"):
    """Take in how long after their arrival frames were drawn by a window, whose clock is the run's [s]."""

    after_s: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_DISPLAY_S)], ...],
        msgspec.Meta(max_length=MOST_DISPLAYED),
    ]


Request = Note | Record | NextFile | Keep | Stop | Query | Displayed


class Reply(msgspec.Struct, frozen=True):
    """What came of a request.

    `t` [Unix s on the run's clock] and `frame_id` (-1: none) say when it took effect; `recording` and `path`
    how the run stands after it.
    """

    ok: bool
    error: str = ""
    t: float = nan
    frame_id: int = -1
    recording: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where ingest finds the supervisor's end, and what windows are told.

    Attributes
    ----------
    commands : str
        Inner address that ingest connects to; empty: the run takes no commands.
    control : str
        Outer address that windows and scripts connect to, announced in the run's status.
    stimuli : str
        Outer address that devices push samples to; empty: the run has no channels.
    """

    commands: str = ""
    control: str = ""
    stimuli: str = ""


encode = msgspec.msgpack.Encoder().encode
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_request(body: bytes | memoryview) -> Request:
    """Read a request.

    Raises
    ------
    MessageError
        If it is none, or its note is longer than `NOTE_BYTES`.
    """
    try:
        request: Request = _requests.decode(body)
    except _UNREADABLE as error:
        raise MessageError(f"not a request: {error}") from error
    if isinstance(request, Note) and (length := len(request.text.encode())) > NOTE_BYTES:
        raise MessageTooLargeError(f"a note of {length} bytes, expected at most {NOTE_BYTES}")
    return request


def decode_reply(parts: Sequence[bytes | memoryview]) -> Reply:
    """Read a reply; an empty part before it, which REQ sockets remove, is passed over.

    Raises
    ------
    MessageError
        If it is none.
    """
    try:
        reply: Reply = _replies.decode(parts[-1])
    except _UNREADABLE as error:
        raise MessageError(f"not a reply: {error}") from error
    return reply
