"""Merlin: its bytes, its damage, and whole acquisitions over TCP."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from streamer.check import check_file
from streamer.compression import decode
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.errors import (
    GeometryError,
    MessageError,
    MessageTooLargeError,
    PayloadError,
    SourceUnreachableError,
    TruncatedMessageError,
    UnknownEncodingError,
)
from streamer.merlin import MerlinParser
from streamer.merlin_connection import MpxReader
from streamer.records import Compression, Frame, FrameStatus, SeriesEnd, SeriesStart, StreamMessage
from tests.streamer.ingest_run import IngestRun
from tests.streamer.merlin_server import MerlinServer, acquisition, frame, frame_body, image, mpx

LIMIT = 1 << 20
N = 6


def messages(data: bytes, step: int = 1000, limit: int = LIMIT) -> list[bytearray]:
    """Cut a stream that arrives in pieces of `step` bytes into its messages."""
    at = 0

    def read(view: memoryview) -> int:
        nonlocal at
        piece = data[at : at + min(step, len(view))]
        view[: len(piece)] = piece
        at += len(piece)
        return len(piece)

    reader = MpxReader(read, limit)
    found = []
    while (message := reader.next_message()) is not None:
        found.append(message)
    return found


def parse(*bodies: bytes | bytearray, limit: int = LIMIT) -> list[StreamMessage | MessageError]:
    parser = MerlinParser(LIMIT, limit)
    received: list[StreamMessage | MessageError] = []
    for body in bodies:
        for parts in parser.split([memoryview(body)]):
            try:
                message = parser.parse(parts)
                assert message is not None
                received.append(message)
            except MessageError as error:
                received.append(error)
    return received


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_messages_are_cut_out_however_the_bytes_arrive(step: int) -> None:
    bodies = [b"HDR,x", b"", frame_body(image(1), 1), b"MPX,"]
    assert messages(b"".join(mpx(body) for body in bodies), step) == bodies


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_what_is_no_message_is_told_once_and_skipped(step: int) -> None:
    junk = b"GARBAGE" * 30_000
    found = messages(junk + mpx(b"one") + b"MPX,0000000000," + mpx(b"two") + b"MP", step)
    assert found == [junk[:15], b"one", b"MPX,0000000000,", b"two", b"MP"]


def test_a_message_above_the_limit_is_never_allocated() -> None:
    found = messages(mpx(b"a" * 50, 9_999_999_999) + mpx(b"one"), limit=100)
    assert found == [b"MPX,9999999999,", b"one"]
    assert messages(mpx(bytes(101)) + mpx(b"one"), limit=100) == [b"MPX,0000000102,", b"one"]


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
@pytest.mark.parametrize("header_bytes", [384, 768])
def test_a_frame_is_turned_into_our_byte_order_and_rows(dtype: str, header_bytes: int) -> None:
    shown = image(3, dtype=dtype)
    (received,) = parse(frame_body(shown, 3, header_bytes))
    assert isinstance(received, Frame)
    assert (received.header.frame_id, received.header.compression) == (2, Compression.NONE)
    assert received.header.t_detector == pytest.approx(1_589_820_709.000003, abs=1e-6)
    np.testing.assert_array_equal(decode(received), shown)


def test_golden_bytes_of_a_frame() -> None:
    """Header as in a file of a real detector (LiberTEM's data set), two by two pixels of 12 bits."""
    head = b"MQ1,000007,00384,01,0002,0002,U16,   1x1,01,2018-11-07 14:10:23.123456,0.001000,0,0,0,"
    (received,) = parse(head.ljust(384, b"\0") + bytes.fromhex("0001 0203 0a0b 0fff"))
    assert isinstance(received, Frame)
    assert received.header.frame_id == 6
    assert decode(received).tolist() == [[0x0A0B, 0x0FFF], [0x0001, 0x0203]]


def test_an_acquisition_begins_with_its_first_frame_and_ends_with_its_last() -> None:
    bodies = [acquisition(3)[15:], *(frame_body(image(n), n) for n in (1, 2, 3)), acquisition(0)[15:]]
    start, *frames, end, start_2, frame_2 = parse(*bodies, frame_body(image(1), 1))
    assert isinstance(start, SeriesStart)
    assert (start.n_frames_planned, start.shape, start.dtype) == (3, (24, 32), np.dtype("<u2"))
    assert start.extra["Chip ID"] == "W529_F5,-,-,-"
    assert [f.header.frame_id for f in frames if isinstance(f, Frame)] == [0, 1, 2]
    assert end == SeriesEnd(start.key)
    assert isinstance(start_2, SeriesStart)
    assert isinstance(frame_2, Frame)
    assert start.key != start_2.key == frame_2.header.key
    assert start_2.n_frames_planned == 0


@pytest.mark.parametrize(
    ("body", "error", "frame_id"),
    [
        (b"", MessageError, None),
        (b"GARBAGE", MessageError, None),
        (b"MQ1,0000", TruncatedMessageError, None),
        (frame_body(image(4), 4)[:-1], TruncatedMessageError, 3),
        (frame_body(image(4), 4)[:380], TruncatedMessageError, 3),
        (frame_body(image(4), 4) + b"x", PayloadError, 3),
        (frame_body(image(4), 4).replace(b"U16", b"R64"), UnknownEncodingError, 3),
        (frame_body(image(4), 4).replace(b"0032,0024", b"9999,9999"), MessageTooLargeError, 3),
        (frame_body(image(4), 4).replace(b"0032,0024", b"0000,0024"), MessageError, None),
        (frame_body(image(4), 4).replace(b"00384", b"99999"), TruncatedMessageError, 3),
        (frame_body(image(4), 4).replace(b"MQ1,000004", b"MQ1,000000"), MessageError, None),
        (frame_body(image(4), 4).replace(b"MQ1,000004", b"MQ1,00000x"), MessageError, None),
    ],
)
def test_damage_is_named(body: bytes, error: type[MessageError], frame_id: int | None) -> None:
    (received,) = parse(body)
    assert isinstance(received, error)
    assert received.frame_id == frame_id


@contextmanager
def recording(path: Path, server: MerlinServer, **source: Any) -> Iterator[IngestRun]:
    config = RunConfig(
        source=SourceConfig(address=server.address, **source),
        ingest=IngestConfig(end_timeout_s=0.5, message_limit_bytes=LIMIT),
        record=RecordConfig(path=str(path)),
        analysis=AnalysisConfig(enabled=False),
    )
    run = IngestRun(config)
    try:
        yield run
    finally:
        run.control.request_stop()
        server.close()


def record(path: Path, *connections: Iterable[bytes], **source: Any) -> dict[str, Any]:
    with recording(path, MerlinServer(*connections), **source) as run:
        return run.finish()


def expect(path: Path, numbers: Iterable[int]) -> None:
    with h5py.File(path) as file:
        stack = file["entry/stack"]
        assert stack["indices_image"][:].tolist() == [number - 1 for number in numbers]
        for row, frame_id in enumerate(stack["indices_image"][:]):
            np.testing.assert_array_equal(stack["intensity"][row], image(frame_id + 1))


SERIES = [acquisition(N), *(frame(image(n), n) for n in range(1, N + 1))]


def test_an_acquisition_is_recorded_bit_for_bit(tmp_path: Path) -> None:
    summary = record(tmp_path / "run.nxs", SERIES)
    assert (summary["planned"], summary["recorded"], summary["lost"]) == (N, N, 0)
    assert summary["ended_by"] == "end message"
    expect(tmp_path / "run.nxs", range(1, N + 1))
    assert check_file(tmp_path / "run.nxs").ok


def test_a_connection_cut_in_mid_frame_names_the_frame_and_goes_on_after(tmp_path: Path) -> None:
    first = b"".join(SERIES[:4])[:-700]  # ends within frame 3
    summary = record(tmp_path / "run.nxs", [first], SERIES[5:])
    expect(tmp_path / "run.nxs", [1, 2, 5, 6])
    assert summary["bad_messages"] == {"truncated message": 1}
    assert (summary["damaged"], summary["missing"], summary["lost"]) == (1, 1, 2)
    with h5py.File(tmp_path / "run.nxs") as file:
        status = file["entry/ledger/status"][:].tolist()
    assert status[2:4] == [FrameStatus.DAMAGED, FrameStatus.MISSING]


def test_garbage_and_lies_cost_no_other_frame(tmp_path: Path) -> None:
    liar = mpx(frame_body(image(3), 3), 200)  # says it is shorter than it is
    series = [b"GARBAGE" * 999, *SERIES[:3], liar, SERIES[4], b"MPX,", *SERIES[5:]]
    summary = record(tmp_path / "run.nxs", series)
    expect(tmp_path / "run.nxs", [1, 2, 4, 5, 6])
    assert (summary["damaged"], summary["missing"], summary["lost"]) == (1, 0, 1)
    assert summary["bad_messages"] == {"bad message": 3, "truncated message": 1}


def test_a_frame_of_another_shape_is_named(tmp_path: Path) -> None:
    series = [*SERIES[:3], frame(image(3, (12, 32)), 3), *SERIES[4:]]
    summary = record(tmp_path / "run.nxs", series)
    assert summary["bad_messages"] == {GeometryError.label: 1}
    assert (summary["recorded"], summary["lost"]) == (N - 1, 1)


def test_the_acquisition_is_started_through_the_control_port(tmp_path: Path) -> None:
    server = MerlinServer(SERIES)
    server.wait_for_start()
    with recording(tmp_path / "run.nxs", server, control_port=server.control_port) as run:
        assert run.finish()["recorded"] == N
    assert server.commands == ["MPX,0000000023,CMD,STARTACQUISITION,0", "MPX,0000000018,CMD,SOFTTRIGGER,0"]


def test_a_detector_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    server = MerlinServer()
    server.close()
    with recording(tmp_path / "run.nxs", server, connect_timeout_s=0.2) as run:
        with pytest.raises(SourceUnreachableError, match=r"nothing answers at merlin://127\.0\.0\.1:"):
            run.finish()
    assert not (tmp_path / "run.nxs").exists()


def test_a_bridge_that_fails_closes_the_file_and_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(reader: MpxReader) -> bytearray | None:
        message = next_message(reader)
        if message is not None and message.startswith(b"MQ1,000003"):
            raise ZeroDivisionError("a fault of ours")
        return message

    next_message = MpxReader.next_message
    monkeypatch.setattr(MpxReader, "next_message", fail)
    with recording(tmp_path / "run.nxs", MerlinServer(SERIES)) as run:
        with pytest.raises(Exception, match="a fault of ours"):
            run.finish()
    assert (run.summary["recorded"], run.summary["missing"]) == (2, 4)
    report = check_file(tmp_path / "run.nxs")
    assert (report.state, report.recorded, report.lost, report.problems) == ("complete", 2, 4, ())
