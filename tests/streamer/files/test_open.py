"""Which reader a file gets, and what is said where there is none."""

import logging
import sys
from contextlib import closing

import h5py
import pytest

from streamer.errors import UsageError
from streamer.files import open_file
from tests.streamer.files import writers as w


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        open_file(tmp_path / "a.mrc")


def test_unknown_extension_lists_what_is_supported(tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(b"x")
    with pytest.raises(
        UsageError, match=r"unknown extension '\.docx'.*\.nxs.*pip install atomstream\[formats\]"
    ):
        open_file(path)


def test_unknown_format_lists_the_readers(tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    with pytest.raises(UsageError, match=r"no reader 'docx': expected atomstream, .*digitalmicrograph"):
        open_file(path, format="docx")


def test_hdf5_of_another_kind(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(UsageError, match="neither an atomstream nor a DECTRIS"):
        open_file(path)


def test_the_format_that_is_given_wins_over_the_extension(tmp_path):
    path = w.write_mrc(tmp_path / "a.dat", w.counted())
    with closing(open_file(path, format="MRC")) as file:
        assert file.info.format == "MRC"


def test_a_data_set_is_refused_where_there_is_one_only(tmp_path):
    path = w.write_npy(tmp_path / "a.npy", w.counted())
    with pytest.raises(UsageError, match="--dataset"):
        open_file(path, dataset="1")


@pytest.mark.parametrize(
    ("name", "package"), [("a.mrc", "mrcfile"), ("a.tif", "tifffile"), ("a.dm4", "rsciio")]
)
def test_a_missing_package_is_named_with_the_extra(name, package, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, package, None)  # what Python does for a package that is not there
    with pytest.raises(UsageError, match=r"pip install 'atomstream\[formats\]'"):
        open_file(path)


def test_what_a_reader_itself_needs_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.blo"
    path.write_bytes(b"x")
    monkeypatch.delitem(sys.modules, "rsciio.blockfile", raising=False)
    monkeypatch.delitem(sys.modules, "rsciio.blockfile._api", raising=False)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UsageError, match="skimage"):
        open_file(path)


@pytest.mark.parametrize("log", ["tifffile", "rsciio"])
@pytest.mark.parametrize("damaged", [False, True])
def test_another_library_s_log_is_left_as_it_was(log, damaged, tmp_path):
    frames = w.counted()
    if log == "tifffile":
        path = w.write_tiff(tmp_path / "a.tif", frames, compression="zlib")
    else:
        path = w.write_rosetta(tmp_path / "a.hspy", "hspy", frames)
    if damaged:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    logger = logging.getLogger(log)
    before = (logger.level, list(logger.filters), list(logger.handlers), logger.disabled)
    if damaged:
        with pytest.raises(UsageError):
            open_file(path)
    else:
        with closing(open_file(path)) as file:
            file.frame(3)
    assert (logger.level, logger.filters, logger.handlers, logger.disabled) == before
