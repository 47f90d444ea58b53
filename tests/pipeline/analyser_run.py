"""An analyser at work in a thread, and this test in the place of ingest and of a window."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from pipeline.analyser import run_analyser
from streamer import link, window_link
from streamer.clock import RunClock
from streamer.compression import encode
from streamer.config import AnalysisConfig, RunConfig
from streamer.joining import Join
from streamer.records import (
    AnalyserInfo,
    Compression,
    Frame,
    FrameFailure,
    FrameHeader,
    FrameResult,
    SeriesKey,
    SeriesStart,
)
from streamer.unfollowed import Unfollowed, decode_unfollowed
from streamer.worker import Control

PATIENCE_S = 20.0
CLOCK = RunClock.start()


def config_for(folder: Any, **analysis: Any) -> RunConfig:
    """The configuration for the tiny networks in `folder`."""
    return RunConfig(analysis=AnalysisConfig(material="tiny", models=str(folder), threads=1, **analysis))


@dataclass
class AnalyserRun:
    """The other ends of the analyser's sockets."""

    ingest: Any
    route: bytes
    views: Any
    control: Control
    said: "queue.Queue[tuple[str, Any]]"
    errors: list[BaseException]
    thread: threading.Thread
    info: AnalyserInfo | None = field(default=None)

    def send(
        self,
        image: NDArray[np.unsignedinteger],
        frame_id: int,
        series: int = 1,
        pixel_size_A: float | None = 0.2,
        payload: bytes | None = None,
        number: int = 1,
    ) -> None:
        """Hand a frame of the run's `number`-th series on, as ingest does."""
        key = SeriesKey(series)
        header = FrameHeader(key, frame_id, image.shape, image.dtype, Compression.BSLZ4)  # type: ignore[arg-type]
        payload = encode(image, Compression.BSLZ4) if payload is None else payload
        start = SeriesStart(key, 0, header.shape, header.dtype, pixel_size_A=pixel_size_A)
        frame = Frame(header, memoryview(payload))
        self.send_parts(link.encode_task(frame, start, CLOCK.now(), number))

    def send_parts(self, parts: list[Any]) -> None:
        """Send a message as ingest does, once the analyser has joined."""
        while not self.route:
            self.hear()
        self.ingest.send_multipart([self.route, *parts])

    def hear(self) -> FrameResult | FrameFailure | None:
        """Wait for the analyser's next message; its introduction is kept in `info`, its name in `route`."""
        route, *parts = self._receive(self.ingest)
        got = link.decode_result([part.buffer for part in parts])
        if isinstance(got, AnalyserInfo):
            self.info = got
        elif isinstance(got, Join):
            self.route = bytes(route)
        else:
            assert isinstance(got, FrameResult | FrameFailure), got
            return got
        return None

    def answer(self) -> FrameResult | FrameFailure:
        """Wait for the next result or failure."""
        while (got := self.hear()) is None:
            pass
        return got

    def result(self) -> FrameResult:
        """Wait for the next result."""
        answer = self.answer()
        assert isinstance(answer, FrameResult), answer
        return answer

    def unfollowed(self) -> Unfollowed:
        """Wait for the next unfollowed result."""
        while not self.route:
            self.hear()
        _, *parts = self._receive(self.ingest)
        return decode_unfollowed([part.buffer for part in parts])

    def failure(self) -> FrameFailure:
        """Wait for the next failure."""
        answer = self.answer()
        assert isinstance(answer, FrameFailure), answer
        return answer

    def show(self, image: NDArray[np.unsignedinteger]) -> window_link.View:
        """Send a frame (as frame 0) until it is seen: pictures before the subscription was there are lost."""
        for _ in range(int(PATIENCE_S / 0.1)):
            self.send(image, 0)
            self.result()
            if self.views.poll(100):
                return window_link.decode_view([part.buffer for part in self._receive(self.views)])
        raise AssertionError("no picture came")

    def error(self) -> BaseException:
        """Wait until the analyser has failed, and return its error."""
        self.thread.join(PATIENCE_S)
        assert self.errors, "the analyser has not failed"
        return self.errors.pop()

    def _receive(self, socket: Any) -> Any:
        for _ in range(int(PATIENCE_S / 0.1)):
            if socket.poll(100):
                return socket.recv_multipart(copy=False)
            if self.errors:
                raise self.errors.pop()
        raise AssertionError("the analyser did not answer")


@contextmanager
def analyser_run(config: RunConfig, sound: bool = True) -> Iterator[AnalyserRun]:
    """Run an analyser until the block ends; its error, if it had one, is raised here (not if not `sound`)."""
    with zmq.Context() as context:
        ingest, views = (context.socket(kind) for kind in (zmq.ROUTER, zmq.SUB))
        with ingest, views:
            views.subscribe(b"")
            addresses = [_bind(socket) for socket in (ingest, views)]
            said: queue.Queue[tuple[str, Any]] = queue.Queue()
            errors: list[BaseException] = []
            control = Control(threading.Event(), said.put)

            def work() -> None:
                try:
                    run_analyser(control, config, CLOCK, *addresses)
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            try:
                yield AnalyserRun(ingest, b"", views, control, said, errors, thread)
            finally:
                control.request_stop()
                thread.join(PATIENCE_S)
    if errors and sound:
        raise errors[0]


def _bind(socket: Any) -> str:
    socket.set(zmq.LINGER, 0)
    socket.bind("tcp://127.0.0.1:0")
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))
