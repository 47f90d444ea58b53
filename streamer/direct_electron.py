"""A Direct Electron camera as a source: its server is polled through the vendor's client, ``deapi``.

The server keeps only the newest frame, so a camera faster than the polling leaves gaps: ids come from the
server's own count, and what was skipped is missing in the ledger. Frames are passed on in our own stream's
format. ``deapi`` is optional; it needs an older protobuf than onnx does, so it may want an environment of its
own (docs/adding-a-detector.md). Written against deapi 5.3.1.
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from streamer.errors import RunError, SourceUnreachableError, UsageError
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage
from streamer.wire import AtomstreamEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamer.sources import Source

__all__ = ["DirectElectronServer"]

_IDLE_S = 0.005  # between two looks at a server that had nothing new
_FRAMES = "singleframe_integrated"
_PIXELS = "UINT16"
_FRAME_COUNT = "Frame Count"
_LARGEST_ID = 2**31
Send = Callable[[Sequence[bytes | memoryview]], bool]


class DirectElectronServer:
    """A client of DE-Server, to be run by `streamer.bridge.Bridge`.

    Parameters
    ----------
    source : Source
    start_frames : int
        Start an acquisition of so many when the run begins; 0: it is started elsewhere.
    connect_timeout_s : float

    Raises
    ------
    UsageError
        If ``deapi`` is not installed.
    SourceUnreachableError
        If no DE-Server answers in time.
    """

    def __init__(self, source: "Source", start_frames: int, connect_timeout_s: float) -> None:
        self._source = source
        self._start_frames = start_frames
        self._client = _connect(source, connect_timeout_s)
        self._encode = AtomstreamEncoder().encode

    def pump(self, send: Send, stopping: Callable[[], bool]) -> None:
        """Pass on the frames of one acquisition, the newest whenever it is asked for."""
        if self._start_frames:
            self._start_acquisition()
        else:
            while not self._acquiring():
                if stopping():
                    return
                time.sleep(_IDLE_S)
        self._pass_on(send, stopping, SeriesKey(1))

    def close(self) -> None:
        """Close the connection."""
        self._client.disconnect()

    def _start_acquisition(self) -> None:
        """Start one acquisition, which may be over before it is looked at.

        What deapi's method is given is how often to repeat it; its frames are a property.
        """
        self._ask(lambda: self._client.set_property(_FRAME_COUNT, self._start_frames))
        n_frames = int(self._ask(lambda: self._client[_FRAME_COUNT]))
        if n_frames != self._start_frames:
            raise RunError(
                f"{self._source} takes {n_frames} frames in an acquisition, not {self._start_frames}:"
                " give another --start-frames, or start it elsewhere"
            )
        self._ask(lambda: self._client.start_acquisition(1))

    def _pass_on(self, send: Send, stopping: Callable[[], bool], key: SeriesKey) -> None:
        started, last_id, acquiring = False, -1, True
        while acquiring and not stopping():
            acquiring = self._acquiring()  # asked first: the last frame is looked at after the end
            frame_id, image = self._newest()
            if frame_id <= last_id:
                time.sleep(_IDLE_S)
                continue
            messages: Iterable[StreamMessage] = (_frame(key, frame_id, image),)
            if not started:
                messages = itertools.chain((self._start(key, image),), messages)
            if not all(send(self._encode(message)) for message in messages):
                return
            started, last_id = True, frame_id
        if not stopping():
            send(self._encode(SeriesEnd(key)))

    def _acquiring(self) -> bool:
        return bool(self._ask(lambda: self._client["Acquisition Status"]) == "Acquiring")

    def _newest(self) -> "tuple[int, NDArray[np.uint16]]":
        """Return the newest frame and its number in the acquisition."""
        result = self._ask(lambda: self._client.get_result(_FRAMES, _PIXELS))
        image, frame_id = result.image, int(result.attributes.imageIndex)
        if image is None or not 0 <= frame_id < _LARGEST_ID:
            raise RunError(f"{self._source} sent no image (number {frame_id}); see its log")
        return frame_id, np.ascontiguousarray(image, "<u2")

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Ask the server; deapi lets all kinds of errors through when a connection is lost."""
        try:
            return question()
        except Exception as error:
            raise RunError(
                f"{self._source} does not answer any more: {type(error).__name__}: {error}"
            ) from error

    def _start(self, key: SeriesKey, image: "NDArray[np.uint16]") -> SeriesStart:
        height, width = image.shape
        rate_hz = float(self._ask(lambda: self._client["Frames Per Second"]) or 0)
        return SeriesStart(
            key=key,
            n_frames_planned=0,  # which of them can be fetched is not known before
            shape=(height, width),
            dtype=image.dtype,
            frame_time_s=1 / rate_hz if rate_hz > 0 else None,
            extra={"camera": str(self._client.camera), "source": "DE-Server"},
        )


def _frame(key: SeriesKey, frame_id: int, image: "NDArray[np.uint16]") -> Frame:
    height, width = image.shape
    header = FrameHeader(key, frame_id, (height, width), image.dtype, Compression.NONE, time.time())
    return Frame(header, image.data.cast("B"))


def _connect(source: "Source", timeout_s: float) -> Any:
    try:
        from deapi import Client
    except ImportError as error:
        raise UsageError(
            f"{source} needs deapi, which is not installed: pip install 'atomstream[de]'"
            " (into an environment without onnx)"
        ) from error
    logging.getLogger("DECameraClientLib").setLevel(logging.ERROR)
    client, deadline = Client(), time.monotonic() + timeout_s
    client.usingMmf = False  # its shared memory is for Windows and the same machine only
    while True:
        try:
            client.connect(source.host.strip("[]"), source.port)
            return client
        except OSError as error:
            if time.monotonic() > deadline:
                raise SourceUnreachableError(
                    f"nothing answers at {source} ({error.strerror or error}): is DE-Server running?"
                ) from error
        time.sleep(0.1)
