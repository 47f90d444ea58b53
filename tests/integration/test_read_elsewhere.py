"""A result file in other people's readers: all frames, in their order, on axes that mean something."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.make_venvs import READERS
from tests.streamer.ingest_run import SHAPE, image_of, record, series_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(READERS.missing), reason=READERS.missing)]

FRAME_IDS = [0, 1, 2, 3, 4, 5]
FRAME_TIME_S, PIXEL_NM = 0.01, 0.025
"""What `tests.streamer.ingest_run` sends."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    path = tmp_path_factory.mktemp("run") / "run.nxs"
    record(path, *series_of(FRAME_IDS, len(FRAME_IDS)))
    done = subprocess.run(
        [READERS.python, Path(__file__).with_name("read_elsewhere.py"), path],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("reader", ["silx", "nexusformat", "hyperspy"])
def test_it_shows_every_frame_pixel_for_pixel(found: dict[str, dict[str, Any]], reader: str) -> None:
    frames = np.stack([image_of(frame_id) for frame_id in FRAME_IDS])
    assert found[reader]["shape"] == [len(FRAME_IDS), *SHAPE]
    assert found[reader]["sha256"] == hashlib.sha256(frames.tobytes()).hexdigest()


def test_axes_are_seconds_and_nanometres(found: dict[str, dict[str, Any]]) -> None:
    scales = [FRAME_TIME_S, PIXEL_NM, PIXEL_NM]
    for reader, names in (
        ("silx", ["time", "y [nm]", "x [nm]"]),
        ("nexusformat", ["time", "axis_j", "axis_i"]),
        ("hyperspy", ["time", "y", "x"]),
    ):
        axes = found[reader]["axes"]
        assert [axis[0] for axis in axes] == names, reader
        assert [axis[2] for axis in axes] == pytest.approx(scales, rel=1e-6), reader
        assert [axis[3] for axis in axes if len(axis) > 3] in ([], ["s", "nm", "nm"]), reader
