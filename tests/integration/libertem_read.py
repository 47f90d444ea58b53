"""Reads Merlin files with LiberTEM: ``libertem_read.py N FILE.mib …`` saves the frames of each beside it."""

import sys
from pathlib import Path

import libertem.api as lt
import numpy as np
from libertem.udf.raw import PickUDF


def read(path, n_frames):
    """Return all frames, the way up in which LiberTEM has them."""
    context = lt.Context.make_with("inline")
    dataset = context.load("mib", path=str(path), nav_shape=(n_frames,))
    picked = context.run_udf(dataset, PickUDF(), roi=np.ones(dataset.shape.nav, bool))
    return np.asarray(picked["intensity"].data).reshape(n_frames, *dataset.shape.sig)


if __name__ == "__main__":
    for path in map(Path, sys.argv[2:]):
        np.save(path.with_suffix(".npy"), read(path, int(sys.argv[1])))
