"""DECTRIS masters that nexgen and fabio wrote, in an environment of their own, give the frames they hold."""

import subprocess
from contextlib import closing
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the filters with HDF5)
import numpy as np
import pytest

from pipeline.cli import main
from streamer.compression import decode
from streamer.errors import UsageError
from streamer.files import open_file
from streamer.records import Compression, Frame, FrameHeader, SeriesKey
from tests.integration.make_venvs import NEXUS
from tests.streamer.files import writers as w

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(NEXUS.missing), reason=NEXUS.missing)]

SCRIPT = Path(__file__).with_name("write_masters.py")
N_FRAMES = 1003  # nexgen puts a thousand into a file
MASTERS = {  # file: format, saturation value
    "links.nxs": ("", 199996),
    "virtual.nxs": ("", 199996),
    "virtual_file.nxs": ("", 199996),
    "fabio_several.h5": ("", None),
    "fabio_one.h5": ("dectris", None),
}
PARTIAL = {  # file: the frames that its virtual data set shows
    "offset": range(5, N_FRAMES),
    "offset_into_second": range(1001, N_FRAMES),
    "cut": range(1001),
    "cut_to_first": range(700),
    "both": range(450, 1002),
    "both_in_first": range(200, 500),
    "cleaned": range(1001, 1002),
    "cut_file": range(1001),
}
SOME = (0, 1, 399, 400, 999, 1000, 1002)


@pytest.fixture(scope="module")
def frames():
    return w.counted(n_frames=N_FRAMES)


@pytest.fixture(scope="module")
def folder(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masters")
    np.save(folder / "frames.npy", frames)
    done = subprocess.run(
        [NEXUS.python, SCRIPT, folder / "frames.npy", folder],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def decoded(file, index):
    compression, payload = file.chunk(index)
    assert compression is Compression.BSLZ4
    return decode(Frame(FrameHeader(SeriesKey(1), index, w.SHAPE, file.info.dtype, compression), payload))


@pytest.mark.parametrize("name", MASTERS)
def test_the_frames_of_another_writer_s_master(name, folder, frames):
    format, saturation = MASTERS[name]
    with closing(open_file(folder / name, format)) as file:
        assert (file.info.n_frames, file.info.shape, file.info.dtype) == (N_FRAMES, w.SHAPE, "<u2")
        assert file.info.saturation_value == saturation
        assert file.info.frame_time_s is None  # neither writes it
        for index in SOME:
            np.testing.assert_array_equal(file.frame(index), frames[index])
            np.testing.assert_array_equal(decoded(file, index), frames[index])


@pytest.mark.parametrize("name", PARTIAL)
def test_a_virtual_data_set_of_some_frames_shows_those(name, folder, frames):
    with h5py.File(folder / f"{name}.nxs") as master:  # HDF5's own reading of what nexgen wrote
        assert {"data", "data_000002"} <= set(master["entry/data"])
        shown = master["entry/data/data"][:]
    np.testing.assert_array_equal(shown, frames[PARTIAL[name]])
    with closing(open_file(folder / f"{name}.nxs")) as file:
        assert (file.info.n_frames, file.info.notes) == (len(shown), ())
        for index, image in enumerate(shown):
            np.testing.assert_array_equal(file.frame(index), image)
            np.testing.assert_array_equal(decoded(file, index), image)


def test_a_lost_data_file_of_a_partial_virtual_data_set_is_named(folder, tmp_path):
    for name in ("both.nxs", "offset_into_second.nxs", "cut_to_first.nxs", "links_000001.h5"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with closing(open_file(tmp_path / "both.nxs")) as file:
        assert file.info.n_frames == 1000 - 450
        assert file.info.notes == ("the last 1 of 2 data files are not there",)
    with closing(open_file(tmp_path / "cut_to_first.nxs")) as file:
        assert (file.info.n_frames, file.info.notes) == (700, ())  # it shows none of the lost file's
    with pytest.raises(UsageError, match=r"links_000002\.h5 is not there"):
        open_file(tmp_path / "offset_into_second.nxs")


def test_a_lost_data_file_of_another_writer_is_named(folder, tmp_path):
    for path in folder.glob("links*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "links_000002.h5").unlink()
    with closing(open_file(tmp_path / "links.nxs")) as file:
        assert file.info.n_frames == 1000
        assert "last 1 of 2 data files" in file.info.notes[0]
    (tmp_path / "links_000001.h5").unlink()
    with pytest.raises(UsageError, match=r"links_000001\.h5 is not there"):
        open_file(tmp_path / "links.nxs")


@pytest.mark.parametrize(("options", "message"), [
    ([], "--format dectris reads what any file has at /entry/data/data"),
    (["--format", "dectris"], "neither /entry/data/data_000001 nor /entry/data/data"),
])  # fmt: skip
def test_a_data_file_of_another_layout_is_one_line(options, message, folder, capsys):
    path = str(folder / "links_000001.h5")  # its frames are at /data
    assert main(["replay", path, "--fps", "0", "--to", "tcp://127.0.0.1:*", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("atomstream: ")
    assert message in line
