"""What is done before the first frame comes; that it leaves no kernel out is shown in `test_device`."""

from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import make_backend
from pipeline.engine import Engine
from pipeline.networks import Networks
from pipeline.particle_answers import ParticleAnswers
from pipeline.particle_networks import ParticleNetworks
from pipeline.tiling import MAX_SIDE_PX
from pipeline.warm_up import expected_tile, warm_up
from streamer.clock import RunClock
from streamer.config import AnalysisConfig, RunConfig, SourceConfig


@pytest.mark.parametrize(
    ("frame_px", "pixel_size_A", "tile"),
    [
        (None, None, (512, 512)),
        ((1000, 700), None, (1008, 704)),
        ((1000, 700), 0.203, (1008, 704)),
        ((1000, 700), 0.1, (512, 352)),
        ((20, 700), None, (512, 512)),
    ],
    ids=["unknown", "padded", "nearly the same pixels", "finer pixels", "too small to analyse"],
)
def test_the_networks_are_loaded_for_what_is_expected(
    frame_px: tuple[int, int] | None,
    pixel_size_A: float | None,
    tile: tuple[int, int],
    tiny_networks: Networks,
) -> None:
    source = SourceConfig(frame_px=frame_px, pixel_size_A=pixel_size_A)
    assert expected_tile(RunConfig(source=source), tiny_networks) == tile


def test_of_a_frame_that_is_cut_a_tile_is_expected(tiny_networks: Networks) -> None:
    height, width = expected_tile(RunConfig(source=SourceConfig(frame_px=(4096, 512))), tiny_networks)
    assert (height < MAX_SIDE_PX, height % 16, width) == (True, 0, 512)


@pytest.mark.parametrize("frame_px", [None, (MAX_SIDE_PX + 16, 512)], ids=["usual", "of several tiles"])
def test_a_particle_is_classified(
    frame_px: tuple[int, int] | None, particle_networks: ParticleNetworks
) -> None:
    config = RunConfig(
        source=SourceConfig(frame_px=frame_px), analysis=AnalysisConfig(material="tinygold", batch_frames=2)
    )
    told: list[int] = []

    def classify(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        told.append(len(patches))
        return backend.classify(patches)

    with closing(make_backend("openvino", particle_networks, 1)) as backend:
        engine = Engine(backend, 2, particle_networks.channels)
        engine.load(expected_tile(config, particle_networks))
        answers = ParticleAnswers(config, RunClock.start(), particle_networks, classify)
        warm_up(engine, answers, config, particle_networks)
        assert not engine.busy
    assert told
    assert told[0] >= 8  # each in all its orientations
