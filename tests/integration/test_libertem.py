"""DECTRIS Stream V1 with LiberTEM's implementation at the other end, as sender and as receiver."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import zmq

from simulator.sender import SenderSettings, send_stream
from streamer.compression import decode
from streamer.config import IngestConfig
from streamer.records import Compression, Frame, SeriesEnd, SeriesStart, StreamMessage
from streamer.sources import Scheme, Source, make_parser, open_receiver
from tests.integration.make_venvs import LIBERTEM
from tests.waiting import free_port

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(LIBERTEM.missing), reason=LIBERTEM.missing)]

HERE = Path(__file__).parent
N_SENT = 200  # more than its shared memory has slots for


def receive_series(source: Source) -> list[StreamMessage]:
    parser = make_parser(source)
    received: list[StreamMessage] = []
    with zmq.Context() as context, open_receiver(context, source, IngestConfig(), 20_000) as receiver:
        while not (received and isinstance(received[-1], SeriesEnd)):
            message = parser.parse([memoryview(part) for part in receiver.recv_multipart(copy=False)])
            if message is not None:
                received.append(message)
    return received


def test_libertems_mock_frames_are_read() -> None:
    """Their 12-byte header is zero, and header and configuration are two messages."""
    source = Source(Scheme.DECTRIS1, "127.0.0.1", free_port())
    command = [LIBERTEM.python, HERE / "libertem_send.py", source.endpoint, "50"]
    with subprocess.Popen(command) as sender:
        start, *frames, end = receive_series(source)
        sender.wait(20)
    assert isinstance(start, SeriesStart)
    assert (start.shape, start.dtype, start.n_frames_planned) == ((512, 512), np.dtype("<u2"), 50)
    assert start.extra["description"] == "Dectris QUADRO Si 250K"
    assert isinstance(end, SeriesEnd)
    assert len(frames) == 50
    for n, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        assert (frame.header.key, frame.header.frame_id) == (start.key, n)
        assert (decode(frame) == n).all()


@pytest.mark.parametrize("compression", [Compression.BSLZ4, Compression.LZ4])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_libertem_reads_what_we_send(dtype: str, compression: Compression, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = rng.poisson(0.5, (N_SENT, 40, 40)).astype(dtype)  # it takes the sides for rows and columns
    port, result = free_port(), tmp_path / "frames.npz"
    settings = SenderSettings(
        Scheme.DECTRIS1,
        f"tcp://127.0.0.1:{port}",
        compression,
        n_planned=N_SENT,
        pixel_size_A=0.1,
        frame_time_s=0.01,
    )
    script = [HERE / "libertem_receive.py", f"tcp://127.0.0.1:{port}", str(N_SENT), "40", "40", result]
    with subprocess.Popen([LIBERTEM.python, *script], stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "listening\n"
        send_stream(images, settings)
        assert receiver.wait(30) == 0
    with np.load(result) as received:
        assert int(received["planned"]) == N_SENT
        assert np.array_equal(received["frames"], images)
