"""A detector simulated by other people: its stream is read bit for bit, to either of its two end messages."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from streamer.compression import decode
from streamer.config import IngestConfig
from streamer.pixels import nodata_mask
from streamer.records import Compression, Frame, SeriesEnd, SeriesStart, StreamMessage
from streamer.sources import make_parser, open_receiver, parse_source
from tests.integration.make_venvs import TICKIT
from tests.integration.tickit_detector import TickitDetector, running_detector

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(TICKIT.missing), reason=TICKIT.missing)]

N_FRAMES = 5


@pytest.fixture
def detector(tmp_path: Path) -> Iterator[TickitDetector]:
    with running_detector(tmp_path) as detector:
        yield detector


def take_series(detector: TickitDetector, source: str, stream_format: str) -> list[StreamMessage]:
    """Configure, expose and receive until nothing more comes."""
    address = parse_source(source)
    parser = make_parser(address)
    received: list[StreamMessage] = []
    detector.configure(stream_format, N_FRAMES)
    with zmq.Context() as context, ThreadPoolExecutor(1) as pool:
        with open_receiver(context, address, IngestConfig(), receive_timeout_ms=5000) as receiver:
            exposed = pool.submit(detector.expose)
            try:
                while True:
                    parts = [memoryview(part) for part in receiver.recv_multipart(copy=False)]
                    messages = (parser.parse(piece) for piece in parser.split(parts))
                    received += [message for message in messages if message is not None]
            except zmq.Again:
                exposed.result()
    return received


def decode_independently(payload: memoryview, shape: tuple[int, int]) -> NDArray[np.uint16]:
    bitshuffle = pytest.importorskip("bitshuffle", reason="it has no wheels here")
    blocks = np.frombuffer(payload, np.uint8, offset=12)
    image: NDArray[np.uint16] = bitshuffle.decompress_lz4(blocks, shape, np.dtype("<u2"), 4096)
    return image


def test_a_stream_v2_series(detector: TickitDetector) -> None:
    received = take_series(detector, f"dectris2://127.0.0.1:{detector.cbor_port}", "cbor")
    start, *frames, end, end_again = received
    assert isinstance(start, SeriesStart)
    assert (start.shape, start.dtype, start.n_frames_planned) == ((4362, 4148), None, N_FRAMES)
    assert (start.channel, start.saturation_value) == ("threshold_1", 21517)
    assert start.extra["detector_description"] == "Dectris EIGER2 Si 16M"
    assert isinstance(end, SeriesEnd)
    assert end == end_again == SeriesEnd(start.key)
    for n, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        assert (frame.header.key, frame.header.frame_id) == (start.key, n)
        assert (frame.header.shape, frame.header.dtype) == ((4362, 4148), np.dtype("<u2"))
        assert frame.header.compression is Compression.BSLZ4
    assert len(frames) == N_FRAMES
    check_image(frames[0], n_masked=1_253_075, n_counts=13_712)


def test_a_stream_v1_series(detector: TickitDetector) -> None:
    received = take_series(detector, f"dectris1://127.0.0.1:{detector.legacy_port}", "legacy")
    start, *frames, end, end_again = received
    assert isinstance(start, SeriesStart)
    assert (start.shape, start.n_frames_planned) == ((4362, 4148), N_FRAMES)
    assert isinstance(end, SeriesEnd)
    assert end == end_again == SeriesEnd(start.key)
    assert len(frames) == N_FRAMES
    for n, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        assert (frame.header.key, frame.header.frame_id) == (start.key, n)
        assert frame.header.shape == (4362, 4148)
    check_image(frames[0], n_masked=1_253_074, n_counts=9_876)


def check_image(frame: StreamMessage, n_masked: int, n_counts: int) -> None:
    """Compare the image with an independent decoder's, and with the figures known of it."""
    assert isinstance(frame, Frame)
    image = decode(frame)
    assert np.array_equal(image, decode_independently(frame.payload, frame.header.shape))
    mask = nodata_mask(image)
    assert np.count_nonzero(mask) == n_masked
    assert image[~mask].sum() == n_counts
