"""Files that end too early or hold garbage: refused in one line when they are opened, or at the frame."""

from contextlib import closing

import h5py
import numpy as np
import pytest

from streamer.errors import FileReadError, UsageError
from streamer.files import open_file
from tests.streamer.files import writers as w

WRITERS = {
    "mrc": lambda d, f: w.write_mrc(d / "a.mrc", f),
    "tiff": lambda d, f: w.write_tiff(d / "a.tif", f),
    "npy": lambda d, f: w.write_npy(d / "a.npy", f),
    "ser": lambda d, f: w.write_ser(d / "a.ser", f),
    "dm4": lambda d, f: w.write_dm(d / "a.dm4", f),
    "velox": lambda d, f: w.write_velox(d / "a.emd", f),
    "hspy": lambda d, f: w.write_rosetta(d / "a.hspy", "hspy", f),
    "dectris": w.write_dectris_legacy,
}


def read_all(path):
    with closing(open_file(path)) as file:
        for index in range(file.info.n_frames):
            file.frame(index)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("keep", [0.6, 0.05])
def test_a_truncated_file_is_refused(name, keep, tmp_path):
    path = WRITERS[name](tmp_path, w.counted())
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises((UsageError, FileReadError), match=path.stem.partition("_")[0]):
        read_all(path)


@pytest.mark.parametrize(
    "suffix", ["mrc", "tif", "npy", "mib", "ser", "dm3", "dm4", "emd", "hspy", "nxs", "h5"]
)
@pytest.mark.parametrize("content", [b"", b"\xff" * 700], ids=["empty", "garbage"])
def test_garbage_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=path.name):
        open_file(path)


def test_a_mib_file_cut_in_a_frame_keeps_the_others_and_says_so(tmp_path):
    path = w.write_mib(tmp_path / "a.mib", w.counted())
    path.write_bytes(path.read_bytes()[:-10])
    with closing(open_file(path)) as file:
        assert file.info.n_frames == w.N_FRAMES - 1
        assert "cut off" in file.info.notes[0]


def test_an_aborted_series_keeps_its_images_and_says_so(tmp_path):
    frames = w.counted()
    with closing(open_file(w.write_ser(tmp_path / "a.ser", frames, n_planned=20))) as file:
        assert file.info.n_frames == w.N_FRAMES
        assert "aborted after 7 of 20" in file.info.notes[0]
        np.testing.assert_array_equal(file.frame(6), frames[6])


def test_a_damaged_page_is_named(tmp_path):
    path = w.write_tiff(tmp_path / "a.tif", w.counted(), compression="zlib")
    data = bytearray(path.read_bytes())
    with closing(open_file(path)) as file:
        where = file._pages[2].dataoffsets[0]
    data[where : where + 40] = b"\xff" * 40
    path.write_bytes(data)
    with closing(open_file(path)) as file:
        file.frame(1)
        with pytest.raises(FileReadError, match="page 2"):
            file.frame(2)


def test_a_damaged_chunk_costs_only_its_frame(tmp_path):
    frames = w.counted()
    path = w.write_rosetta(tmp_path / "a.hspy", "hspy", frames, compression="gzip", chunks=(1, *w.SHAPE))
    with h5py.File(path, "r+") as file:
        stack = next(iter(file["Experiments"].values()))["data"]
        stack.id.write_direct_chunk((4, 0, 0), b"\0" * 40)
    with closing(open_file(path)) as file:
        for index in (0, 1, 2, 3, 5, 6):
            np.testing.assert_array_equal(file.frame(index), frames[index])
        with pytest.raises(FileReadError, match="frame 4"):
            file.frame(4)


def test_a_pickle_is_not_loaded(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"a\.npy"):
        open_file(path)


def test_raw_merlin_data_are_refused(tmp_path):
    path = w.write_mib(tmp_path / "a.mib", w.counted())
    path.write_bytes(path.read_bytes().replace(b",U16,", b",R64,"))
    with pytest.raises(UsageError, match="R64"):
        open_file(path)
