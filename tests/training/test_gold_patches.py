"""The shape network learns from patches that lie about the particle, as the live program cuts them."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is optional at run time")

from pipeline.patches import cut_patches
from training.gold_pools import BINNING, CENTRE_SIGMA_PX, centre_of, patch_about


@pytest.mark.parametrize("corner", [(100, 200), (250, 4)])
def test_a_patch_has_its_particle_where_the_live_program_has_it_but_for_the_finders_error(
    corner: tuple[int, int],
) -> None:
    rows, columns = (slice(start, start + BINNING) for start in corner)
    picture, thickness = np.ones((512, 512), np.float32), np.zeros((512, 512), np.float32)
    picture[rows, columns], thickness[rows, columns] = 3.0, 10.0
    centre = centre_of(thickness)
    assert centre == pytest.approx(np.array(corner) + (BINNING - 1) / 2)
    (live,) = cut_patches(picture, centre[:1], centre[1:], BINNING)[:, 0]
    patches = [patch_about(picture, centre, np.random.default_rng(seed)) for seed in range(400)]
    places = np.array([np.unravel_index(patch.argmax(), patch.shape) for patch in patches])
    where = np.array(np.unravel_index(live.argmax(), live.shape))
    assert places.mean(0) == pytest.approx(where, abs=0.6)
    assert places.std(0) == pytest.approx([CENTRE_SIGMA_PX / BINNING] * 2, rel=0.25)
