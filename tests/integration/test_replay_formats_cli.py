"""``atomstream replay FILE --to …`` for every format: what arrives, what is said; bad files in one line."""

from contextlib import closing

import numpy as np
import pytest
import zmq

from pipeline.cli import main
from streamer.compression import decode
from streamer.records import Frame
from streamer.sources import make_parser, parse_source
from tests.streamer.files import other_writers as o
from tests.streamer.files import writers as w

TIMEOUT_MS = 20_000
PIXEL, TIME = "pixel size 0.25 Å from ", "frame time 0.04 s from "
NO_PIXEL, NO_TIME = "no pixel size (", "no frame time ("
FORMATS = {
    "dm3": (lambda d, f: o.write_dm_by_nion(d / "a.dm3", f), PIXEL, TIME),
    "dm4": (lambda d, f: o.write_dm_by_nion(d / "a.dm4", f), PIXEL, TIME),
    "ncem": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f), PIXEL, TIME),
    "velox": (lambda d, f: w.write_velox(d / "a.emd", f), PIXEL, TIME),
    "hspy": (lambda d, f: w.write_rosetta(d / "a.hspy", "hspy", f), PIXEL, TIME),
    "mrc": (lambda d, f: o.write_mrc_by_ncempy(d / "a.mrc", f), PIXEL, NO_TIME),
    "tiff": (lambda d, f: o.write_tiff_by_pillow(d / "a.tif", f), NO_PIXEL, NO_TIME),
    "imagej": (lambda d, f: w.write_imagej_tiff(d / "a.tif", f), PIXEL, TIME),
    "ome": (lambda d, f: w.write_ome_tiff(d / "a.ome.tif", f), PIXEL, TIME),
    "npy": (lambda d, f: w.write_npy(d / "a.npy", f), NO_PIXEL, NO_TIME),
    "mib": (lambda d, f: w.write_mib(d / "a.mib", f), NO_PIXEL, TIME),
    "ser": (lambda d, f: w.write_ser(d / "a.ser", f), PIXEL, NO_TIME),
    "tvips": (
        lambda d, f: w.write_rosetta(d / "a.tvips", "tvips", f).with_name("a_000.tvips"), NO_PIXEL, TIME
    ),
    "dectris": (w.write_dectris_legacy, NO_PIXEL, TIME),
    "dectris 2024": (lambda d, f: w.write_dectris_2024(d, f[:, None]), NO_PIXEL, TIME),
}  # fmt: skip


class Receiving:
    """A receiver that has bound; what has arrived is read afterwards, and fits into its queue."""

    def __init__(self, context):
        self._socket = context.socket(zmq.PULL)
        self._socket.set(zmq.RCVTIMEO, TIMEOUT_MS)
        self._port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.options = ["--to", f"tcp://127.0.0.1:{self._port}", "--connect"]

    def images(self, n_messages):
        parser = make_parser(parse_source(f"atomstream://127.0.0.1:{self._port}"))
        messages = [parser.parse(self._socket.recv_multipart()) for _ in range(n_messages)]
        return [decode(message) for message in messages if isinstance(message, Frame)]

    def close(self):
        self._socket.close(0)


@pytest.fixture
def receiving():
    with zmq.Context() as context, closing(Receiving(context)) as end:
        yield end


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_streamed_as_it_is(name, receiving, tmp_path, capsys):
    write, pixel, time = FORMATS[name]
    frames = w.counted()
    path = write(tmp_path, frames)
    rate = ["--fps", "0"] if time is NO_TIME else []  # else at its own rate
    assert main(["replay", str(path), *rate, *receiving.options]) == 0
    about = next(
        line for line in capsys.readouterr().err.splitlines() if path.name in line and "frames" in line
    )
    assert "7 frames of 24 x 40 px, uint16" in about
    assert pixel in about
    assert time in about
    np.testing.assert_array_equal(receiving.images(w.N_FRAMES + 2), frames)


def not_a_number(dtype, value):
    frames = w.counted(dtype)
    frames[4, 3, 3] = value
    return frames


