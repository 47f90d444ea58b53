"""What ONNX Runtime, which none of the backends uses, makes of frames; and how counts are compared."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import BatchShape, NetworkOutput
from pipeline.networks import INPUT_NAME, Networks, find_networks
from pipeline.preprocess import normalise

SHAPE = BatchShape(2, 96, 128)


@pytest.fixture(scope="module")
def shipped() -> Networks:
    return find_networks(None, "ceria")


@pytest.fixture(scope="module")
def frames() -> NDArray[np.float32]:
    """Two noisy frames full of columns."""
    wave = np.cos(2 * np.pi * np.arange(max(SHAPE.height, SHAPE.width)) / 16.0)
    crystal = (1 + 0.6 * wave[:, None] * wave)[: SHAPE.height, : SHAPE.width]
    rng = np.random.default_rng(1)
    return normalise(np.stack([rng.poisson(dose * crystal) for dose in (4.0, 40.0)])).frames


@pytest.fixture(scope="module")
def reference(shipped: Networks, frames: NDArray[np.float32]) -> NetworkOutput:
    return on_onnxruntime(shipped, frames)


def on_onnxruntime(networks: Networks, frames: NDArray[np.float32]) -> NetworkOutput:
    """Return the answer to a batch, shape (N, C, H, W), in float32 on this machine's CPU."""
    runtime = pytest.importorskip("onnxruntime")
    sessions = [
        runtime.InferenceSession(f.path, providers=["CPUExecutionProvider"])
        for f in (networks.denoise, networks.heights)
    ]
    (denoised,) = sessions[0].run(["denoised"], {INPUT_NAME: frames})
    probability, logits = sessions[1].run(["column_probability", "count_logits"], {INPUT_NAME: frames})
    return NetworkOutput(denoised[:, 0], probability[:, 0], logits)


def equal_counts(before: list[NDArray[np.void]], after: list[NDArray[np.void]]) -> tuple[int, int]:
    """Return how many columns keep their place within a pixel and their count, and how many there are."""
    same = total = 0
    for old, new in zip(before, after, strict=True):
        total += len(old)
        for column in old if len(new) else ():
            distance = np.hypot(new["y"] - column["y"], new["x"] - column["x"])
            near = distance.argmin()
            same += bool(distance[near] < 1 and new["count"][near] == column["count"])
    return same, total
