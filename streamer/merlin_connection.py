"""The TCP connections of a Merlin detector: messages out of its data port, commands to its control port.

Both carry ``MPX,<10 digits>,`` before each message. The number of bytes counts from the comma after it
(checked against LiberTEM's simulator). Format from the Merlin user manual.
"""

import logging
import re
import socket
import time
from collections.abc import Callable, Sequence

from streamer.errors import RunError, SourceUnreachableError
from streamer.sources import Source

__all__ = ["MerlinConnection", "MpxReader", "start_acquisition"]

_PREFIX = re.compile(rb"MPX,(\d{10}),")
_PREFIX_BYTES = 15
_SCAN_BYTES = 1 << 16
_SHOWN_BYTES = 64
_POLL_S = 0.1
_RECONNECT_S = (0.1, 1.0)  # from the first to the longest interval
_ANSWER_S = 5.0
_REFUSALS = {1: "system busy", 2: "unrecognised command", 3: "parameter out of range"}

_log = logging.getLogger(__name__)


class MpxReader:
    """Divides a stream of bytes into messages.

    Parameters
    ----------
    read : callable
        Reads some bytes, at least one, into a buffer and returns their number; 0 at the stream's end.
    limit_bytes : int
        A message that claims to be larger is taken for damage.
    """

    def __init__(self, read: Callable[[memoryview], int], limit_bytes: int) -> None:
        self._read = read
        self._limit_bytes = limit_bytes
        self._ahead = b""  # read already, while looking for the next message

    def next_message(self) -> bytearray | None:
        """Return the next message without its prefix; None at the end of the stream.

        Of bytes that are no message, up to the next one's prefix, the first few are returned, so that they
        are counted and named. A message that the stream's end has cut off is returned as far as it came.
        """
        prefix = self._take(_PREFIX_BYTES)
        if not prefix:
            return None
        length = self._length_of(_PREFIX.fullmatch(prefix))
        return self._skip(bytes(prefix)) if length is None else self._take(length)

    def _length_of(self, prefix: re.Match[bytes] | None) -> int | None:
        """Return the length that a prefix tells; None if it is none or cannot be right."""
        length = int(prefix[1]) - 1 if prefix else -1  # it counts from the comma
        return length if 0 <= length <= self._limit_bytes else None

    def _take(self, n_bytes: int) -> bytearray:
        """Read so many bytes, or what there is before the end."""
        data = bytearray(n_bytes)
        done = min(len(self._ahead), n_bytes)
        data[:done], self._ahead = self._ahead[:done], self._ahead[done:]
        with memoryview(data) as view:
            while done < n_bytes and (more := self._read(view[done:])):
                done += more
        del data[done:]
        return data

    def _skip(self, junk: bytes) -> bytearray:
        """Read on to the next prefix, and return the beginning of what was skipped."""
        shown, window = junk[:_SHOWN_BYTES], junk + self._ahead
        self._ahead = b""
        while True:
            for found in _PREFIX.finditer(window):
                if self._length_of(found) is not None:
                    self._ahead = window[found.start() :]
                    return bytearray(shown)
            chunk = bytearray(_SCAN_BYTES)
            n_bytes = self._read(memoryview(chunk))
            if not n_bytes:
                return bytearray(shown)
            window = window[1 - _PREFIX_BYTES :] + chunk[:n_bytes]


class MerlinConnection:
    """A client of the data port, to be run by `streamer.bridge.Bridge`.

    Parameters
    ----------
    source : Source
    limit_bytes : int
        The largest message.
    connect_timeout_s : float
        How long the detector's answer is waited for.

    Raises
    ------
    SourceUnreachableError
        If nothing answers in time.
    """

    def __init__(self, source: Source, limit_bytes: int, connect_timeout_s: float) -> None:
        self._source = source
        self._limit_bytes = limit_bytes
        self._socket: socket.socket | None = _connect(source, connect_timeout_s)

    def pump(self, send: Callable[[Sequence[bytearray]], bool], stopping: Callable[[], bool]) -> None:
        """Pass every message on until it is time to stop; connect again after a loss, as ZeroMQ does."""
        wait_s = _RECONNECT_S[0]
        while not stopping():
            if self._socket is None:
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _RECONNECT_S[1])
                self._socket = _reconnect(self._source, wait_s)
                continue
            wait_s = _RECONNECT_S[0]
            self._pass_on(self._socket, send, stopping)
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _pass_on(
        self,
        data: socket.socket,
        send: Callable[[Sequence[bytearray]], bool],
        stopping: Callable[[], bool],
    ) -> None:
        reader = MpxReader(lambda view: _receive(data, view, stopping), self._limit_bytes)
        while (message := reader.next_message()) is not None and not stopping():
            if not send([message]):
                return
        if not stopping():
            _log.warning("%s has closed the connection; connecting again", self._source)


def start_acquisition(source: Source, control_port: int, timeout_s: float) -> None:
    """Arm the detector and trigger it by software, through its control port.

    Raises
    ------
    SourceUnreachableError
        If the control port does not answer.
    RunError
        If the detector does not start; one that waits for another trigger is only noted.
    """
    control = Source(source.scheme, source.host, control_port)
    with _connect(control, timeout_s) as connection:
        connection.settimeout(_ANSWER_S)
        if code := _command(connection, control, "STARTACQUISITION"):
            raise RunError(f"{control} does not start an acquisition: {_REFUSALS.get(code, f'error {code}')}")
        if code := _command(connection, control, "SOFTTRIGGER"):
            why = _REFUSALS.get(code, f"error {code}")
            _log.warning("%s takes no software trigger (%s): it waits for its own", control, why)


def _receive(data: socket.socket, view: memoryview, stopping: Callable[[], bool]) -> int:
    """Read what has come; 0 if the connection has ended, or on `stopping`."""
    while not stopping():
        try:
            return data.recv_into(view)
        except TimeoutError:
            continue
        except OSError:  # reset by the other end
            return 0
    return 0


def _connect(source: Source, timeout_s: float) -> socket.socket:
    address, deadline = (source.host.strip("[]"), source.port), time.monotonic() + timeout_s
    while True:
        try:
            connection = socket.create_connection(address, max(deadline - time.monotonic(), 0.05))
            connection.settimeout(_POLL_S)
            return connection
        except OSError as error:
            if isinstance(error, socket.gaierror) or time.monotonic() + _POLL_S > deadline:
                raise SourceUnreachableError(
                    f"nothing answers at {source} ({error.strerror or error}): is the detector's software"
                    " running, and the port right?"
                ) from error
        time.sleep(_POLL_S)


def _reconnect(source: Source, timeout_s: float) -> socket.socket | None:
    try:
        return _connect(source, timeout_s)
    except SourceUnreachableError:
        return None


def _command(connection: socket.socket, control: Source, name: str) -> int:
    """Send a command and return the code of its answer, 0 for success."""
    body = f"CMD,{name},0"
    try:
        connection.sendall(f"MPX,{len(body) + 1:010d},{body}".encode())
        answer = connection.recv(4096).decode("ascii", "replace")  # MPX,<length>,CMD,<name>,<code>
    except OSError as error:
        raise SourceUnreachableError(f"{control} does not answer to {name}: {error}") from error
    code = answer.rpartition(",")[2].strip("\0 \r\n")
    if not code.isdigit():
        raise RunError(f"{control} answers {answer[:60]!r} to {name}, expected MPX,…,CMD,{name},0")
    return int(code)
