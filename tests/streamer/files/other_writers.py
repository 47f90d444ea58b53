"""Writes small files with other people's writers: what they understand by a format is not what we do."""

import numpy as np
import pytest

from tests.streamer.files.writers import FRAME_TIME_S, PIXEL_SIZE_A

PIXEL_NM = PIXEL_SIZE_A / 10


def write_dm_by_nion(path, frames, is_sequence=True, unit="nm", pixel=PIXEL_NM):
    """DM3 or DM4 by Nion Swift, as a sequence or as a stack."""
    data = pytest.importorskip("nion.data.DataAndMetadata")
    calibration = pytest.importorskip("nion.data.Calibration").Calibration
    writer = pytest.importorskip("nionswift_plugin.DM_IO.dm3_image_utils")
    image = data.new_data_and_metadata(
        frames,
        data_descriptor=data.DataDescriptor(is_sequence, 0 if is_sequence else 1, 2),
        dimensional_calibrations=[
            calibration(0, FRAME_TIME_S, "s"), calibration(0, pixel, unit), calibration(0, pixel, unit)
        ],
    )  # fmt: skip
    with path.open("wb") as file:
        writer.save_image(image, file, int(path.suffix[-1]))
    return path


def write_emd_by_ncempy(path, frames, *, order=(0, 1, 2), bracketed=False, named=True, units=True):
    """EMD 0.2 by openNCEM; `order` tells which of (t, y, x) each axis of the file is."""
    emd = pytest.importorskip("ncempy.io.emd")
    axes = [(FRAME_TIME_S, "t", "s"), (PIXEL_NM, "y", "nm"), (PIXEL_NM, "x", "nm")]
    first = 3 - frames.ndim
    stored = np.ascontiguousarray(frames.transpose([axis - first for axis in order]))
    dims = []
    for number, axis in enumerate(order):
        step, name, unit = axes[axis]
        unit = {"s": "[s]", "nm": "[n_m]"}[unit] if bracketed else unit
        name = name if named else f"dim{number + 1}"  # as ncempy's own emdWriter names them
        dims.append((np.arange(stored.shape[number]) * step, name, unit if units else f"unit{number + 1}"))
    with emd.fileEMD(path, readonly=False) as file:
        file.put_emdgroup("stack", stored, dims)
    return path


def write_mrc_by_ncempy(path, frames):
    """MRC by openNCEM: the machine stamp that IMOD writes, and no map ID."""
    mrc = pytest.importorskip("ncempy.io.mrc")
    mrc.mrcWriter(path, frames, (1.0, PIXEL_SIZE_A, PIXEL_SIZE_A))
    return path


def write_tiff_by_pillow(path, frames, **options):
    """Multi-page TIFF by Pillow."""
    image = pytest.importorskip("PIL.Image")
    first, *others = [image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, **options)
    return path
