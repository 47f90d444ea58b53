"""Run by an environment with nexgen and fabio: they write DECTRIS files of some frames.

``write_masters.py FRAMES.npy FOLDER``: more than 1000 frames, which nexgen puts into two data files.
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from fabio.eigerimage import EigerImage
from nexgen.beamlines.ED_params import EDSingla, EDSource
from nexgen.nxs_utils import Attenuator, Beam, Detector, Goniometer, SinglaDetector
from nexgen.nxs_write.nxmx_writer import NXmxFileWriter
from nexgen.tools.data_writer import generate_image_files
from nexgen.tools.vds_tools import vds_file_writer

frames, folder = np.load(sys.argv[1]), Path(sys.argv[2])
n_frames, *shape = frames.shape


def data_files(stem):
    """nexgen's data files, which are blank; filled through the same data sets and filters."""
    paths = [folder / f"{stem}_{number:06d}.h5" for number in (1, 2)]
    generate_image_files(paths, shape, "Singla", n_frames)
    first = 0
    for path in paths:
        with h5py.File(path, "r+") as file:
            length = len(file["data"])
            file["data"][:] = frames[first : first + length]
            first += length
    return paths


def master(stem, paths=None):
    """nexgen's master of an electron detector, a NeXus file with links to data files."""
    det_axes = EDSingla.det_axes
    det_axes[0].start_pos = 1000.0
    singla = SinglaDetector("Dectris Singla 1M", shape)
    detector = Detector(singla, det_axes, (1.0, 2.0), 0.04, [EDSingla.fast_axis, EDSingla.slow_axis])
    EDSingla.gonio[0].num_steps = n_frames
    writer = NXmxFileWriter(
        folder / f"{stem}.nxs",
        Goniometer(EDSingla.gonio),
        detector,
        EDSource,
        Beam(0.02),
        Attenuator(None),
        n_frames,
    )
    writer.write(paths or data_files(stem))
    return writer


def partial(stem, paths, first, length, clean_up=False):
    """A master whose virtual data set shows some frames; with `clean_up` it has no links to others."""
    master(stem, paths).write_vds(vds_offset=first, vds_shape=(length, *shape), clean_up=clean_up)


def virtual_file(stem, paths, length):
    """A master with a link to a file of its own, in which the virtual data set is: the first frames only."""
    with h5py.File(master(stem, paths).filename, "r+") as file:
        vds_file_writer(file, paths, (length, *shape))


if __name__ == "__main__":
    master("links")
    master("virtual").write_vds()
    writer = master("virtual_file")
    with h5py.File(writer.filename, "r+") as file:
        paths = [folder / f"virtual_file_{number:06d}.h5" for number in (1, 2)]
        vds_file_writer(file, paths, frames.shape)
        for number in (1, 2):
            del file[f"entry/data/data_{number:06d}"]
    paths = [folder / f"links_{number:06d}.h5" for number in (1, 2)]
    partial("offset", paths, 5, n_frames - 5)
    partial("offset_into_second", paths, 1001, n_frames - 1001)
    partial("cut", paths, 0, 1001)
    partial("cut_to_first", paths, 0, 700)
    partial("both", paths, 450, 552)
    partial("both_in_first", paths, 200, 300)
    partial("cleaned", paths, 1001, 1, clean_up=True)
    virtual_file("cut_file", paths, 1001)
    for name, parts in {"one": [frames], "several": [frames[:400], frames[400:]]}.items():
        image = EigerImage(data=frames[0])
        image.dataset = parts
        image.write(str(folder / f"fabio_{name}.h5"))
