"""The shape network sees the same patches in training and live."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is optional at run time")

from pipeline.particle_networks import PATCH_PX
from pipeline.patches import cut_patches
from training import gold_pools


@pytest.mark.parametrize("centre", [(64.0, 64.0), (3.0, 100.0), (127.0, 0.0)])
def test_patches_of_training_and_of_the_live_program_are_equal(centre: tuple[float, float]) -> None:
    restored = (1 + 0.1 * np.random.default_rng(4).standard_normal((512, 512))).astype(np.float32)
    trained_on = gold_pools.cut(restored, np.array(centre))
    binning = gold_pools.BINNING
    y, x = ((np.array([c]) + 0.5) * binning - 0.5 for c in centre)
    live = cut_patches(restored, y, x, binning)
    assert gold_pools.PATCH_PX == PATCH_PX
    np.testing.assert_allclose(live[0, 0], trained_on, rtol=1e-6)
