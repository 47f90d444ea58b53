"""Five frames: their preparation, and a network that begins as the one for one frame."""

import numpy as np
import pytest
import torch

from pipeline.preprocess import normalise
from training.data import DrawConfig, draw_detectors
from training.initial import of_several_frames
from training.model import ModelConfig, make_model
from training.movie_data import FRAMES, MIDDLE, film, movie_input, shifted
from training.movie_score import make_movie


def test_the_mean_of_the_channels_is_the_prepared_mean_frame() -> None:
    frames = np.random.default_rng(0).poisson(20.0, (2, FRAMES, 64, 64)).astype(np.float32)
    prepared, mean = movie_input(frames), normalise(frames.mean(1)).frames
    assert prepared[:, :FRAMES].mean(1) == pytest.approx(mean[:, 0], abs=1e-5)
    assert np.array_equal(prepared[:, FRAMES], mean[:, 1])


def test_a_network_of_five_frames_begins_as_that_of_one_on_their_mean() -> None:
    torch.manual_seed(0)
    one = make_model(ModelConfig("denoise", (8, 8, 8))).eval()
    five = make_model(ModelConfig("denoise", (8, 8, 8), FRAMES)).eval()
    five.load_state_dict(of_several_frames(one.state_dict(), FRAMES))
    frames = torch.randn(2, FRAMES + 1, 32, 48)
    mean = torch.cat([frames[:, :FRAMES].mean(1, keepdim=True), frames[:, FRAMES:]], dim=1)
    with torch.no_grad():
        assert torch.allclose(five(frames), one(mean), atol=1e-5)


def test_a_move_by_a_part_of_a_pixel_moves_the_centre_of_mass_by_as_much() -> None:
    pixel = torch.arange(64.0)
    peak = torch.exp(-((pixel[:, None] - 30.0) ** 2 + (pixel - 25.0) ** 2) / 18.0)
    moved = shifted(peak, torch.tensor([[0.4]]), torch.tensor([[-0.7]]))
    centre = [(moved.sum(axis) * pixel).sum() / moved.sum() for axis in (1, 0)]
    assert [float(c) for c in centre] == pytest.approx([30.4, 24.3], abs=1e-3)


def test_signal_that_lingers_correlates_a_frame_with_the_one_before_and_no_other() -> None:
    detectors = draw_detectors(
        1, DrawConfig(dose_e_per_A2=(1000.0, 1000.1), counting_share=1.0), np.random.default_rng(1)
    )
    frames = film(torch.ones(1, FRAMES, 256, 256), detectors, torch.full((1, 1, 1), 0.38))[0].flatten(1)
    matrix = torch.corrcoef(frames)
    expected = 0.38 * 0.62 / (0.38**2 + 0.62**2)
    assert torch.diagonal(matrix, 1).numpy() == pytest.approx(np.full(4, expected), abs=0.02)
    assert torch.diagonal(matrix, 2).numpy() == pytest.approx(np.zeros(3), abs=0.02)


def test_a_change_leaves_the_middle_frame_alone() -> None:
    image, count = 1.0 + torch.rand(96, 96), torch.zeros(96, 96, dtype=torch.uint8)
    count[48, 48] = 3
    movie = make_movie(image, count, "changing", np.random.default_rng(0))
    assert torch.allclose(movie.clean[MIDDLE], image, atol=1e-5)
    assert movie.clean[MIDDLE + 1, 48, 48].item() == pytest.approx(1.0, abs=0.5)
    assert movie.judged[48, 48]
    assert not movie.judged[5, 5]
