"""Frames decoded ahead by threads: in the order in which they came, damaged ones named, nothing left over."""

import sys
import threading
from collections import deque

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends.cuda_intake import CudaDevice
from pipeline.backends.device import HOST
from pipeline.intake import Intake
from pipeline.prepare import prepare
from streamer import link
from streamer.compression import encode
from streamer.errors import BackendError, MessageError, PayloadError
from streamer.records import Compression, Frame, FrameHeader, FrameResult, SeriesKey, SeriesStart
from tests.pipeline.analyser_run import analyser_run, config_for
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.tensorrt_double import Faults, make_tensorrt
from tests.pipeline.test_analyser import COLUMNS, expect_columns, image


def frame(k: int, shape: tuple[int, int] = (64, 80)) -> NDArray[np.uint16]:
    return np.random.default_rng(k).poisson(20.0, shape).astype(np.uint16)


def message(pixels: NDArray[np.uint16], frame_id: int, payload: bytes | None = None) -> list[memoryview]:
    key = SeriesKey(1)
    header = FrameHeader(key, frame_id, pixels.shape, pixels.dtype, Compression.BSLZ4)  # type: ignore[arg-type]
    start = SeriesStart(key, 0, header.shape, header.dtype, pixel_size_A=0.2)
    data = memoryview(payload or encode(pixels, Compression.BSLZ4))
    return [memoryview(part) for part in link.encode_task(Frame(header, data), start, 0.0)]


class Queue:
    """What the socket does: gives what is there, and never waits for what a test has not sent."""

    def __init__(self, messages: list[list[memoryview]]) -> None:
        self.waiting = deque(messages)
        self.patience_ms: list[int] = []

    def __call__(self, patience_ms: int) -> list[memoryview]:
        self.patience_ms.append(patience_ms)
        return self.waiting.popleft() if self.waiting else []


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("on_device", [False, True])
def test_frames_come_in_order_and_whole(threads: int, on_device: bool) -> None:
    """Also when their size changes on the way, and a damaged one and garbage are among them."""
    device = CudaDevice(make_cupy(CudaDouble(seed=5))) if on_device else HOST
    frames = [frame(k, (64, 80) if k % 20 < 12 else (48, 64)) for k in range(40)]
    messages = [message(pixels, k, b"\0" * 30 if k == 7 else None) for k, pixels in enumerate(frames)]
    messages[21] = [memoryview(b"no task"), memoryview(b"")]
    intake = Intake(Queue(messages), device, threads)
    for k, pixels in enumerate(frames):
        incoming = intake.next(50)
        assert incoming is not None
        if k == 21:
            assert isinstance(incoming.task, MessageError)
            continue
        assert isinstance(incoming.task, link.Task)
        assert incoming.task.frame.header.frame_id == k
        if k == 7:
            with pytest.raises(PayloadError):
                prepare(incoming.task, 0.2, 0.2, device, incoming.pixels)
            continue
        prepared = prepare(incoming.task, 0.2, 0.2, device, incoming.pixels)
        got = prepared.image.get() if on_device else prepared.image
        np.testing.assert_array_equal(got, pixels)
    assert intake.next(0) is None
    intake.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("atomstream-decode")]


def test_with_one_thread_none_is_started_and_nothing_is_fetched_ahead() -> None:
    queue = Queue([message(frame(k), k) for k in range(3)])
    intake = Intake(queue, HOST, HOST.decoders)
    incoming = intake.next(70)
    assert incoming is not None
    assert incoming.pixels is None
    assert (queue.patience_ms, len(queue.waiting)) == ([70], 2)
    intake.close()


def test_no_more_is_held_than_the_threads_need() -> None:
    queue = Queue([message(frame(k), k) for k in range(20)])
    intake = Intake(queue, HOST, 3)
    assert intake.next(70) is not None
    assert len(queue.waiting) == 20 - 6
    assert queue.patience_ms == [70, 0, 0, 0, 0, 0]
    intake.close()


def test_pinned_memory_is_lent_again_only_after_its_copy() -> None:
    """Twelve copies, each seen only at the end, and five pieces of memory for all of them."""
    cuda = CudaDouble(lazy=True)
    device = CudaDevice(make_cupy(cuda))
    frames = [frame(k) for k in range(12)]
    header = FrameHeader(SeriesKey(1), 0, (64, 80), frames[0].dtype, Compression.NONE)
    places, images = set(), []
    for pixels in frames:
        room = device.room(header)
        places.add(room.ctypes.data)
        room[...] = pixels
        images.append(device.bring(room))
    for pixels, there in zip(frames, images, strict=True):
        np.testing.assert_array_equal(there.get(), pixels)
    assert len(places) <= 5


def test_a_device_without_memory_fails_the_frame() -> None:
    cuda = CudaDouble()
    device = CudaDevice(make_cupy(cuda))
    cuda.fails.append(2)
    intake = Intake(Queue([message(frame(1), 1)]), device, 2)
    incoming = intake.next(0)
    assert incoming is not None
    with pytest.raises(BackendError, match="ran out of memory while allocating pinned memory"):
        prepare(incoming.task, 0.2, 0.2, device, incoming.pixels)  # type: ignore[arg-type]
    intake.close()


@pytest.mark.parametrize("backend", ["openvino", "tensorrt"])
def test_the_whole_analysis_with_four_decoders(
    backend: str, tiny_folder: object, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = CudaDouble(seed=9)
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(cuda))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(cuda, "11.4", Faults()))
    config = config_for(tiny_folder, backend=backend, engines=str(tmp_path), batch_frames=3, decode_threads=4)
    with analyser_run(config) as run:
        for k in range(9):
            run.send(image(), k, payload=b"\0" * 40 if k == 4 else None)
        answers = [run.answer() for _ in range(9)]
    assert sorted(a.frame_id for a in answers) == list(range(9))
    for answer in answers:
        if answer.frame_id == 4:
            assert "payload" in answer.reason  # type: ignore[union-attr]
        else:
            assert isinstance(answer, FrameResult)
            expect_columns(answer, COLUMNS)
    assert cuda.live_bytes == 0
