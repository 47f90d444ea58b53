"""The writer of a result file: its rules against overwriting, against late structure, and for the disk."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from math import nan
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from streamer.counters import Counters
from streamer.disk_space import DiskSpace, NoRoomError
from streamer.errors import PayloadError, RecordingError, UsageError
from streamer.file_layout import FileSpec
from streamer.latency import LatencyHistogram
from streamer.records import Compression
from streamer.result_file import ResultWriter
from streamer.result_paths import expect_new_file
from streamer.swmr import ColumnSpec, SwmrFile, text
from tests.streamer.ingest_run import DTYPE, SHAPE, T0, frame_of, image_of, start_of

SPEC = FileSpec(start_of(3), SHAPE, DTYPE, Compression.BSLZ4, T0)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[ResultWriter]:
    made = ResultWriter(tmp_path / "run.nxs", SPEC)
    yield made
    made.abandon()


def _finish(writer: ResultWriter) -> None:
    writer.finish("complete", "end message", T0, 0, Counters(), {})


@pytest.mark.parametrize("late", ["group", "value", "column", "attributes", "link", "soft_link"])
def test_nothing_is_made_once_readers_are_admitted(tmp_path: Path, late: str) -> None:
    """HDF5 through h5py would let all of these pass, and the file would not be safe to read."""
    file = SwmrFile(tmp_path / "file.h5")
    file.group("/group")
    file.value("/group/value", 1)
    file.show_to_readers()
    arguments: dict[str, tuple[object, ...]] = {
        "group": ("/late",),
        "value": ("/late", 1),
        "column": ("/group", ColumnSpec("late", "<i8")),
        "attributes": ("/group",),
        "link": ("/late", "/group/value"),
        "soft_link": ("/late", "/group/value"),
    }
    with pytest.raises(RecordingError, match="before readers are admitted"):
        getattr(file, late)(*arguments[late])
    file.close()


def test_texts_have_a_fixed_length_and_are_cut_between_characters(tmp_path: Path) -> None:
    assert text("aå", 2) == b"a"
    file = SwmrFile(tmp_path / "file.h5")
    file.value("/text", "Å")
    file.close()
    with h5py.File(tmp_path / "file.h5") as opened:
        assert opened["text"].dtype == "S2"


def test_an_existing_file_is_never_opened(tmp_path: Path, writer: ResultWriter) -> None:
    _finish(writer)
    before = writer.path.read_bytes()
    with pytest.raises(FileExistsError):
        ResultWriter(writer.path, SPEC)
    assert writer.path.read_bytes() == before


def test_a_payload_with_an_empty_header_is_stored_so_that_hdf5_reads_it(writer: ResultWriter) -> None:
    """LiberTEM's mock detector leaves the 12 bytes zero."""
    frame = frame_of(0)
    bare = replace(frame, payload=memoryview(bytes(12) + bytes(frame.payload[12:])))
    writer.append_frame(bare, 0.0)
    _finish(writer)
    with h5py.File(writer.path) as file:
        np.testing.assert_array_equal(file["entry/stack/intensity"][0], image_of(0))


@pytest.mark.parametrize("compression", list(Compression))
def test_a_payload_of_the_wrong_length_never_becomes_a_chunk(
    writer: ResultWriter, compression: Compression
) -> None:
    frame = frame_of(0, compression=compression)
    for length in (0, 5, 12):
        with pytest.raises(PayloadError):
            writer.append_frame(replace(frame, payload=frame.payload[:length]), 0.0)
    assert writer.n_frames == 0


def test_a_file_that_cannot_be_laid_out_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(space: DiskSpace, end_bytes: int) -> None:
        raise NoRoomError(28, "the disk is full")

    monkeypatch.setattr(DiskSpace, "ensure", refuse)
    with pytest.raises(NoRoomError):
        ResultWriter(tmp_path / "run.nxs", SPEC)
    assert list(tmp_path.iterdir()) == []


def test_a_payload_that_must_be_decoded_and_cannot_be_leaves_no_trace(writer: ResultWriter) -> None:
    frame = frame_of(0, compression=Compression.LZ4)
    with pytest.raises(PayloadError):
        writer.append_frame(replace(frame, payload=frame.payload[:40]), 0.0)
    assert writer.append_frame(frame_of(1), 0.0) == 0
    _finish(writer)
    with h5py.File(writer.path) as file:
        assert file["entry/stack/intensity"].shape[0] == 1


def test_a_file_with_frames_is_never_discarded(writer: ResultWriter) -> None:
    writer.append_frame(frame_of(0), 0.0)
    with pytest.raises(RecordingError, match="holds 1 frames"):
        writer.discard()
    assert writer.path.exists()


def test_the_pixel_size_is_optional(tmp_path: Path) -> None:
    start = replace(start_of(1), pixel_size_A=None, frame_time_s=None)
    writer = ResultWriter(tmp_path / "run.nxs", replace(SPEC, start=start))
    _finish(writer)
    with h5py.File(writer.path) as file:
        assert file["entry/stack/axis_i"].attrs["units"] == "px"
        assert np.isnan(file["entry/process/series/pixel_size_nm"][()])
        assert file["Experiments/frames/axis-2"].attrs["units"] == "px"


def test_other_programs_find_the_stack_under_their_own_names(writer: ResultWriter) -> None:
    for i in range(3):
        writer.append_frame(frame_of(i), 0.01 * i)
    _finish(writer)
    with h5py.File(writer.path) as file:
        assert file["entry"].attrs["default"] == "stack"
        assert file["entry/stack"].attrs["signal"] == "intensity"
        for name in ("Experiments/frames/data", "emd/frames/data"):
            assert file[name] == file["entry/stack/intensity"]
        assert file["Experiments/frames/axis-0"].attrs["size"] == 3


@pytest.mark.parametrize(
    ("name", "error"), [("run.h5", "must end in .nxs"), ("none/run.nxs", "does not exist")]
)
def test_a_path_that_cannot_be_used_is_refused_before_the_run(tmp_path: Path, name: str, error: str) -> None:
    with pytest.raises((UsageError, RecordingError), match=error):
        expect_new_file(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="space is reserved with fallocate, which is Linux's")
def test_reserved_space_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        space = DiskSpace(path, file.fileno())
        space.ensure(10)
        if path.stat().st_blocks * 512 < 2**20:
            pytest.skip("this file system cannot reserve blocks beyond a file's end")
        file.write(b"x" * 10)
    assert path.stat().st_size == 10
    space.give_back()
    assert path.stat().st_size == 10
    assert path.stat().st_blocks * 512 < 2**20


def test_more_than_the_disk_holds_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file, pytest.raises(NoRoomError, match="disk is full"):
        DiskSpace(path, file.fileno()).ensure(2**60)


def test_percentiles_of_a_million_durations_take_no_more_room_than_those_of_one() -> None:
    rng = np.random.default_rng(0)
    durations = rng.lognormal(-3, 1, 20_000)
    histogram = LatencyHistogram()
    assert all(np.isnan(histogram.percentiles_s()))
    for duration in durations:
        histogram.add(float(duration))
    histogram.add(nan)
    expected = np.percentile(durations, (50, 99, 99.9, 100))
    assert histogram.percentiles_s()[-1] == durations.max() == histogram.longest_s
    assert histogram.n == len(durations)
    np.testing.assert_allclose(histogram.percentiles_s(), expected, rtol=0.01)
    twice = histogram.copy()
    twice.merge(histogram)
    np.testing.assert_allclose(twice.percentiles_s(), expected, rtol=0.01)
