"""A file's frames out of the socket, bit for bit: payloads as stored and re-encoded ones."""

import socket
import threading
from contextlib import closing
from dataclasses import replace
from itertools import count

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq

from streamer.compression import decode
from streamer.config import IngestConfig
from streamer.errors import FileReadError, PayloadError, RunError, UsageError
from streamer.files import Scaling, open_file
from streamer.flag import SharedFlag
from streamer.read_ahead import ahead
from streamer.records import Compression, Frame, SeriesEnd, SeriesStart
from streamer.replay import ReplaySettings, expect_replayable, run_replay, stream_file
from streamer.sources import ZMQ_SCHEMES, Scheme, make_parser, open_receiver, parse_source
from streamer.worker import Worker
from tests.streamer import ingest_run
from tests.streamer.files import writers as w

TIMEOUT_MS = 20_000
SCHEMES = ZMQ_SCHEMES


class Receiver:
    """The receiving end: what an address sends, parsed as ingest does."""

    def __init__(self, context):
        self._context = context

    def messages(self, address):
        source = parse_source(address)
        parser = make_parser(source)
        with open_receiver(self._context, source, IngestConfig(), TIMEOUT_MS) as socket:
            while True:
                yield parser.parse([part.buffer for part in socket.recv_multipart(copy=False)])

    def series(self, address):
        """The messages up to the first end."""
        received = []
        for message in self.messages(address):
            received.append(message)
            if isinstance(message, SeriesEnd):
                return received
        return received


class Replay:
    """`stream_file` in a thread."""

    def __init__(self, settings):
        self.counts = self.error = None
        self.stop = threading.Event()
        self._bound = threading.Event()
        self._address = ""
        self._thread = threading.Thread(target=self._run, args=(settings,))
        self._thread.start()

    def __enter__(self):
        assert self._bound.wait(20)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()

    @property
    def address(self):
        if self.error is not None:
            raise self.error
        return self._address

    def end(self):
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self.counts

    def _run(self, settings):
        try:
            self.counts = stream_file(settings, self.stop.is_set, self._note)
        except Exception as error:
            self.error = error
        finally:
            self._bound.set()

    def _note(self, address):
        self._address = address
        self._bound.set()


@pytest.fixture
def receiver():
    with zmq.Context() as context:
        yield Receiver(context)


def replayed(receiver, path, **settings):
    """Replay `path` and return its start, its decoded frames by id, and the counts."""
    with Replay(ReplaySettings(path=str(path), **{"rate_hz": 0.0, **settings})) as replay:
        start, *frames, _ = receiver.series(replay.address)
        assert isinstance(start, SeriesStart)
        return start, {f.header.frame_id: decode(f) for f in frames}, replay.end()


def assert_same(images, frames):
    assert list(images) == list(range(len(frames)))
    for frame_id, image in images.items():
        np.testing.assert_array_equal(image, frames[frame_id])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("filters", [hdf5plugin.Bitshuffle(nelems=0, cname="lz4"), hdf5plugin.LZ4(), {}])
def test_stored_payloads_are_sent_as_they_are(scheme, filters, receiver, tmp_path):
    frames = w.counted()
    path = w.write_dectris_legacy(tmp_path, frames, filters=filters)
    start, images, counts = replayed(receiver, path, scheme=scheme)
    assert_same(images, frames)
    assert (counts.frames, counts.as_stored) == (w.N_FRAMES, w.N_FRAMES)
    assert start.shape == w.SHAPE
    assert start.dtype == np.dtype("<u2")
    assert start.n_frames_planned == w.N_FRAMES
    assert start.frame_time_s == pytest.approx(w.FRAME_TIME_S)
    assert start.saturation_value == 60000


