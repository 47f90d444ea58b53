"""The data stream of Quantum Detectors' Merlin (Medipix3) as records.

Messages as `streamer.merlin_connection` cuts them out of the TCP stream: one ``HDR,`` text when an
acquisition begins, then one ``MQ1,`` message a frame: a text header (`streamer.merlin_header`), then
big-endian pixels, the lowest row first. What the stream does not say:

- how large the frames are, before the first one: the start is told together with it;
- which acquisition a frame belongs to: they are counted, from the connection on;
- that an acquisition is over: it is, with its last planned frame.

Pixels are put into the byte order and the order of rows that everything else here has, so each is copied.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from math import nan

import numpy as np

from streamer.errors import MessageError, MessageTooLargeError, PayloadError, TruncatedMessageError
from streamer.merlin_header import HEADER_BYTES, MerlinHeader, read_header, time_of
from streamer.pixels import checked_shape
from streamer.plain import unix_time
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage

__all__ = ["MerlinParser"]

_ACQUISITION = b"HDR,"
_FRAME = b"MQ"
_END = memoryview(b"END")  # our own: made where the last planned frame has been cut out
_PLANNED = "Frames in Acquisition (Number)"
_MOST_FIELDS = 200
_LARGEST_PLAN = 10**9


class MerlinParser:
    """Turns the messages of one connection into records; keeps the acquisition's header until a frame came.

    Parameters
    ----------
    message_limit_bytes, frame_limit_bytes : int
        The largest message read, and the largest frame accepted.
    """

    def __init__(self, message_limit_bytes: int, frame_limit_bytes: int) -> None:
        self._message_limit_bytes = message_limit_bytes
        self._frame_limit_bytes = frame_limit_bytes
        self._header = memoryview(b"")  # of an acquisition that has no frame yet
        self._planned = 0
        self._key = SeriesKey(0)

    def split(self, parts: Sequence[memoryview]) -> Sequence[Sequence[memoryview]]:
        """Put the acquisition's header before its first frame, and its end after the last planned one."""
        message = parts[0] if parts else memoryview(b"")
        if bytes(message[:4]) == _ACQUISITION:
            self._header = message
            return ()
        try:
            header = read_header(bytes(message[:HEADER_BYTES]))
        except (ValueError, MessageError):
            return (parts,)
        first = ((self._header, message),) if self._header else ()
        if first:
            self._header = memoryview(b"")
            self._planned = _planned(_fields(bytes(first[0][0])))
        last = ((_END,),) if self._planned and header.number == self._planned else ()
        return (*first, parts, *last)

    def parse(self, parts: Sequence[memoryview]) -> StreamMessage:
        """Parse one message that `split` has returned.

        Raises
        ------
        MessageError
            If it is damaged, or neither an acquisition's header nor a frame.
        """
        if parts and parts[0] is _END:
            return SeriesEnd(self._key)
        if sum(len(part) for part in parts) > self._message_limit_bytes:
            raise MessageTooLargeError(
                f"a message above {self._message_limit_bytes} bytes: message_limit_bytes"
            )
        if len(parts) == 2:
            return self._start(bytes(parts[0]), self._header_of(parts[1]))
        if len(parts) != 1:
            raise MessageError(f"expected 1 part, got {len(parts)}")
        header = self._header_of(parts[0])
        return self._frame(header, parts[0])

    def _header_of(self, message: memoryview) -> MerlinHeader:
        start = bytes(message[:HEADER_BYTES])
        if not start.startswith(_FRAME):
            raise MessageError(f"expected a message that begins with HDR or MQ1, got {start[:12]!r}")
        try:
            header = read_header(start)
        except MessageError:
            raise
        except ValueError as error:
            kind = TruncatedMessageError if len(message) < HEADER_BYTES else MessageError
            raise kind(f"the frame's header is damaged: {error}") from error
        try:
            checked_shape(*header.shape, header.dtype.itemsize, self._frame_limit_bytes)
        except MessageError as error:
            error.frame_id = _frame_id(header)
            raise
        return header

    def _start(self, text: bytes, first: MerlinHeader) -> SeriesStart:
        fields = _fields(text)
        self._key = SeriesKey(self._key.series_id + 1)
        return SeriesStart(
            key=self._key,
            n_frames_planned=_planned(fields),
            shape=first.shape,
            dtype=first.dtype,
            header=text,
            extra=dict(fields),
        )

    def _frame(self, header: MerlinHeader, message: memoryview) -> Frame:
        frame_id = _frame_id(header)
        if frame_id is None:
            raise MessageError("frame number 0; the first is 1")
        height, width = header.shape
        n_bytes = height * width * header.dtype.itemsize
        got = len(message) - header.n_bytes
        if got < n_bytes:
            raise TruncatedMessageError(f"{max(got, 0)} bytes of pixels, expected {n_bytes}", frame_id)
        if got > n_bytes:
            raise PayloadError(f"{got} bytes of pixels, expected {n_bytes}", frame_id)
        pixels = np.frombuffer(message, header.wire_dtype, offset=header.n_bytes).reshape(height, width)
        payload = np.ascontiguousarray(pixels[::-1], header.dtype)
        record = FrameHeader(
            self._key, frame_id, header.shape, header.dtype, Compression.NONE, _t_detector(message)
        )
        return Frame(record, payload.data.cast("B"))


def _frame_id(header: MerlinHeader) -> int | None:
    return header.number - 1 if header.number > 0 else None


def _fields(text: bytes) -> Mapping[str, str]:
    """Return the lines ``name:<tab>value`` of an acquisition's header."""
    lines = text.decode("latin-1").replace("\0", "").splitlines()[:_MOST_FIELDS]
    pairs = (line.partition("\t") for line in lines)
    return {name.strip().rstrip(":"): value.strip() for name, tab, value in pairs if tab and value.strip()}


def _planned(fields: Mapping[str, str]) -> int:
    text = fields.get(_PLANNED, "")
    planned = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    return planned if planned <= _LARGEST_PLAN else 0


def _t_detector(message: memoryview) -> float:
    """Return the frame's time [Unix s]; the detector says no zone, it is taken as UTC."""
    time = time_of(bytes(message[:HEADER_BYTES]).decode("ascii", "replace"))
    return unix_time(time.replace(tzinfo=UTC).timestamp()) if time is not None else nan
