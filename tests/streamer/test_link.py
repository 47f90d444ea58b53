"""Messages between our own processes: what is sent comes back; garbage is a MessageError and no more."""

import contextlib
import dataclasses
import struct
from math import isnan, nan

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from streamer import link, window_link
from streamer.errors import MessageError, TruncatedMessageError
from streamer.message_parts import Buffer
from streamer.records import (
    CHANGE_DTYPE,
    COLUMN_DTYPE,
    MOST_SHAPES,
    OUTLINE_POINTS,
    PARTICLE_DTYPE,
    AnalyserInfo,
    AnalyserLost,
    Compression,
    Frame,
    FrameFailure,
    FrameHeader,
    FrameResult,
    SeriesKey,
    SeriesStart,
)

KEY = SeriesKey(3, "01HRCJF8")
START = SeriesStart(KEY, 10, (4, 6), np.dtype("<u2"), pixel_size_A=0.2, saturation_value=60_000)


def _views(parts: list[Buffer]) -> list[memoryview]:
    return [memoryview(part).cast("B") for part in parts]


def _frame(dtype: str = "<u2") -> Frame:
    header = FrameHeader(KEY, 7, (4, 6), np.dtype(dtype), Compression.BSLZ4, t_detector=12.5)
    return Frame(header, memoryview(b"payload"))


def _columns(n: int = 3) -> np.ndarray:
    columns = np.zeros(n, COLUMN_DTYPE)
    columns["y"], columns["count"], columns["track_id"] = np.arange(n) + 0.25, np.arange(n) + 1, -1
    return columns


def _particles(n: int = 2) -> np.ndarray:
    particles = np.zeros(n, PARTICLE_DTYPE)
    particles["y"], particles["shape"] = np.arange(n) + 0.25, np.arange(n) - 1
    particles["shape_probabilities"][:, :2] = (0.25, 0.75)
    return particles


def _result(**changes: object) -> FrameResult:
    fields = {
        "frame_id": 7, "key": KEY, "columns": _columns(), "total_atoms": 6.0, "total_atoms_std": 0.5,
        "t_received": 1.0, "t_analysed": 2.0, "t_published": 3.0,
    }  # fmt: skip
    return FrameResult(**{**fields, **changes})  # type: ignore[arg-type]


def _view() -> window_link.View:
    header = window_link.ViewHeader(
        series_id=3, frame_id=7, height=8, width=12, view_height=4, view_width=6, bin_px=2, raw_low=0.0,
        raw_high=9.0, denoised_low=0.5, denoised_high=1.5, pixel_size_A=0.2, t_detector=nan, t_received=1.0,
        t_published=2.0, total_atoms=6.0, total_atoms_std=0.5, drift_y_px=0.0, drift_x_px=0.0, ood_score=nan,
        mean_counts=1.5,
    )  # fmt: skip
    raw = np.arange(24, dtype=np.uint8).reshape(4, 6)
    return window_link.View(header, raw, raw[::-1], _columns(), _particles())


def test_task_passes_the_payload_on_without_a_copy() -> None:
    frame = _frame()
    parts = link.encode_task(frame, START, t_received=99.0)
    assert parts[1] is frame.payload
    task = link.decode_task(_views(parts))
    assert task.frame.header == frame.header
    assert bytes(task.frame.payload) == b"payload"
    assert (task.t_received, task.pixel_size_A, task.saturation_value) == (99.0, 0.2, 60_000)


def test_task_passes_the_message_on_that_most_of_is_the_payload() -> None:
    message = zmq.Frame(b"envelope" + b"p" * 40 + b"tail")
    frame = dataclasses.replace(_frame(), payload=message.buffer[8:48])
    parts = link.encode_task(frame, START, t_received=99.0)
    assert parts[1] is message
    task = link.decode_task(_views(parts))
    assert bytes(task.frame.payload) == b"p" * 40


def test_task_passes_one_of_many_payloads_in_a_message_on_alone() -> None:
    message = zmq.Frame(bytes(range(100)))
    frame = dataclasses.replace(_frame(), payload=message.buffer[20:40])
    parts = link.encode_task(frame, START, t_received=99.0)
    assert parts[1] is frame.payload
    assert bytes(link.decode_task(_views(parts)).frame.payload) == bytes(range(20, 40))


@pytest.mark.parametrize(("offset", "n_bytes"), [(-1, 7), (1, 7), (0, 8), (8, 1), (0, -1)])
def test_a_task_whose_payload_is_outside_its_message_is_refused(offset: int, n_bytes: int) -> None:
    header, payload = link.encode_task(_frame(), START, t_received=99.0)
    fields = [*msgpack.unpackb(header)[:-3], offset, n_bytes, 0]
    with pytest.raises(TruncatedMessageError, match="of a part of 7"):
        link.decode_task(_views([msgpack.packb(fields), payload]))


def test_task_header_bytes_are_fixed() -> None:
    """Another MessagePack library reads the header as the array docs/wire-format.md lists."""
    header = link.encode_task(_frame(), START, t_received=99.0, series=2)[0]
    assert msgpack.unpackb(header) == [
        "task", 3, "01HRCJF8", 7, 4, 6, "<u2", "bslz4", 12.5, 99.0, 0.2, 60_000, 0, 7, 2,
    ]  # fmt: skip