@pytest.mark.parametrize("scheme", [Scheme.DECTRIS2, Scheme.ATOMSTREAM])
def test_a_recorded_run_is_sent_as_it_was_received_damage_included(scheme, receiver, tmp_path):
    frames = [ingest_run.frame_of(i) for i in range(4)]
    payload = bytearray(frames[2].payload)
    payload[12:16] = b"\x7f" * 4  # a block too long; the size still fits, so that only decoding shows it
    frames[2] = replace(frames[2], payload=memoryview(bytes(payload)))
    path = tmp_path / "run.nxs"
    ingest_run.record(path, ingest_run.start_of(4), *frames, SeriesEnd(ingest_run.KEY))
    with Replay(ReplaySettings(path=str(path), rate_hz=0.0, scheme=scheme)) as replay:
        start, *received, _ = receiver.series(replay.address)
        assert replay.end().as_stored == 4
    assert [bytes(f.payload) for f in received] == [bytes(f.payload) for f in frames]
    assert start.pixel_size_A == 0.25
    with pytest.raises(PayloadError):
        decode(received[2])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("dtype", ["|u1", ">u2", "<i4", "<f4"])
def test_pixels_are_encoded_exactly(scheme, compression, dtype, receiver, tmp_path):
    frames = w.counted(dtype)
    path = w.write_npy(tmp_path / "a.npy", frames)
    start, images, counts = replayed(receiver, path, scheme=scheme, compression=compression)
    assert_same(images, frames)
    assert counts.as_stored == 0
    assert start.dtype == np.dtype("<u2" if dtype in ("|u1", ">u2") else "<u4")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.mrc", w.write_mrc),
        ("a.tif", w.write_imagej_tiff),
        ("a.dm4", w.write_dm),
        ("a.emd", w.write_velox),
        ("a.ser", w.write_ser),
        ("a.hspy", lambda path, frames: w.write_rosetta(path, "hspy", frames)),
    ],
)
def test_files_that_know_their_pixel_size_say_so_in_the_stream(scheme, name, write, receiver, tmp_path):
    frames = w.counted()
    start, images, _ = replayed(receiver, write(tmp_path / name, frames), scheme=scheme)
    assert_same(images, frames)
    assert start.pixel_size_A == pytest.approx(w.PIXEL_SIZE_A)


def test_the_users_pixel_size_wins(receiver, tmp_path):
    path = w.write_mrc(tmp_path / "a.mrc", w.counted())
    start, _, _ = replayed(receiver, path, pixel_size_A=0.5)
    assert start.pixel_size_A == 0.5


