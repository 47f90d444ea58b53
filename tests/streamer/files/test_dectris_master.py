"""DECTRIS masters: both layouts, every filter, missing data files, chunks handed on as they are."""

from contextlib import closing

import h5py
import hdf5plugin
import numpy as np
import pytest

from streamer.compression import decode
from streamer.errors import FileReadError, UsageError
from streamer.files import open_file
from streamer.records import Compression, Frame, FrameHeader, SeriesKey
from tests.streamer.files import writers as w

FILTERS = {
    "bslz4": (hdf5plugin.Bitshuffle(nelems=0, cname="lz4"), Compression.BSLZ4),
    "lz4": (hdf5plugin.LZ4(), Compression.LZ4),
    "none": ({}, Compression.NONE),
    "bszstd": (hdf5plugin.Bitshuffle(nelems=0, cname="zstd"), None),
    "gzip": ({"compression": "gzip"}, None),
}


def decoded(chunk, info):
    compression, payload = chunk
    header = FrameHeader(SeriesKey(1), 0, info.shape, info.dtype, compression)
    return decode(Frame(header, payload))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4"])
def test_chunks_are_payloads_where_streams_know_the_filter(name, dtype, tmp_path):
    filters, compression = FILTERS[name]
    frames = w.counted(dtype)
    with closing(open_file(w.write_dectris_legacy(tmp_path, frames, filters=filters))) as file:
        assert file.info.n_frames == w.N_FRAMES
        assert file.info.saturation_value == 60000
        for index in (6, 0, 3, 2):
            np.testing.assert_array_equal(file.frame(index), frames[index])
            chunk = file.chunk(index)
            if compression is None:
                assert chunk is None
            else:
                assert chunk[0] is compression
                np.testing.assert_array_equal(decoded(chunk, file.info), frames[index])


@pytest.mark.parametrize("dtype", ["<i4", ">u2"])
def test_signed_and_big_endian_chunks_are_no_payloads(dtype, tmp_path):
    frames = w.counted(dtype)
    with closing(open_file(w.write_dectris_legacy(tmp_path, frames))) as file:
        assert file.chunk(0) is None
        np.testing.assert_array_equal(file.frame(0), frames[0])


def test_chunks_that_are_not_one_frame_are_no_payloads(tmp_path):
    frames = w.counted()
    path = w.write_dectris_legacy(tmp_path, frames, per_file=7)
    with h5py.File(tmp_path / "series_1_data_000001.h5", "w") as file:
        file.create_dataset("/entry/data/data", data=frames, chunks=(2, *w.SHAPE))
    with closing(open_file(path)) as file:
        assert file.chunk(0) is None
        np.testing.assert_array_equal(file.frame(5), frames[5])


def test_a_chunk_stored_without_its_filter_is_named_so(tmp_path):
    frames = w.counted()
    path = w.write_dectris_legacy(tmp_path, frames, per_file=7)
    with h5py.File(tmp_path / "series_1_data_000001.h5", "r+") as file:
        file["/entry/data/data"].id.write_direct_chunk((2, 0, 0), frames[2].tobytes(), filter_mask=1)
    with closing(open_file(path)) as file:
        assert file.chunk(2)[0] is Compression.NONE
        np.testing.assert_array_equal(decoded(file.chunk(2), file.info), frames[2])
        np.testing.assert_array_equal(decoded(file.chunk(3), file.info), frames[3])


@pytest.mark.parametrize("channel", ["", "threshold_1", "threshold_2"])
def test_a_virtual_data_set_is_followed_to_its_chunks(channel, tmp_path):
    frames = np.stack([w.counted(), w.counted()[:, ::-1]], axis=1)
    expected = frames[:, 1 if channel == "threshold_2" else 0]
    with closing(open_file(w.write_dectris_2024(tmp_path, frames), dataset=channel)) as file:
        assert (file.info.n_frames, file.info.shape) == (w.N_FRAMES, w.SHAPE)
        for index in range(w.N_FRAMES):
            np.testing.assert_array_equal(file.frame(index), expected[index])
            assert file.chunk(index)[0] is Compression.BSLZ4
            np.testing.assert_array_equal(decoded(file.chunk(index), file.info), expected[index])


def test_an_unknown_channel_is_refused_with_the_known_ones(tmp_path):
    path = w.write_dectris_2024(tmp_path, np.stack([w.counted()] * 2, axis=1))
    with pytest.raises(UsageError, match="no channel 'difference'; it has threshold_1, threshold_2"):
        open_file(path, dataset="difference")


def test_frames_in_the_master_itself(tmp_path):
    frames = w.counted()[:, None]
    path = tmp_path / "series_3_master.h5"
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        file.create_dataset("/entry/data/data", data=frames, chunks=(1, 1, *w.SHAPE), **hdf5plugin.LZ4())
    with closing(open_file(path)) as file:
        np.testing.assert_array_equal(decoded(file.chunk(4), file.info), frames[4, 0])
        assert file.info.frame_time_s is None
        assert "no /entry/instrument/detector/frame_time" in file.info.frame_time_from


@pytest.mark.parametrize("layout", ["legacy", "2024"])
def test_missing_data_files_at_the_end_are_named(layout, tmp_path):
    frames = w.counted()
    if layout == "legacy":
        path, name = w.write_dectris_legacy(tmp_path, frames), "series_1_data_000003.h5"
    else:
        path, name = w.write_dectris_2024(tmp_path, frames[:, None]), "series_2_data_000003.h5"
    (tmp_path / name).unlink()
    with closing(open_file(path)) as file:
        assert file.info.n_frames == 6
        assert "last 1 of 3 data files" in file.info.notes[0]
        np.testing.assert_array_equal(file.frame(5), frames[5])


@pytest.mark.parametrize("missing", [(2,), (1, 2, 3), (1,)])
def test_missing_data_files_before_others_are_refused(missing, tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    for number in missing:
        (tmp_path / f"series_1_data_{number:06d}.h5").unlink()
    with pytest.raises(UsageError, match=f"series_1_data_{missing[0]:06d}.h5 is not there"):
        open_file(path)


def test_a_damaged_chunk_is_named(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted(), per_file=7)
    with h5py.File(tmp_path / "series_1_data_000001.h5", "r+") as file:
        file["/entry/data/data"].id.write_direct_chunk((3, 0, 0), b"\0" * 40)
    with closing(open_file(path)) as file:
        with pytest.raises(FileReadError, match=r"frame 3 of .*data_000001"):
            file.frame(3)
        np.testing.assert_array_equal(file.frame(4), w.counted()[4])


def test_without_bitshuffled_lz4_a_truncated_data_file_is_refused(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted(), per_file=7)
    data = tmp_path / "series_1_data_000001.h5"
    data.write_bytes(data.read_bytes()[:1500])
    with pytest.raises(UsageError, match="truncated"):
        open_file(path)
