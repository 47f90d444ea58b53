"""LiberTEM finds in Merlin files what our reader finds; only the detector's own program writes them."""

import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from streamer.files import open_file
from tests.integration.make_venvs import MERLIN
from tests.streamer.files import writers as w

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # its first run compiles for minutes
    pytest.mark.skipif(bool(MERLIN.missing), reason=MERLIN.missing),
]

SCRIPT = Path(__file__).with_name("libertem_read.py")
FILES = {"u16": ("<u2", 1), "u8": ("|u1", 1), "u32": ("<u4", 1), "four chips": ("<u2", 4)}


def test_merlin_files_are_understood_alike(tmp_path):
    paths = []
    for name, (dtype, n_chips) in FILES.items():
        folder = tmp_path / name  # LiberTEM takes the files beside one for its continuation
        folder.mkdir()
        side = 256 if n_chips == 1 else 512
        paths.append(w.write_mib(folder / "a.mib", w.counted(dtype, shape=(side, side)), n_chips=n_chips))
    done = subprocess.run(
        [MERLIN.python, SCRIPT, str(w.N_FRAMES), *paths],
        cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for path in paths:
        theirs = np.load(path.with_suffix(".npy"))
        with closing(open_file(path)) as file:
            ours = np.array([file.frame(index) for index in range(file.info.n_frames)])
        assert ours.dtype.itemsize == theirs.dtype.itemsize
        np.testing.assert_array_equal(ours, theirs[:, ::-1])  # LiberTEM leaves the lowest row first
