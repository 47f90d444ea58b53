"""What answers ingest when no analyser is left."""

from contextlib import closing

import numpy as np
import zmq

from pipeline.standin import StandIn
from streamer.link import decode_result, encode_task
from streamer.records import AnalyserLost, Compression, Frame, FrameHeader, SeriesKey, SeriesStart

KEY = SeriesKey(3, "a")
START = SeriesStart(KEY, 0, (4, 6), np.dtype("<u2"))


def task(frame_id: int) -> list[bytes | memoryview]:
    header = FrameHeader(KEY, frame_id, (4, 6), np.dtype("<u2"), Compression.NONE)
    return encode_task(Frame(header, memoryview(bytes(48))), START, 1.0)  # type: ignore[return-value]


def test_every_task_is_given_up_with_the_reason() -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as tasks, context.socket(zmq.PULL) as results:
        for socket in (tasks, results):
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.RCVTIMEO, 5000)
            socket.set(zmq.SNDTIMEO, 5000)
            socket.bind("tcp://127.0.0.1:0")
        addresses = [s.getsockopt_string(zmq.LAST_ENDPOINT) for s in (tasks, results)]
        with closing(StandIn(*addresses, reason="no analyser is left")):
            for frame_id in range(40):
                tasks.send_multipart(task(frame_id))
            answers = [
                decode_result([part.buffer for part in results.recv_multipart(copy=False)]) for _ in range(40)
            ]
    assert answers == [AnalyserLost("no analyser is left")] * 40