def test_a_rate_is_the_frame_time_where_the_file_has_none(receiver, tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    start, _, _ = replayed(receiver, path, rate_hz=500.0)
    assert start.frame_time_s == pytest.approx(0.002)


@pytest.mark.parametrize("scheme", [Scheme.ATOMSTREAM, Scheme.DECTRIS2])
def test_frames_are_as_far_apart_as_in_the_movie_however_fast_they_are_sent(scheme, receiver, tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted(), frame_time_s=0.25)
    with Replay(ReplaySettings(path=str(path), rate_hz=0.0, scheme=scheme)) as replay:
        _, *frames, _ = receiver.series(replay.address)
        replay.end()
    times = np.array([frame.header.t_detector for frame in frames])
    np.testing.assert_allclose(times - times[0], 0.25 * np.arange(len(frames)), atol=1e-5)


def test_a_selection_of_frames_keeps_its_order(receiver, tmp_path):
    frames = w.counted()
    path = w.write_npy(tmp_path / "a.npy", frames)
    _, images, _ = replayed(receiver, path, frames=(4, 1, 6))
    assert_same(images, frames[[4, 1, 6]])


def test_loops_go_on_counting(receiver, tmp_path):
    frames = w.counted()
    path = w.write_dectris_legacy(tmp_path, frames)
    start, images, counts = replayed(receiver, path, frames=range(2, 7), loops=3)
    assert start.n_frames_planned == counts.frames == 15
    assert_same(images, np.tile(frames[2:7], (3, 1, 1)))


def test_scaled_values_are_converted(receiver, tmp_path):
    frames = w.counted("<f4") / 4 + 10
    path = w.write_npy(tmp_path / "a.npy", frames)
    _, images, _ = replayed(receiver, path, scaling=Scaling(counts_per_unit=4, offset=10))
    assert_same(images, w.counted())


def test_a_detectors_counts_are_not_scaled(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    with pytest.raises(UsageError, match="holds counts already"):
        stream_file(ReplaySettings(path=str(path), scaling=Scaling(offset=1)))


def test_no_data_stays_no_data_where_a_frame_has_to_be_encoded(receiver, tmp_path):
    frames = w.counted("|u1")
    frames[:, 2, 3] = 255
    path = w.write_dectris_legacy(tmp_path, frames, filters={"compression": "gzip"})
    start, images, counts = replayed(receiver, path)
    assert start.dtype == np.dtype("|u1")
    assert counts.as_stored == 0
    assert_same(images, frames)


def test_a_loop_without_end_ends_when_asked(receiver, tmp_path):
    frames = w.counted()
    path = w.write_npy(tmp_path / "a.npy", frames)
    with Replay(ReplaySettings(path=str(path), rate_hz=0.0, loops=0)) as replay:
        stream = receiver.messages(replay.address)
        assert next(stream).n_frames_planned == 0
        for frame_id in range(5 * w.N_FRAMES):
            frame = next(stream)
            assert frame.header.frame_id == frame_id
            np.testing.assert_array_equal(decode(frame), frames[frame_id % w.N_FRAMES])
        replay.stop.set()
        stream.close()
        assert replay.end().frames >= 5 * w.N_FRAMES


def test_a_replay_that_nobody_receives_ends_when_asked(tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    with Replay(ReplaySettings(path=str(path), rate_hz=0.0)) as replay:
        replay.stop.set()
        assert replay.end().frames == 0


def test_it_can_connect_to_a_receiver_that_has_bound(tmp_path):
    frames = w.counted()
    path = w.write_npy(tmp_path / "a.npy", frames)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set(zmq.RCVTIMEO, TIMEOUT_MS)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        address = f"tcp://127.0.0.1:{port}"
        parser = make_parser(parse_source(f"atomstream://127.0.0.1:{port}"))
        with Replay(ReplaySettings(path=str(path), rate_hz=0.0, address=address, connect=True)) as replay:
            received = [parser.parse(socket.recv_multipart()) for _ in range(w.N_FRAMES + 2)]
            replay.end()
    assert_same({f.header.frame_id: decode(f) for f in received if isinstance(f, Frame)}, frames)


def test_a_receiver_that_is_not_there_is_named_and_no_frame_counts_as_sent(tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        settings = ReplaySettings(
            path=str(path), rate_hz=0.0, address=address, connect=True, connect_timeout_s=0.3
        )
        with pytest.raises(RunError, match=r"nothing has answered at tcp://127.0.0.1:\d+ within 0.3 s"):
            stream_file(settings)


def damaged_in_frame_4(folder):
    path = w.write_dectris_legacy(folder, w.counted().astype("<i4"), per_file=7)
    with h5py.File(folder / "series_1_data_000001.h5", "r+") as file:
        file["/entry/data/data"].id.write_direct_chunk((4, 0, 0), b"\0" * 40)
    return path


def test_a_damaged_frame_leaves_without_pixels_and_the_next_ones_follow(tmp_path):
    path, frames = damaged_in_frame_4(tmp_path), w.counted()
    parser = make_parser(parse_source("atomstream://127.0.0.1:1"))
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set(zmq.RCVTIMEO, TIMEOUT_MS)
        with Replay(ReplaySettings(path=str(path), rate_hz=0.0)) as replay:
            socket.connect(replay.address.replace("atomstream", "tcp"))
            messages = [socket.recv_multipart() for _ in range(w.N_FRAMES + 2)]
            counts = replay.end()
    for index in (0, 1, 2, 3, 5, 6):
        np.testing.assert_array_equal(decode(parser.parse(messages[index + 1])), frames[index])
    with pytest.raises(PayloadError, match="frame 4: 0 bytes of pixels") as damage:
        parser.parse(messages[5])
    assert damage.value.frame_id == 4
    assert isinstance(parser.parse(messages[-1]), SeriesEnd)
    assert (counts.frames, counts.unreadable) == (6, 1)
    assert "frame 4 of" in counts.damage[0]


@pytest.mark.parametrize("scheme", [Scheme.DECTRIS2, Scheme.DECTRIS1])
def test_in_other_formats_a_damaged_frame_is_missing(scheme, receiver, tmp_path):
    path = damaged_in_frame_4(tmp_path)
    with Replay(ReplaySettings(path=str(path), rate_hz=0.0, scheme=scheme)) as replay:
        stream = receiver.messages(replay.address)
        next(stream)
        assert [next(stream).header.frame_id for _ in range(6)] == [0, 1, 2, 3, 5, 6]
        assert isinstance(next(stream), SeriesEnd), "nobody waits for more in vain"
        assert replay.end().unreadable == 1
        stream.close()


def test_a_file_whose_first_frame_is_damaged_is_used_and_one_without_any_is_refused(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted().astype("<i4"), per_file=7)
    with h5py.File(tmp_path / "series_1_data_000001.h5", "r+") as file:
        chunks = file["/entry/data/data"].id
        chunks.write_direct_chunk((0, 0, 0), b"\0" * 40)
        with closing(open_file(path)) as opened:
            expect_replayable(opened, ReplaySettings(path=str(path), rate_hz=0.0))
        for index in range(7):
            chunks.write_direct_chunk((index, 0, 0), b"\0" * 40)
    with closing(open_file(path)) as opened, pytest.raises(FileReadError, match="frame 6 of"):
        expect_replayable(opened, ReplaySettings(path=str(path), rate_hz=0.0))


def test_a_later_frame_that_is_no_count_ends_the_stream(receiver, tmp_path):
    frames = w.counted("<i2")
    frames[5, 3, 3] = -2
    path = w.write_npy(tmp_path / "a.npy", frames)
    with Replay(ReplaySettings(path=str(path), rate_hz=0.0)) as replay:
        stream = receiver.messages(replay.address)
        next(stream)
        assert [next(stream).header.frame_id for _ in range(5)] == [0, 1, 2, 3, 4]
        assert isinstance(next(stream), SeriesEnd)
        with pytest.raises(FileReadError, match="frame 5 has a pixel of -2 counts"):
            replay.end()
        stream.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate_hz": None}, "give --fps"),
        ({"frames": range(3, 8)}, "frames 0 to 6"),
        ({"frames": range(-1, 2)}, "frames 0 to 6"),
        ({"frames": ()}, "frames 0 to 6"),
        ({"scheme": Scheme.ATOMSTREAM, "scaling": Scaling(offset=1000)}, "lower --offset"),
        ({"format": "mrc"}, "as MRC"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_bound(settings, message, tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    never = pytest.fail
    with pytest.raises(UsageError, match=message):
        stream_file(ReplaySettings(path=str(path), **{"rate_hz": 0.0, **settings}), on_bound=never)


def test_an_address_in_use_is_named(tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(RunError, match=f"cannot bind tcp://127.0.0.1:{port}"):
            stream_file(ReplaySettings(path=str(path), rate_hz=0.0, address=f"tcp://127.0.0.1:{port}"))


def test_the_recorded_rate_is_kept(receiver, tmp_path):
    """No clock is read here: the schedule is the file's own, so no frame may come before its turn."""
    path = w.write_mib(tmp_path / "a.mib", w.counted(), interval_s=0.02)
    _, images, counts = replayed(receiver, path, rate_hz=None)
    assert len(images) == w.N_FRAMES
    assert counts.elapsed_s >= 6 * 0.02


def test_as_a_process_it_waits_for_its_begin(receiver, tmp_path):
    frames = w.counted()
    path = w.write_dectris_legacy(tmp_path, frames)
    begin = SharedFlag()
    worker = Worker("sender", run_replay, ReplaySettings(path=str(path), rate_hz=0.0), begin)
    try:
        address = worker.wait_ready(60)["address"]
        begin.set()
        received = receiver.series(address)
        worker.join(20)
        worker.raise_error()
        assert worker.summary["frames"] == w.N_FRAMES
        assert len(received) == w.N_FRAMES + 2
    finally:
        worker.join(0)
        worker.close()


def test_a_file_that_does_not_fit_is_the_workers_error(tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    begin = SharedFlag()
    worker = Worker("sender", run_replay, ReplaySettings(path=str(path)), begin)
    try:
        with pytest.raises(UsageError, match="give --fps"):
            worker.wait_ready(60)
    finally:
        worker.join(20)
        worker.close()


def test_reading_ahead_is_bounded():
    asked = []
    indices = (asked.append(i) or i for i in count())
    with closing(ahead(lambda index: index, indices, 4)) as payloads:
        for n in range(3):
            assert next(payloads) == n
            assert len(asked) == n + 5
