"""Every format: the frames come back bit for bit, and calibrations in our units with where they stand."""

from contextlib import closing

import numpy as np
import pytest
import tifffile

from streamer.errors import UsageError
from streamer.files import open_file
from tests.streamer.files import writers as w

PIXEL, TIME = w.PIXEL_SIZE_A, w.FRAME_TIME_S
CASES = {
    "mrc": (lambda d, f: w.write_mrc(d / "a.mrc", f), PIXEL, None),
    "mrc big-endian": (lambda d, f: w.write_mrc(d / "a.mrc", f.astype(">u2")), PIXEL, None),
    "mrcs": (lambda d, f: w.write_mrc(d / "a.MRCS", f), PIXEL, None),
    "tiff mapped": (lambda d, f: w.write_tiff(d / "a.tif", f), None, None),
    "tiff pages": (lambda d, f: w.write_tiff(d / "a.tiff", f, compression="zlib"), None, None),
    "tiff big-endian": (lambda d, f: w.write_tiff(d / "a.tif", f, byteorder=">"), None, None),
    "tiff frame by frame": (lambda d, f: w.write_tiff_by_frame(d / "a.tif", f), None, None),
    "tiff tiles": (lambda d, f: w.write_tiff(d / "a.tif", f, tile=(16, 16)), None, None),
    "bigtiff": (lambda d, f: w.write_tiff(d / "a.btf", f, bigtiff=True), None, None),
    "imagej": (lambda d, f: w.write_imagej_tiff(d / "a.tif", f, ">"), PIXEL, TIME),
    "imagej µm": (
        lambda d, f: w.write_imagej_tiff(d / "a.tif", f, unit="um", pixel=PIXEL * 1e-4),
        PIXEL,
        TIME,
    ),
    "ome": (lambda d, f: w.write_ome_tiff(d / "a.ome.tif", f), PIXEL, TIME),
    "dm tiff": (lambda d, f: w.write_dm_tiff(d / "a.tif", f), PIXEL, TIME),
    "npy": (lambda d, f: w.write_npy(d / "a.npy", f), None, None),
    "npy big-endian": (lambda d, f: w.write_npy(d / "a.npy", f.astype(">u2")), None, None),
    "npy fortran": (lambda d, f: w.write_npy(d / "a.npy", np.asfortranarray(f)), None, None),
    "mib": (lambda d, f: w.write_mib(d / "a.mib", f), None, TIME),
    "mib u8": (lambda d, f: w.write_mib(d / "a.mib", f.astype("u1")), None, TIME),
    "mib u32": (lambda d, f: w.write_mib(d / "a.mib", f.astype("<u4")), None, TIME),
    "ser": (lambda d, f: w.write_ser(d / "a.ser", f), PIXEL, None),
    "ser i4": (lambda d, f: w.write_ser(d / "a.ser", f.astype("<i4")), PIXEL, None),
    "ser before 4 GB": (lambda d, f: w.write_ser(d / "a.ser", f, version=0x0210), PIXEL, None),
    "ser diffraction": (lambda d, f: w.write_ser(d / "a.ser", f, step_m=2e7), None, None),
    "emi": (lambda d, f: w.write_emi(d / "a.emi", f), PIXEL, None),
    "dm3": (lambda d, f: w.write_dm(d / "a.dm3", f, version=3), PIXEL, TIME),
    "dm4": (lambda d, f: w.write_dm(d / "a.dm4", f), PIXEL, TIME),
    "dm4 f4": (lambda d, f: w.write_dm(d / "a.dm4", f.astype("<f4")), PIXEL, TIME),
    "velox": (lambda d, f: w.write_velox(d / "a.emd", f), PIXEL, TIME),
    "velox diffraction": (lambda d, f: w.write_velox(d / "a.emd", f, unit="1/m"), None, TIME),
    "ncem": (lambda d, f: w.write_ncem(d / "a.emd", f), PIXEL, TIME),
    "ncem by rosettasciio": (lambda d, f: w.write_rosetta(d / "a.emd", "emd", f), PIXEL, TIME),
    "hspy": (lambda d, f: w.write_rosetta(d / "a.hspy", "hspy", f), PIXEL, TIME),
    "hspy as hdf5": (lambda d, f: w.write_rosetta(d / "a.hspy", "hspy", f).rename(d / "a.hdf5"), PIXEL, TIME),
    "tiff by rosettasciio": (lambda d, f: w.write_rosetta(d / "a.tif", "tiff", f), PIXEL, TIME),
    "dectris": (w.write_dectris_legacy, None, TIME),
}


