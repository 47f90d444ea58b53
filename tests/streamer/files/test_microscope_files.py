"""Files that DigitalMicrograph, TIA, Velox and ImageJ wrote, out of HyperSpy's wheel, read as others do."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import UsageError
from streamer.files import open_file
from tests.integration.make_venvs import MICROSCOPE_FILES
from tests.streamer.files.test_other_readers import read_tiff

pytestmark = [
    pytest.mark.skipif(bool(MICROSCOPE_FILES.missing), reason=MICROSCOPE_FILES.missing),
    pytest.mark.filterwarnings("default"),  # other readers' warnings are not ours
]

FOLDER = MICROSCOPE_FILES.folder / MICROSCOPE_FILES.within
SER = {
    "FEI_new/128x128-TEM_search_1.ser": (1, 52.6121),
    "FEI_new/128x128_TEM_acquire-sum1_1.ser": (1, 214.793),
    "FEI_new/128x128x5-diffraction_preview_1.ser": (5, None),
    "FEI_new/16x16-diffraction_imagel_5x5x256x256_EDS_2.ser": (25, None),
    "FEI_old/03_Scanning Preview_1.ser": (5, 3.84352),
    "FEI_old/16x16x5_STEM_BF_DF_preview_2.ser": (5, 215.100),
    "FEI_old/64x64x5_TEM_preview_1.ser": (5, 62.8183),
    "FEI_old/64x64_diffraction_acquire_1.ser": (1, None),
}
EMI = {
    "FEI_old/64x64x5_TEM_preview.emi": 62.8183,
    "FEI_old/03_Scanning Preview.emi": 3.84352,
    "FEI_new/128x128x5-diffraction_preview.emi": None,
}
DM = {"dm3": (1, 2, 6, 7, 9, 10, 11, 12), "dm4": (1, 2, 6, 7, 9, 10, 11, 12)}
DM_TYPES = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8"}  # in the files' names
CALIBRATED_DM = {
    "dm3_2D_data/multi_signal.dm3": (1, 0.177516),
    "dm3_2D_data/test_STEM_image.dm3": (1, 2.48538),
    "dm3_2D_data/test_diffraction_pattern.dm3": (1, None),
    "dm_stackbuilder_plugin/test_stackbuilder_imagestack.dm3": (3, 599.829),
    "tiff_files/test_dm_image_um_unit.dm3": (1, 1686.747),
}
TIFF = {
    "test_loading_image_saved_with_imageJ_stack.tif": (2, 1686.747, None),
    "test_loading_image_saved_with_imageJ_stack_no_scale.tif": (2, None, None),
    "test_loading_image_saved_with_imageJ.tif": (1, 1686.747, None),
    "test_loading_image_saved_with_DM.tif": (1, 1686.747, None),
    "test_loading_image_saved_with_DM_stack.tif": (2, None, 2.5),  # its pixels are not square
}


def expect(path: Path, frames, pixel_size_A, frame_time_s=None):
    with closing(open_file(path)) as file:
        assert file.info.n_frames == len(frames)
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(file.frame(index), frame)
        assert file.info.pixel_size_A == (pixel_size_A and pytest.approx(pixel_size_A, rel=1e-5))
        assert file.info.frame_time_s == (frame_time_s and pytest.approx(frame_time_s, rel=1e-5))
        return file.info


@pytest.mark.parametrize("name", SER)
def test_series_of_tia(name):
    n_frames, pixel_size_A = SER[name]
    with pytest.importorskip("ncempy.io.ser").fileSER(FOLDER / name) as ser:
        frames = [ser.getDataset(index)[0] for index in range(n_frames)]
    info = expect(FOLDER / name, frames, pixel_size_A)
    assert bool(info.notes) == ("Scanning" in name)  # that one was aborted after 5 of 200


@pytest.mark.parametrize("name", EMI)
def test_the_description_beside_a_series_leads_to_it(name):
    path = FOLDER / name
    with closing(open_file(path.with_name(f"{path.stem}_1.ser"))) as ser:
        frames = [ser.frame(index) for index in range(5)]
    expect(path, frames, EMI[name])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("suffix", "code"), [(s, c) for s, codes in DM.items() for c in codes])
def test_every_type_of_digitalmicrograph(suffix, code, dimensions):
    path = FOLDER / f"{suffix}_{dimensions}D_data" / f"test-{code}.{suffix}"
    frames = np.arange(1, 2**dimensions + 1).reshape(-1, 2, 2)
    info = expect(path, frames, None)
    assert info.dtype == DM_TYPES[code]


@pytest.mark.parametrize("name", CALIBRATED_DM)
def test_images_of_digitalmicrograph(name):
    n_frames, pixel_size_A = CALIBRATED_DM[name]
    image = pytest.importorskip("ncempy.io.dm").dmReader(str(FOLDER / name))["data"]
    expect(FOLDER / name, image.reshape(n_frames, *image.shape[-2:]), pixel_size_A)


@pytest.mark.parametrize("name", TIFF)
def test_stacks_that_imagej_and_digitalmicrograph_saved(name):
    path = FOLDER / "tiff_files" / name
    n_frames, pixel_size_A, frame_time_s = TIFF[name]
    frames, _, _ = read_tiff(path)
    assert len(frames) == n_frames
    expect(path, frames, pixel_size_A, frame_time_s)


def test_a_stack_of_velox():
    path = FOLDER / "emd_files/fei_example_tem_stack.emd"
    velox = pytest.importorskip("ncempy.io.emdVelox").emdVeloxReader(path)
    assert velox["pixelSize"][0] == pytest.approx(0.00817288, rel=1e-5)
    expect(path, np.moveaxis(velox["data"], 2, 0), 0.0817288, 0.8)


def test_spectra_are_no_images():
    with pytest.raises(UsageError, match="holds no images"):
        open_file(FOLDER / "FEI_old/16x16-line_profile_horizontal_10x1024_1.ser")
