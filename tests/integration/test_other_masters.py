"""DECTRIS masters that nexgen and fabio wrote, in an environment of their own, give the frames they hold."""

import subprocess
from contextlib import closing
from pathlib import Path

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


@pytest.mark.parametrize("name", MASTERS)
def test_the_frames_of_another_writer_s_master(name, folder, frames):
    format, saturation = MASTERS[name]
    with closing(open_file(folder / name, format)) as file:
        assert (file.info.n_frames, file.info.shape, file.info.dtype) == (N_FRAMES, w.SHAPE, "<u2")
        assert file.info.saturation_value == saturation
        assert file.info.frame_time_s is None  # neither writes it
        for index in SOME:
            np.testing.assert_array_equal(file.frame(index), frames[index])
            compression, payload = file.chunk(index)
            assert compression is Compression.BSLZ4
            header = FrameHeader(SeriesKey(1), index, w.SHAPE, file.info.dtype, compression)
            np.testing.assert_array_equal(decode(Frame(header, payload)), frames[index])


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
