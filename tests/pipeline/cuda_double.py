"""A machine with CUDA's rules and no GPU: streams are queues, and what runs when is drawn at random.

The rules that matter to this program: work in one stream runs in order; work in different streams runs in any
order unless an event is between; the host sees a result only after it has waited for it. Here work waits in
its queue until somebody must have it, or until the draw takes it, now or much later. A missing event or wait
then shows as wrong numbers in some of the draws. Memory is known by its address: reading or writing outside
of a live buffer is an error, and so is waiting for something that can never happen.
"""

import ctypes
import gc
import random
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CudaDouble", "CUDARuntimeErrorDouble", "Event", "Stream"]


class CUDARuntimeErrorDouble(RuntimeError):
    """As CuPy's: it carries the status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}")
        self.status = status


@dataclass(eq=False, slots=True)
class Event:
    recorded: int = 0  # how often it was put into a stream
    reached: int = 0  # the last of these that a stream has passed


@dataclass(eq=False)
class Stream:
    handle: int
    work: deque[Callable[[], bool]] = field(default_factory=deque)  # each returns whether it could run
    captured: list[Callable[[], bool]] | None = None


class CudaDouble:
    """One device.

    Parameters
    ----------
    seed : int
        Of the order in which streams get on.
    lazy : bool
        Nothing runs before somebody waits for it.
    """

    def __init__(self, seed: int = 0, lazy: bool = False) -> None:
        self._draw = random.Random(seed)
        self.device = 0
        self._lazy = lazy
        self._slowness: dict[int, float] = {}
        self.streams: dict[int, Stream] = {}
        self.buffers: dict[int, weakref.ref[NDArray[np.uint8]]] = {}
        self.fails: deque[int | None] = deque()  # status of the next calls; None: success
        self.sticky: int | None = None  # status of every call from now on
        self.kernels: set[tuple[Any, ...]] = set()  # what CuPy would have compiled so far
        self.downloaded_bytes = 0
        self.default = self.new_stream()

    def use_device(self, index: int) -> None:
        """There are two."""
        if index > 1:
            raise CUDARuntimeErrorDouble(101)
        self.device = index

    def new_stream(self) -> Stream:
        stream = Stream(len(self.streams) + 1)
        self.streams[stream.handle] = stream
        return stream

    def check(self) -> None:
        """Fail if a test has asked for it; called by everything that CUDA would refuse."""
        if self.sticky is not None:
            raise CUDARuntimeErrorDouble(self.sticky)
        if self.fails and (status := self.fails.popleft()) is not None:
            raise CUDARuntimeErrorDouble(status)

    def allocate(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return memory full of garbage, known until its last reference goes."""
        self.check()
        memory = np.full(max(n_bytes, 1), 0xA5, np.uint8)
        address = memory.ctypes.data
        self.buffers[address] = weakref.ref(memory, lambda _: self.buffers.pop(address, None))
        return memory

    @property
    def live_bytes(self) -> int:
        gc.collect()
        return sum(m.nbytes for ref in self.buffers.values() if (m := ref()) is not None)

    def view(self, address: int, n_bytes: int) -> NDArray[np.uint8]:
        """Return live memory at an address."""
        for start, ref in self.buffers.items():
            memory = ref()
            if memory is not None and start <= address and address + n_bytes <= start + memory.nbytes:
                return memory[address - start : address - start + n_bytes]
        raise AssertionError(f"{n_bytes} bytes at {address:#x} are not inside of a live buffer")

    def copy(self, stream: Stream, target: int, source: int, n_bytes: int) -> None:
        """Queue a copy; memory of the host that is not pinned is read by its address too."""

        def work() -> None:
            data = (ctypes.c_uint8 * n_bytes).from_address(source)
            self.view_or_host(target, n_bytes)[:] = np.frombuffer(data, np.uint8)

        self.enqueue(stream, work)

    def view_or_host(self, address: int, n_bytes: int) -> NDArray[np.uint8]:
        try:
            return self.view(address, n_bytes)
        except AssertionError:
            return np.frombuffer((ctypes.c_uint8 * n_bytes).from_address(address), np.uint8)

    def enqueue(self, stream: Stream, work: Callable[[], None]) -> None:
        """Put work into a stream, or into the graph that is being captured there."""
        self.check()

        def step() -> bool:
            work()
            return True

        self._put(stream, step)

    def record(self, stream: Stream, event: Event) -> None:
        self.check()
        assert stream.captured is None, "events in a capture are not simulated"
        event.recorded += 1
        turn = event.recorded

        def step() -> bool:
            event.reached = turn
            return True

        self._put(stream, step)

    def wait_event(self, stream: Stream, event: Event) -> None:
        self.check()
        turn = event.recorded
        self._put(stream, lambda: event.reached >= turn)

    def pass_time(self) -> None:
        """Let one stream get on, while somebody asks and does not wait."""
        self.check()
        self._step()

    def synchronize_event(self, event: Event) -> None:
        turn = event.recorded
        self._run_until(lambda: event.reached >= turn)
        self.check()

    def synchronize_stream(self, stream: Stream) -> None:
        assert stream.captured is None, "cudaErrorStreamCaptureUnsupported: synchronised during a capture"
        self._run_until(lambda: not stream.work)
        self.check()

    def begin_capture(self, stream: Stream) -> None:
        assert stream is not self.default, "the default stream cannot be captured"
        assert not stream.work, "a capture of a stream that is at work"
        stream.captured = []

    def end_capture(self, stream: Stream) -> list[Callable[[], bool]]:
        assert stream.captured is not None
        captured, stream.captured = stream.captured, None
        return captured

    def launch(self, graph: list[Callable[[], bool]], stream: Stream) -> None:
        self.check()
        for step in graph:
            self._put(stream, step)

    def _put(self, stream: Stream, step: Callable[[], bool]) -> None:
        if stream.captured is not None:
            stream.captured.append(step)
            return
        stream.work.append(step)
        if not self._lazy and self._draw.random() < 0.5:
            for _ in range(self._draw.randrange(1, 6)):
                self._step()

    def _step(self) -> bool:
        """Let one stream get on; returns whether any could. Some are slow for a while, by the draw."""
        if self._draw.random() < 0.2:
            self._slowness = {handle: self._draw.random() for handle in self.streams}
        busy = [s for s in self.streams.values() if s.work]
        for stream in sorted(busy, key=lambda s: self._slowness.get(s.handle, 0.5)):
            if stream.work[0]():
                stream.work.popleft()
                return True
        return False

    def _run_until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            assert self._step(), "deadlock: a stream waits for an event that is not in any stream"
