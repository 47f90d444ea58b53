"""Files by other people's writers come back bit for bit and calibrated, not only files of our own."""

import struct
from contextlib import closing

import numpy as np
import pytest

from streamer.errors import UsageError
from streamer.files import open_file
from tests.streamer.files import other_writers as o
from tests.streamer.files import writers as w

PIXEL, TIME = w.PIXEL_SIZE_A, w.FRAME_TIME_S
TYPES = {
    "dm3": ["<u2", "<i2", "<u4", "<i4", "<f4", "<f8"],
    "dm4": ["<u2", "<i2", "<u4", "<i4", "<f4", "<f8"],
    "emd": ["|u1", "<u2", ">u2", "<i4", "<f4"],
    "mrc": ["|i1", "<i2", "<u2", "<f4"],
    "tif": ["|u1", "<u2", ">u2", "<i4", "<f4"],
}
WRITERS = {
    "dm3": (o.write_dm_by_nion, PIXEL, TIME),
    "dm4": (o.write_dm_by_nion, PIXEL, TIME),
    "emd": (o.write_emd_by_ncempy, PIXEL, TIME),
    "mrc": (o.write_mrc_by_ncempy, PIXEL, None),
    "tif": (o.write_tiff_by_pillow, None, None),
}
VARIANTS = {
    "dm4 stack": (lambda d, f: o.write_dm_by_nion(d / "a.dm4", f, is_sequence=False), PIXEL, TIME),
    "dm4 µm": (lambda d, f: o.write_dm_by_nion(d / "a.dm4", f, unit="µm", pixel=PIXEL * 1e-4), PIXEL, TIME),
    "dm4 reciprocal": (lambda d, f: o.write_dm_by_nion(d / "a.dm4", f, unit="1/nm"), None, TIME),
    "emd brackets": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, bracketed=True), PIXEL, TIME),
    "emd x y t": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, order=(2, 1, 0)), PIXEL, TIME),
    "emd y x t": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, order=(1, 2, 0)), PIXEL, TIME),
    "emd t x y": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, order=(0, 2, 1)), PIXEL, TIME),
    "emd no names": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, named=False), PIXEL, TIME),
    "emd y x t, no names": (
        lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, order=(1, 2, 0), named=False),
        PIXEL,
        TIME,
    ),
    "emd no units": (lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, units=False), None, None),
    "emd x y t, no units": (
        lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, order=(2, 1, 0), units=False),
        None,
        None,
    ),
    "emd no names, no units": (
        lambda d, f: o.write_emd_by_ncempy(d / "a.emd", f, named=False, units=False),
        None,
        None,
    ),
    "tiff deflate": (
        lambda d, f: o.write_tiff_by_pillow(d / "a.tif", f, compression="tiff_adobe_deflate"), None, None
    ),
    "bigtiff": (lambda d, f: o.write_tiff_by_pillow(d / "a.tif", f, big_tiff=True), None, None),
    "tiff packbits": (
        lambda d, f: o.write_tiff_by_pillow(d / "a.tif", f.astype("u1"), compression="packbits"), None, None
    ),
    "ripple by rosettasciio": (lambda d, f: w.write_rosetta(d / "a.rpl", "ripple", f), PIXEL, TIME),
    "prz by rosettasciio": (lambda d, f: w.write_rosetta(d / "a.prz", "pantarhei", f), None, None),
}  # fmt: skip


def expect(path, frames, pixel_size_A, frame_time_s, format=""):
    with closing(open_file(path, format)) as file:
        assert (file.info.n_frames, file.info.shape) == (len(frames), frames.shape[1:])
        assert file.info.dtype.kind == frames.dtype.kind
        assert file.info.dtype.itemsize == frames.dtype.itemsize
        for index in (3, *range(len(frames))):
            np.testing.assert_array_equal(file.frame(index), frames[index])
        assert file.info.pixel_size_A == (pixel_size_A and pytest.approx(pixel_size_A, rel=1e-6))
        assert file.info.frame_time_s == (frame_time_s and pytest.approx(frame_time_s, rel=1e-6))
        return file.info


@pytest.mark.parametrize(("suffix", "dtype"), [(s, d) for s, types in TYPES.items() for d in types])
def test_pixels_of_every_type_come_back(suffix, dtype, tmp_path):
    write, pixel_size_A, frame_time_s = WRITERS[suffix]
    frames = w.counted(dtype)
    frames[:, 1, 2] = 0x61  # the byte order of wider pixels shows in this and in all others
    expect(write(tmp_path / f"a.{suffix}", frames), frames, pixel_size_A, frame_time_s)


@pytest.mark.parametrize("name", VARIANTS)
def test_axes_units_and_compressions_are_understood(name, tmp_path):
    write, pixel_size_A, frame_time_s = VARIANTS[name]
    path = write(tmp_path, w.counted())
    frames = w.counted("u1") if "packbits" in name else w.counted()
    expect(path, frames, pixel_size_A, frame_time_s, "Ripple" if "ripple" in name else "")


@pytest.mark.parametrize("named", [True, False])
def test_one_image_of_openncem_is_not_transposed(named, tmp_path):
    frames = w.counted(n_frames=1)
    path = o.write_emd_by_ncempy(tmp_path / "a.emd", frames[0], order=(1, 2), named=named)
    with closing(open_file(path)) as file:
        np.testing.assert_array_equal(file.frame(0), frames[0])


def test_a_camera_s_own_pixels_are_no_size_at_the_specimen(tmp_path):
    frames = w.counted()
    w.write_rosetta(tmp_path / "a.tvips", "tvips", frames, pixel_nm=15600)
    info = expect(tmp_path / "a_000.tvips", frames, None, TIME)
    assert "camera" in info.pixel_size_from


def test_without_map_id_a_note_says_so_and_the_length_has_to_fit(tmp_path):
    frames = w.counted()
    path = o.write_mrc_by_ncempy(tmp_path / "a.mrc", frames)
    assert "no map ID" in expect(path, frames, PIXEL, None).notes[0]
    data = path.read_bytes()
    path.write_bytes(data[:212] + b"\0\0\0\0" + data[216:])  # as before 2000: no machine stamp either
    expect(path, frames, PIXEL, None)
    path.write_bytes(data[:-2])
    with pytest.raises(UsageError, match="Map ID"):
        open_file(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("flags", "dtype"), [(0, "u1"), (1, "i1")])
def test_imods_bytes_are_unsigned_unless_flagged(order, flags, dtype, tmp_path):
    frames = w.counted("u1")
    frames[:, 2, 3] = 200
    path = w.write_mrc(tmp_path / "a.mrc", frames.view("i1").astype("i1"))
    data = bytearray(path.read_bytes())
    if order == ">":
        words = np.frombuffer(data[:1024], "<i4").astype(">i4").tobytes()
        data[:1024] = words
        data[208:216] = b"MAP \x11\x11\0\0"
    struct.pack_into(f"{order}2i", data, 152, 1146047817, flags)
    path.write_bytes(data)
    with closing(open_file(path)) as file:
        assert file.info.dtype == dtype
        np.testing.assert_array_equal(file.frame(5), frames[5].view(dtype))
