"""What a message of a stream is, without reading more of it than that: for whoever passes it on as it came.

Formats: docs/wire-format.md. A ZeroMQ message may hold several of the stream's own; it is then of the kind
that matters most to a client: a start before an end before an image.
"""

import re
from collections.abc import Callable, Sequence
from enum import Enum

import msgspec

from streamer.errors import UsageError
from streamer.sources import Scheme

__all__ = ["Kind", "kind_reader"]

_V2 = re.compile(
    rb"(?:\xd9\xd9\xf7)?(?:[\xa1-\xb7\xbf]|\xb8.|\xb9..)\x64type(?:\x65(?P<kind>image|start)|\x63(?P<end>end))",
    re.DOTALL,
)
_V1 = re.compile(rb'\s*\{.{0,400}?"htype"\s*:\s*"(?P<kind>[a-z_]{1,40})-1\.0"', re.DOTALL)
_V1_LIMIT_BYTES = 1000  # of a part that says what follows it


class Kind(Enum):
    """What a message is to a client: START and MORE let it read the images, END says that they are over."""

    START = "start"
    MORE = "more of the start"  # Stream V1: the parts of a header may come as messages of their own
    END = "end"
    IMAGE = "image"
    UNKNOWN = "unknown"  # damaged, or of a kind that is not known: passed on like an image


_IMPORTANCE = (Kind.START, Kind.END, Kind.IMAGE, Kind.MORE, Kind.UNKNOWN)
_OF_V2 = {b"start": Kind.START, b"image": Kind.IMAGE, b"end": Kind.END}
_OF_V1 = {b"dheader": Kind.START, b"dimage": Kind.IMAGE, b"dseries_end": Kind.END}
_OF_OURS = {"start": Kind.START, "image": Kind.IMAGE, "end": Kind.END}


class _Header(msgspec.Struct, frozen=True):
    type: str = ""


_decode = msgspec.msgpack.Decoder(_Header).decode


def kind_reader(scheme: Scheme) -> Callable[[Sequence[memoryview]], Kind]:
    """Return the function that tells the kind of a ZeroMQ message from its parts; it never fails."""
    match scheme:
        case Scheme.DECTRIS2:
            return _kind_v2
        case Scheme.DECTRIS1:
            return _kind_v1
        case Scheme.ATOMSTREAM:
            return _kind_ours
    raise UsageError(f"{scheme}:// is not a ZeroMQ stream: only such a stream can be passed on")


def _kind_v2(parts: Sequence[memoryview]) -> Kind:
    return _most_important([_part_v2(part) for part in parts])


def _part_v2(part: memoryview) -> Kind:
    found = _V2.match(part)
    return Kind.UNKNOWN if found is None else _OF_V2[found["kind"] or found["end"]]


def _kind_v1(parts: Sequence[memoryview]) -> Kind:
    first = _part_v1(parts[0]) if parts else Kind.UNKNOWN
    later = [_part_v1(part) for part in parts[1:]]
    return _most_important([first, *(kind for kind in later if kind not in (Kind.MORE, Kind.UNKNOWN))])


def _part_v1(part: memoryview) -> Kind:
    """Tell the kind of a part; what names no kind of message belongs to a header that has begun."""
    found = _V1.match(part) if len(part) <= _V1_LIMIT_BYTES else None
    return Kind.MORE if found is None else _OF_V1.get(found["kind"], Kind.MORE)


def _kind_ours(parts: Sequence[memoryview]) -> Kind:
    try:
        return _OF_OURS.get(_decode(parts[0]).type, Kind.UNKNOWN)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MemoryError, IndexError):
        return Kind.UNKNOWN


def _most_important(kinds: Sequence[Kind]) -> Kind:
    return kinds[0] if len(kinds) == 1 else min(kinds, key=_IMPORTANCE.index, default=Kind.UNKNOWN)