@pytest.mark.parametrize("maps", [False, True])
def test_result_comes_back(maps: bool) -> None:
    image = np.arange(24, dtype=np.float16).reshape(4, 6) if maps else None
    changes = np.array([(4, 1.5, 2.5, 3, 0, 0.75)], CHANGE_DTYPE)
    sent = _result(denoised=image, atom_count=image, changes=changes, fused_atoms=5.5, particles=_particles())
    got = link.decode_result(_views(link.encode_result(sent)))
    assert isinstance(got, FrameResult)
    assert got.frame_id == 7
    assert got.key == KEY
    assert isnan(got.ood_score)
    np.testing.assert_array_equal(got.columns, sent.columns)
    np.testing.assert_array_equal(got.changes, changes)
    np.testing.assert_array_equal(got.particles, sent.particles)
    assert got.fused_atoms == 5.5
    assert isnan(got.fused_atoms_std)
    for stored in (got.denoised, got.atom_count):
        assert (stored is None) is (image is None)
        if image is not None:
            np.testing.assert_array_equal(stored, image)


def test_failure_comes_back() -> None:
    failure = FrameFailure.of(_frame().header, "damaged payload")
    assert link.decode_result(_views(link.encode_failure(failure))) == failure


def test_view_comes_back() -> None:
    sent = _view()
    got = window_link.decode_view(_views(window_link.encode_view(sent)))
    np.testing.assert_array_equal(got.raw, sent.raw)
    np.testing.assert_array_equal(got.denoised, sent.denoised)
    np.testing.assert_array_equal(got.columns, sent.columns)
    np.testing.assert_array_equal(got.particles, sent.particles)
    assert got.header.view_width == 6


def test_a_result_without_particles_takes_no_bytes_for_them() -> None:
    parts = link.encode_result(_result())
    assert (len(parts), parts[5]) == (6, b"")


def test_particle_bytes_are_fixed() -> None:
    """A row as docs/wire-format.md lists it, written by `struct` from nothing but that table."""
    values = [150.5, 160.25, 3.01, 3.205, 5.5, 6.0, 5.0, 23.75]
    probabilities = [0.25, 0.75, *[nan] * (MOST_SHAPES - 2)]
    outline = [float(i) for i in range(2 * OUTLINE_POINTS)]
    golden = struct.pack(f"<8fb8fB{2 * OUTLINE_POINTS}f", *values, 1, *probabilities, 1, *outline)
    row = np.zeros(1, PARTICLE_DTYPE)
    row["y"], row["x"], row["centre"], row["size"] = 150.5, 160.25, (3.01, 3.205), 5.5
    row["axes"], row["area"], row["shape"], row["touches_border"] = (6.0, 5.0), 23.75, 1, 1
    row["shape_probabilities"], row["outline"] = probabilities, np.reshape(outline, (-1, 2))
    assert link.encode_result(_result(particles=row))[5] == golden
    assert PARTICLE_DTYPE.itemsize == len(golden) == 258


def test_particles_cut_short_are_refused() -> None:
    parts = link.encode_result(_result(particles=_particles()))
    parts[5] = bytes(parts[5])[:-1]
    with pytest.raises(MessageError, match="particles take 258 bytes each, got 515 bytes"):
        link.decode_result(_views(parts))


def test_unknown_pixel_type_is_refused() -> None:
    with pytest.raises(MessageError, match="<f8"):
        link.decode_task(_views(link.encode_task(_frame("<f8"), START, 0.0)))


@pytest.mark.parametrize(
    "decode", [link.decode_task, link.decode_result, window_link.decode_view, window_link.decode_status]
)
@given(parts=st.lists(st.binary(max_size=40), max_size=6))
def test_garbage_is_only_ever_a_message_error(decode, parts) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MessageError):
        decode(_views(parts))


@given(flip=st.data())
def test_a_flipped_byte_is_only_ever_a_message_error(flip) -> None:  # type: ignore[no-untyped-def]
    message = bytearray(memoryview(link.encode_failure(FrameFailure(7, KEY, "damaged payload"))[0]))
    message[flip.draw(st.integers(0, len(message) - 1))] ^= flip.draw(st.integers(1, 255))
    with contextlib.suppress(MessageError):
        link.decode_result([memoryview(bytes(message))])


@given(cut=st.data())
def test_a_truncated_view_is_refused(cut) -> None:  # type: ignore[no-untyped-def]
    parts = [bytes(part) for part in _views(window_link.encode_view(_view()))]
    index = cut.draw(st.integers(1, len(parts) - 1))
    length = cut.draw(st.integers(0, len(parts[index]) - 1))
    parts[index] = parts[index][:length]
    table = {4: ("columns", COLUMN_DTYPE), 5: ("particles", PARTICLE_DTYPE)}.get(index)
    if table is not None and length % table[1].itemsize == 0:
        assert len(getattr(window_link.decode_view(_views(parts)), table[0])) == length // table[1].itemsize
    else:
        with pytest.raises(MessageError):
            window_link.decode_view(_views(parts))


def test_an_analyser_introduces_itself() -> None:
    info = AnalyserInfo("openvino", "CPU", "FP32", "2025.3", {"heights.onnx": "ab" * 32}, "", ("cube",))
    assert link.decode_result(_views(link.encode_analyser(info))) == info


def test_the_news_of_a_lost_analyser_comes_back() -> None:
    parts = [memoryview(part) for part in link.encode_lost(AnalyserLost("analyser 1 died"))]
    assert link.decode_result(parts) == AnalyserLost("analyser 1 died")
