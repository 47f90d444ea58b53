"""Run by an environment with all that rosettasciio's Blockfile and ZSPY need: written by it, read by us.

``read_formats.py FOLDER`` prints as JSON what is found in each file.
"""

import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from streamer.files import open_file
from tests.streamer.files.writers import counted, write_rosetta

CAMERA_PIXEL_NM = 1e6  # a Blockfile's are those of the camera


def found(path, frames):
    """Read all frames, forwards and one backwards."""
    with closing(open_file(path)) as file:
        info = file.info
        same = [np.array_equal(file.frame(n), frames[n]) for n in (*range(info.n_frames), 0)]
        return {
            "format": info.format, "n_frames": info.n_frames, "same": all(same), "dtype": info.dtype.str,
            "pixel_size_A": info.pixel_size_A, "frame_time_s": info.frame_time_s,
        }  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    movie, patterns = counted(), counted("u1", n_frames=6, shape=(24, 24))
    print(json.dumps({
        "zspy": found(write_rosetta(folder / "a.zspy", "zspy", movie), movie),
        "blo": found(write_rosetta(folder / "a.blo", "blockfile", patterns, CAMERA_PIXEL_NM), patterns),
    }))  # fmt: skip
