"""Formats whose readers need what our tests' environment does not have, read by us in one that has it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.make_venvs import FORMATS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(FORMATS.missing), reason=FORMATS.missing)]

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "zspy": {
        "format": "ZSPY (rosettasciio)", "n_frames": 7, "same": True, "dtype": "<u2", "pixel_size_A": 0.25,
        "frame_time_s": 0.04,
    },
    "blo": {  # its pixels are the camera's, its frames lie on a grid of places
        "format": "Blockfile (rosettasciio)", "n_frames": 6, "same": True, "dtype": "|u1",
        "pixel_size_A": None, "frame_time_s": None,
    },
}  # fmt: skip


def test_zspy_and_blockfile_of_rosettasciio(tmp_path):
    done = subprocess.run(
        [FORMATS.python, Path(__file__).with_name("read_formats.py"), tmp_path],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        assert found[name] == {
            key: pytest.approx(value) if isinstance(value, float) else value
            for key, value in expected.items()
        }
