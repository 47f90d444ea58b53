"""What following adds to results, and of which frames it knows nothing."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.following import Following
from pipeline.networks import find_networks
from streamer.config import AnalysisConfig
from streamer.records import COLUMN_DTYPE, FrameResult, SeriesKey
from streamer.unfollowed import Seen
from tests.pipeline.tiny_networks import MATERIAL, MAX_COUNT, write_networks

SHAPE = (512, 512)


def follow(following: Following, places: np.ndarray, noise: float) -> FrameResult:  # type: ignore[type-arg]
    """Follow columns of four atoms in a frame of this noise that has moved by (1, 2) px."""
    columns = np.zeros(len(places), COLUMN_DTYPE)
    columns["y"], columns["x"] = places.T
    probabilities = np.full((len(places), MAX_COUNT), 0.01, np.float32)
    probabilities[:, 3] = 1.0 - 0.01 * (MAX_COUNT - 1)
    found = FrameResult(0, SeriesKey(1), columns, 0.0, 0.0, 1.0, 2.0, 3.0)
    return following.follow(found, Seen(probabilities, SHAPE, 0.2, noise, (1.0, 2.0)))


@pytest.mark.parametrize("dark", [0.01, 3.3])
def test_with_the_beam_blanked_the_total_stays(tmp_path: Path, dark: float) -> None:
    """In dark counts the networks find a hundred columns, others in each frame."""
    folder = write_networks(tmp_path, dose_e_per_A2="[15, 4000]")
    following, rng = Following(AnalysisConfig(), find_networks(folder, MATERIAL)), np.random.default_rng(1)
    crystal = 60.0 + 14.0 * np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2)
    assert follow(following, rng.uniform(5, 500, (120, 2)), dark).fused_atoms == 0.0
    for _ in range(10):
        before = follow(following, crystal, 0.29)
    for _ in range(10):
        blanked = follow(following, rng.uniform(5, 500, (120, 2)), dark)
        assert blanked.drift_px == (1.0, 2.0)
        assert (blanked.columns["track_id"] == -1).all()
        assert not len(blanked.changes)
    after = follow(following, crystal, 0.29)
    assert before.fused_atoms == pytest.approx(4 * 64, rel=0.02)
    assert blanked.fused_atoms == pytest.approx(before.fused_atoms, rel=1e-6)
    assert after.fused_atoms == pytest.approx(before.fused_atoms, rel=0.01)
    np.testing.assert_array_equal(after.columns["track_id"], before.columns["track_id"])
