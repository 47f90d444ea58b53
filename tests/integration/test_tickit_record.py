"""``atomstream record`` from a detector simulated by other people: the file holds its image bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import cbor2
import h5py
import hdf5plugin  # noqa: F401 - registers the filter that reads the frames
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.pixels import nodata_mask
from tests.integration.make_venvs import TICKIT
from tests.integration.tickit_detector import TickitDetector, running_detector

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(TICKIT.missing), reason=TICKIT.missing)]

N_FRAMES = 5
ROOT = Path(__file__).parents[2]


def test_a_series_is_recorded_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "tickit.nxs"
    with running_detector(tmp_path) as detector:
        detector.configure("cbor", N_FRAMES)
        summary = record(detector, path)
    assert summary["ok"]
    assert (summary["planned"], summary["recorded"], summary["missing"]) == (N_FRAMES, N_FRAMES, 0)
    assert (summary["ended_by"], summary["bad_messages"]) == ("end message", {})
    expected = tickits_image()
    with h5py.File(path) as file:
        frames = file["entry/stack/intensity"]
        assert frames.shape == (N_FRAMES, 4362, 4148)
        for frame in frames:
            assert np.array_equal(frame, expected)
    assert np.count_nonzero(nodata_mask(expected)) == 1_253_075


def record(detector: TickitDetector, path: Path) -> dict[str, object]:
    """Record one series with the command; its frames wait in the detector until it has connected."""
    source = f"dectris2://127.0.0.1:{detector.cbor_port}"
    command = [sys.executable, "-m", "pipeline.cli", "record", source, "--out", str(path), "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        detector.expose()
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0
    summary: dict[str, object] = json.loads(output.splitlines()[-1])
    return summary


def tickits_image() -> NDArray[np.uint16]:
    """Decode the image in tickit's own data with the bitshuffle package."""
    bitshuffle = pytest.importorskip("bitshuffle", reason="it has no wheels here")
    (path,) = TICKIT.folder.glob("**/tickit_devices/eiger/data/stream2/image.cbor")
    message = cbor2.loads(path.read_bytes(), tag_hook=lambda tag, immutable: tag)
    dimensions, pixels = message["data"]["threshold_1"].value
    blocks = np.frombuffer(pixels.value.value[2], np.uint8, offset=12)
    image: NDArray[np.uint16] = bitshuffle.decompress_lz4(blocks, tuple(dimensions), np.dtype("<u2"), 4096)
    return image
