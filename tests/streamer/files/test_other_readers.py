"""Other people's readers find in our test files what ours find: the bytes are understood alike."""

from contextlib import closing

import numpy as np
import pytest

from streamer.files import open_file
from tests.streamer.files import writers as w

N = 9  # a square number: readers of DECTRIS files take the frames for a square scan
NM = w.PIXEL_SIZE_A / 10


def read_dm(path):
    image = pytest.importorskip("ncempy.io.dm").dmReader(str(path))
    assert image["pixelUnit"] == ["s", "nm", "nm"]
    return image["data"], image["pixelSize"][1:], image["pixelSize"][0]


def read_dm_by_nion(path):
    reader = pytest.importorskip("nionswift_plugin.DM_IO.dm3_image_utils")
    with path.open("rb") as file:
        image = reader.load_image(file)
    time, y, x = image.dimensional_calibrations
    assert [axis.units for axis in (time, y, x)] == ["s", "nm", "nm"]
    return image.data, (y.scale, x.scale), time.scale


def read_ser(path):
    ser = pytest.importorskip("ncempy.io.ser").serReader(path)
    assert ser["pixelUnit"] == ["m", "m"]
    return ser["data"], np.array(ser["pixelSize"]) * 1e9, None


def read_velox(path):
    velox = pytest.importorskip("ncempy.io.emdVelox").emdVeloxReader(path)
    assert velox["pixelUnit"] == ["nm", "nm"]
    return np.moveaxis(velox["data"], 2, 0), velox["pixelSize"], None


def read_ncem(path):
    ncem = pytest.importorskip("ncempy.io.emd").emdReader(path)
    assert ncem["pixelUnit"] == ["s", "nm", "nm"]
    return ncem["data"], ncem["pixelSize"][1:], ncem["pixelSize"][0]


def read_mrc(path):
    mrc = pytest.importorskip("ncempy.io.mrc").mrcReader(path)
    return mrc["data"], np.array(mrc["pixelSize"][1:]) / 10, None


def read_tiff(path):
    image = pytest.importorskip("PIL.Image").open(path)
    frames = []
    with closing(image):
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.array(image))
    return np.array(frames), None, None


def read_dectris(path):
    dectris = pytest.importorskip("ncempy.io.dectris").dectrisReader(path)
    return dectris["data"].reshape(N, *w.SHAPE), None, None


READERS = {
    "dm3": (read_dm, lambda d, f: w.write_dm(d / "a.dm3", f, version=3)),
    "dm4": (read_dm, lambda d, f: w.write_dm(d / "a.dm4", f)),
    "dm4 i4": (read_dm, lambda d, f: w.write_dm(d / "a.dm4", f.astype("<i4"))),
    "dm4 f4": (read_dm, lambda d, f: w.write_dm(d / "a.dm4", f.astype("<f4"))),
    "dm3 nion": (read_dm_by_nion, lambda d, f: w.write_dm(d / "a.dm3", f, version=3)),
    "dm4 nion": (read_dm_by_nion, lambda d, f: w.write_dm(d / "a.dm4", f)),
    "ser": (read_ser, lambda d, f: w.write_ser(d / "a.ser", f)),
    "ser i4": (read_ser, lambda d, f: w.write_ser(d / "a.ser", f.astype("<i4"))),
    "ser before 4 GB": (read_ser, lambda d, f: w.write_ser(d / "a.ser", f, version=0x0210)),
    "ser aborted": (read_ser, lambda d, f: w.write_ser(d / "a.ser", f, n_planned=20)),
    "velox": (read_velox, lambda d, f: w.write_velox(d / "a.emd", f)),
    "ncem": (read_ncem, lambda d, f: w.write_ncem(d / "a.emd", f)),
    "mrc": (read_mrc, lambda d, f: w.write_mrc(d / "a.mrc", f)),
    "mrc i2": (read_mrc, lambda d, f: w.write_mrc(d / "a.mrc", f.astype("<i2"))),
    "tiff": (read_tiff, lambda d, f: w.write_tiff(d / "a.tif", f)),
    "tiff big-endian": (read_tiff, lambda d, f: w.write_tiff(d / "a.tif", f, byteorder=">")),
    "imagej": (read_tiff, lambda d, f: w.write_imagej_tiff(d / "a.tif", f, ">")),
    "dectris": (read_dectris, w.write_dectris_legacy),
    "dectris u4": (read_dectris, lambda d, f: w.write_dectris_legacy(d, f.astype("<u4"))),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("default")  # theirs are not ours
def test_they_read_what_we_read(name, tmp_path):
    read, write = READERS[name]
    path = write(tmp_path, w.counted(n_frames=N))
    frames, sides_nm, frame_time_s = read(path)
    with closing(open_file(path)) as file:
        assert file.info.n_frames == len(frames)
        for index, theirs in enumerate(frames):
            np.testing.assert_array_equal(file.frame(index), theirs)
        assert file.info.dtype.newbyteorder("=") == frames.dtype.newbyteorder("=")
        if sides_nm is not None:
            np.testing.assert_allclose(sides_nm, file.info.pixel_size_A / 10, rtol=1e-6)
            np.testing.assert_allclose(sides_nm, NM, rtol=1e-6)
        if frame_time_s is not None:
            assert frame_time_s == pytest.approx(file.info.frame_time_s)