def lost_data_file(folder, number):
    path = w.write_dectris_legacy(folder, w.counted())
    (folder / f"series_1_data_{number:06d}.h5").unlink()
    return path


def written(path, content):
    path.write_bytes(content)
    return path


def a_folder(path):
    path.mkdir()
    return path


def truncated(path, keep=0.6):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    return path


SUFFIXES = ("nxs", "h5", "npy", "mib", "ser", "mrc", "tif", "dm3", "dm4", "emd", "hspy", "tvips", "prz")
REFUSED = {
    **{f"folder {s}": (lambda d, s=s: a_folder(d / f"a.{s}"), "is a folder") for s in SUFFIXES},
    **{f"empty {s}": (lambda d, s=s: written(d / f"a.{s}", b""), "is empty") for s in SUFFIXES},
    **{f"text {s}": (lambda d, s=s: written(d / f"a.{s}", b"time\tx\n" * 300), f"a.{s}") for s in SUFFIXES},
    "cut imagej": (lambda d: truncated(w.write_imagej_tiff(d / "a.tif", w.counted())), "truncated"),
    "cut ome": (lambda d: truncated(w.write_ome_tiff(d / "a.ome.tif", w.counted())), "truncated"),
    "cut pages": (lambda d: truncated(o.write_tiff_by_pillow(d / "a.tif", w.counted())), "truncated"),
    "cut deflate": (
        lambda d: truncated(w.write_tiff(d / "a.tif", w.counted(), compression="zlib")), "truncated"
    ),
    "cut mrc": (lambda d: truncated(w.write_mrc(d / "a.mrc", w.counted())), "truncated"),
    "cut npy": (lambda d: truncated(w.write_npy(d / "a.npy", w.counted())), "truncated"),
    "cut ser": (lambda d: truncated(w.write_ser(d / "a.ser", w.counted())), "truncated"),
    "cut dm4": (lambda d: truncated(o.write_dm_by_nion(d / "a.dm4", w.counted())), "truncated"),
    "cut velox": (lambda d: truncated(w.write_velox(d / "a.emd", w.counted())), "truncated"),
    "cut hspy": (lambda d: truncated(w.write_rosetta(d / "a.hspy", "hspy", w.counted())), "truncated"),
    "cut master": (lambda d: truncated(w.write_dectris_legacy(d, w.counted())), "truncated"),
    "lost data file": (lambda d: lost_data_file(d, 2), "series_1_data_000002.h5 is not there"),
    "first nan": (lambda d: w.write_npy(d / "a.npy", w.counted("<f4") * np.nan), "not numbers"),
    "complex": (lambda d: w.write_npy(d / "a.npy", w.counted("<c8")), "not counts"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_used_is_one_line_and_exit_2(name, tmp_path, capsys):
    make, message = REFUSED[name]
    assert main(["replay", str(make(tmp_path)), "--fps", "0", "--to", "tcp://127.0.0.1:*"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("atomstream: ")
    assert message in line


LATER = {
    "nan npy": (lambda d: w.write_npy(d / "a.npy", not_a_number("<f4", np.nan)), "frame 4 has pixels"),
    "nan hspy": (
        lambda d: w.write_rosetta(d / "a.hspy", "hspy", not_a_number("<f4", np.nan)), "frame 4 has pixels"
    ),
    "negative dm4": (
        lambda d: o.write_dm_by_nion(d / "a.dm4", not_a_number("<i2", -3)), "frame 4 has a pixel of -3 counts"
    ),
    "negative mrc": (
        lambda d: w.write_mrc(d / "a.mrc", not_a_number("<i2", -3)), "frame 4 has a pixel of -3 counts"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_the_frames_before_a_bad_one_are_sent_and_it_is_exit_1(name, receiving, tmp_path, capsys):
    make, message = LATER[name]
    assert main(["replay", str(make(tmp_path)), "--fps", "0", *receiving.options]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert len(receiving.images(5)) == 4
