"""The sending end of a Merlin detector, over a real TCP socket, for the tests of recording from one."""

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DEPTHS = {1: "U08", 2: "U16", 4: "U32"}


def mpx(body: bytes, length: int | None = None) -> bytes:
    """Put the prefix before a message; `length` lies about its size."""
    return b"MPX,%010d," % (len(body) + 1 if length is None else length) + body


def acquisition(n_planned: int) -> bytes:
    """Make the message that begins an acquisition, 2048 bytes as the detector sends it."""
    lines = (
        "HDR,\t",
        "Time and Date Stamp (day, mnth, yr, hr, min, s):\t18/05/2020 16:51:48",
        "Chip ID:\tW529_F5,-,-,-",
        "Counter Depth (number):\t12",
        f"Frames in Acquisition (Number):\t{n_planned}",
        "Frames per Trigger (Number):\t1",
        "End\t",
    )
    return mpx("\r\n".join(lines).encode().ljust(2048, b"\0"))


def frame_body(image: NDArray[Any], number: int, header_bytes: int = 384) -> bytes:
    """Make a frame's message: header, then big-endian pixels, the lowest row first."""
    height, width = image.shape
    depth = _DEPTHS[image.dtype.itemsize]
    header = (
        f"MQ1,{number:06d},{header_bytes:05d},01,{width:04d},{height:04d},{depth},   1x1,01,"
        f"2020-05-18 16:51:49.{number:06d},0.000555,0,0,0,1.2E+2,5.11E+2,0,0,0,0,0,0,3RX,"
    )
    pixels = image[::-1].astype(image.dtype.newbyteorder(">")).tobytes()
    return header.encode().ljust(header_bytes, b"\0") + pixels


def frame(image: NDArray[Any], number: int) -> bytes:
    return mpx(frame_body(image, number))


class MerlinServer:
    """Serves each connection the next of several byte strings, then closes it; the last one stays open."""

    def __init__(self, *connections: Iterable[bytes]) -> None:
        self.commands: list[str] = []
        self._stop = threading.Event()
        self._started = threading.Event()
        self._servers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = self._serve(self._data(list(connections)))
        self.control_port = self._serve(self._control)

    @property
    def address(self) -> str:
        return f"merlin://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._stop.set()
        for server in self._servers:
            server.close()
        for thread in self._threads:
            thread.join(20)

    def wait_for_start(self) -> None:
        """Send nothing before the acquisition was started through the control port."""
        self._started.clear()
        self._waits = True

    _waits = False

    def _serve(self, handle: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(0.05)
        self._servers.append(server)

        def run() -> None:
            while not self._stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                except OSError:
                    return
                with connection:
                    handle(connection)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        return int(server.getsockname()[1])

    def _data(self, connections: list[Iterable[bytes]]) -> Callable[[socket.socket], None]:
        def handle(connection: socket.socket) -> None:
            while self._waits and not self._started.wait(0.05):
                if self._stop.is_set():
                    return
            for data in connections.pop(0) if connections else ():
                connection.sendall(data)
            while not connections and not self._stop.wait(0.02):
                pass

        return handle

    def _control(self, connection: socket.socket) -> None:
        while command := connection.recv(4096).decode():
            self.commands.append(command)
            name = command.split(",")[3]
            body = f"CMD,{name},0"
            connection.sendall(f"MPX,{len(body) + 1:010d},{body}".encode())
            if name == "SOFTTRIGGER":
                self._started.set()


def image(number: int, shape: tuple[int, int] = (24, 32), dtype: str = "<u2") -> NDArray[Any]:
    """Make the frame that every test expects under a number."""
    return np.random.default_rng(number).poisson(300, shape).astype(dtype)
