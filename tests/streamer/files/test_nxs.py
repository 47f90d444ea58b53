"""Our own recordings as a source."""

import shutil
from contextlib import closing

import h5py
import numpy as np
import pytest

from streamer.compression import decode
from streamer.errors import UsageError
from streamer.files import open_file
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey
from streamer.swmr import LIBVER
from tests.streamer.ingest_run import SHAPE, frame_of, image_of, record, series_of, start_of


def test_what_was_recorded_comes_back_as_it_was_received(tmp_path):
    path = tmp_path / "a.nxs"
    record(path, *series_of(range(5), 5))
    with closing(open_file(path)) as file:
        info = file.info
        assert (info.n_frames, info.shape, info.dtype) == (5, SHAPE, np.dtype("<u2"))
        assert info.pixel_size_A == pytest.approx(0.25)
        assert info.frame_time_s == pytest.approx(0.01)
        assert info.saturation_value == 60_000
        for index in range(5):
            np.testing.assert_array_equal(file.frame(index), image_of(index))
            assert file.chunk(index) == (Compression.BSLZ4, frame_of(index).payload)


@pytest.mark.parametrize("first", list(Compression))
def test_every_chunk_is_named_by_its_own_compression(first, tmp_path):
    path = tmp_path / "a.nxs"
    kinds = [first, Compression.NONE, first]
    messages = [frame_of(i, compression=kind) for i, kind in enumerate(kinds)]
    record(path, start_of(3), *messages, SeriesEnd(messages[0].header.key))
    with closing(open_file(path)) as file:
        for index, kind in enumerate(kinds):
            compression, payload = file.chunk(index)
            assert compression is kind
            header = FrameHeader(SeriesKey(1), index, SHAPE, np.dtype("<u2"), compression)
            np.testing.assert_array_equal(decode(Frame(header, payload)), image_of(index))


def test_frames_that_never_came_are_no_frames(tmp_path):
    path = tmp_path / "a.nxs"
    record(path, *series_of([0, 3, 4], 5))
    with closing(open_file(path)) as file:
        assert file.info.n_frames == 3
        np.testing.assert_array_equal(file.frame(1), image_of(3))


def test_a_run_without_frame_time_has_its_frames_interval(tmp_path):
    path = tmp_path / "a.nxs"
    record(path, *series_of(range(4), 4))
    with h5py.File(path, "r+") as file:
        file["/entry/process/series/frame_time_s"][()] = np.nan
        file["/entry/stack/time"][:] = [0, 0.1, 0.2, 0.9]
    with closing(open_file(path)) as file:
        assert file.info.frame_time_s == pytest.approx(0.1)
        assert "median" in file.info.frame_time_from


def test_a_run_left_behind_by_a_crash_points_to_its_repair(tmp_path):
    path = tmp_path / "a.nxs"
    record(path, *series_of(range(2), 2))
    left_behind = tmp_path / "b.nxs"
    with h5py.File(path, "r+", libver=LIBVER) as file:
        file.swmr_mode = True
        shutil.copy(path, left_behind)
    with pytest.raises(UsageError, match="check --repair"):
        open_file(left_behind)