@pytest.mark.parametrize("name", CASES)
def test_frames_and_calibrations_come_back(name, tmp_path):
    write, pixel_size_A, frame_time_s = CASES[name]
    frames = w.counted()
    with closing(open_file(write(tmp_path, frames))) as file:
        info = file.info
        assert (info.n_frames, info.shape) == (w.N_FRAMES, w.SHAPE)
        for index in (3, 0, *range(w.N_FRAMES)):  # in any order
            image = file.frame(index)
            np.testing.assert_array_equal(image, frames[index])
            assert image.dtype == info.dtype
        assert info.pixel_size_A == (pixel_size_A and pytest.approx(pixel_size_A, rel=1e-6))
        assert info.frame_time_s == (frame_time_s and pytest.approx(frame_time_s, rel=1e-6))
        assert info.pixel_size_from
        assert info.frame_time_from
        assert info.notes == ()
        file.close()


@pytest.mark.parametrize("suffix", ["npy", "tif", "mrc"])
def test_one_image_is_one_frame(suffix, tmp_path):
    image = w.counted()[0]
    path = getattr(w, {"npy": "write_npy", "tif": "write_tiff", "mrc": "write_mrc"}[suffix])(
        tmp_path / f"a.{suffix}", image
    )
    with closing(open_file(path)) as file:
        assert (file.info.n_frames, file.info.shape) == (1, w.SHAPE)
        np.testing.assert_array_equal(file.frame(0), image)


def test_leading_axes_of_an_array_count_frames(tmp_path):
    frames = w.counted(n_frames=6)
    with closing(open_file(w.write_npy(tmp_path / "a.npy", frames.reshape(2, 3, *w.SHAPE)))) as file:
        assert file.info.n_frames == 6
        np.testing.assert_array_equal(file.frame(4), frames[4])


def test_our_mib_and_ser_readers_agree_with_rosettasciio(tmp_path):
    frames = w.counted()
    for path, reader in (
        (w.write_mib(tmp_path / "a.mib", frames), "QuantumDetector"),
        (w.write_ser(tmp_path / "a.ser", frames), "TIA"),
    ):
        with closing(open_file(path)) as ours, closing(open_file(path, reader)) as theirs:
            for index in range(theirs.info.n_frames):
                np.testing.assert_array_equal(ours.frame(index), theirs.frame(index))
            assert ours.info.shape == theirs.info.shape
            assert ours.info.pixel_size_A == theirs.info.pixel_size_A


def test_a_print_resolution_is_no_pixel_size(tmp_path):
    path = w.write_tiff(tmp_path / "a.tif", w.counted(), resolution=(300, 300), resolutionunit="INCH")
    with closing(open_file(path)) as file:
        assert file.info.pixel_size_A is None


def test_pixels_that_are_not_square_have_no_size(tmp_path):
    path = w.write_mrc(tmp_path / "a.mrc", w.counted(), voxel_A=(0.25, 0.5, 1.0))
    with closing(open_file(path)) as file:
        assert file.info.pixel_size_A is None
        assert "0.5 x 0.25" in file.info.pixel_size_from


def test_a_file_with_several_images_asks_which(tmp_path):
    path = w.write_velox(tmp_path / "a.emd", w.counted(), titles=("HAADF", "BF"))
    with pytest.raises(UsageError, match=r"0 .*, 1 .*--dataset"):
        open_file(path)
    with closing(open_file(path, dataset="1")) as file:
        assert file.info.n_frames == w.N_FRAMES
    with pytest.raises(UsageError, match="--dataset"):
        open_file(path, dataset="EDS")


def test_other_images_among_a_tiffs_frames_are_left_out_and_named(tmp_path):
    frames = w.counted()
    path = w.write_tiff_by_frame(tmp_path / "a.tif", [*frames[:2], frames[0, ::2, ::2], *frames[2:]])
    with closing(open_file(path)) as file:
        assert file.info.n_frames == w.N_FRAMES
        for index in range(w.N_FRAMES):
            np.testing.assert_array_equal(file.frame(index), frames[index])
        assert file.info.notes == ("other images in the file are left out (1 series)",)


@pytest.mark.parametrize("axes", ["TCYX", "TYXS"])
def test_channels_and_colours_are_refused(axes, tmp_path):
    shape = {"TCYX": (3, 2, 24, 40), "TYXS": (3, 24, 40, 3)}[axes]
    colour = {"photometric": "rgb"} if axes == "TYXS" else {"photometric": "minisblack"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, "u1"), metadata={"axes": axes}, **colour)
    with pytest.raises(UsageError, match="single-channel"):
        open_file(path)
