"""Five frames: their preparation, and a network that begins as the one for one frame."""

import numpy as np
import pytest
import torch

from pipeline.preprocess import normalise
from training.data import DrawConfig, draw_detectors
from training.initial import of_several_frames
from training.model import ModelConfig, make_model
from training.movie_data import FRAMES, film, movie_input, shifted, shorten, uncover
from training.movie_score import SINCE, make_movie
from training.train import denoise_loss


def test_a_network_of_five_frames_begins_as_that_of_one_on_their_mean() -> None:
    torch.manual_seed(0)
    one = make_model(ModelConfig("denoise", (8, 8, 8))).eval()
    five = make_model(ModelConfig("denoise", (8, 8, 8), FRAMES)).eval()
    five.load_state_dict(of_several_frames(one.state_dict(), FRAMES))
    counts = np.random.default_rng(0).poisson(20.0, (2, FRAMES, 96, 96)).astype(np.float32)
    with torch.no_grad():
        of_five = five(torch.from_numpy(movie_input(counts)))
        of_mean = one(torch.from_numpy(normalise(counts.mean(1)).frames))
    # What differs is the error of noise levels measured in one frame, a few per cent of the contrast.
    assert torch.corrcoef(torch.stack([of_five.flatten(), of_mean.flatten()]))[0, 1] > 0.99


def test_the_newest_frame_is_what_a_network_of_one_gets_and_the_others_follow_it() -> None:
    frames = np.random.default_rng(1).poisson(20.0, (2, FRAMES, 64, 64)).astype(np.float32)
    prepared = movie_input(frames)
    assert np.array_equal(prepared[:, :2], normalise(frames[:, -1]).frames)
    for channel, frame in ((2, FRAMES - 2), (FRAMES, 0)):
        assert np.corrcoef(prepared[0, channel].ravel(), frames[0, frame].ravel())[0, 1] > 0.999


def test_a_short_movie_repeats_its_oldest_frame() -> None:
    movie = np.arange(FRAMES, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    shorten(movie, 3)
    assert movie[:, 0, 0].tolist() == [3.0, 3.0, 3.0, 3.0, 4.0]


def test_older_frames_do_not_reach_an_edge_by_as_much_as_the_specimen_has_moved() -> None:
    movie = np.arange(FRAMES, dtype=np.float32)[:, None, None] * np.ones((1, 12, 2), np.float32)
    uncover(movie, 2)
    assert [int((one[:, 0] == FRAMES - 1).sum()) for one in movie] == [8, 6, 4, 2, 12]


def test_older_frames_do_not_weigh_a_movie() -> None:
    frames, clean = torch.randn(2, FRAMES + 1, 16, 16), torch.ones(2, 1, 16, 16)
    other = torch.cat([frames[:, :2], torch.randn(2, FRAMES - 1, 16, 16)], 1)
    assert denoise_loss(clean + 0.1, frames, clean) == denoise_loss(clean + 0.1, other, clean)


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


def test_what_changes_is_judged_in_the_newest_frame() -> None:
    image, count = torch.full((96, 96), 2.0), torch.zeros(96, 96, dtype=torch.uint8)
    count[48, 48] = 3
    seen = set()
    for seed in range(8):
        movie = make_movie(image, count, "changing", np.random.default_rng(seed))
        assert movie.judged[48, 48]
        assert not movie.judged[5, 5]
        at_column = movie.clean[:, 48, 48].round(decimals=1).tolist()
        assert at_column[:SINCE] == [at_column[0]] * SINCE
        seen.add((at_column[0], at_column[-1]))
    assert seen == {(2.0, 1.0), (1.0, 2.0)}
