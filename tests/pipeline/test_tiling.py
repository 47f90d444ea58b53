"""Tiles cover a frame, do not overlap in their cores, and give the whole frame's answer."""

from contextlib import closing
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import softmax

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import BatchShape
from pipeline.backends.openvino_backend import OpenVinoBackend
from pipeline.networks import Networks, find_networks
from pipeline.prepare import prepare
from pipeline.preprocess import normalise
from pipeline.tiling import MARGIN_PX, MAX_SIDE_PX, cut, tiles_of
from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from tests.pipeline.test_prepare import TARGET_A, task
from tests.pipeline.tiny_networks import frame_with_columns


@given(st.integers(1, 700), st.integers(20, 90), st.integers(0, 100))
def test_spans_fit_together(side_16: int, max_16: int, margin_px: int) -> None:
    side, max_side = 16 * side_16, 16 * max_16
    spans = cut(side, max_side, margin_px)
    assert len({s.stop - s.start for s in spans}) == 1
    assert spans[0].stop - spans[0].start <= max_side
    assert (spans[0].core_start, spans[-1].core_stop, spans[-1].stop) == (0, side, side)
    assert all(a.core_stop == b.core_start for a, b in pairwise(spans))
    for s in spans:
        assert 0 <= s.start <= s.core_start < s.core_stop <= s.stop <= side
        assert s.start % 16 == s.stop % 16 == 0
        assert s.start == 0 or s.core_start - s.start >= margin_px
        assert s.stop == side or s.stop - s.core_stop >= margin_px


def test_usual_frames_are_one_tile_and_a_large_one_is_cut() -> None:
    assert len(tiles_of((1024, 1024))) == 1
    tiles = tiles_of((4160, 4368))
    assert len({tile.shape for tile in tiles}) == 1
    assert max(tiles[0].shape) <= MAX_SIDE_PX
    assert len(tiles) <= 20


def analysed(networks: Networks, image: NDArray[np.uint16], max_side_px: int) -> FrameAssembly:
    """Analyse a frame in tiles of at most this size, in float32."""
    frame = FrameAssembly(prepare(task(image), TARGET_A, TARGET_A))
    frame.tiles = tiles_of(image.shape, max_side_px, MARGIN_PX)  # type: ignore[arg-type]
    with closing(OpenVinoBackend(networks, precision="f32")) as backend:
        backend.load(BatchShape(1, *frame.tiles[0].shape))
        for tile in frame.tiles:
            backend.submit(np.ascontiguousarray(frame.input_of(tile)[np.newaxis]))
            answer = backend.collect()
            frame.put(tile, answer, 0, find_in_batch(answer, 1, TARGET_A, 0.5, np)[0])
    return frame


def test_tiles_of_local_networks_give_the_whole_frames_answer(tiny_networks: Networks) -> None:
    columns = [(30.0, 24.0 + 40 * i, 1 + i % 8) for i in range(25)]
    image = frame_with_columns((96, 1024), columns)
    whole, tiled = (analysed(tiny_networks, image, side) for side in (1024, 512))
    assert (len(whole.tiles), len(tiled.tiles)) == (1, 4)
    np.testing.assert_allclose(tiled.denoised, whole.denoised, atol=1e-5)
    expected, found = (np.sort(f.heights().table, order="x") for f in (whole, tiled))
    assert len(found) == len(expected) == len(columns)
    np.testing.assert_array_equal(found["count"], expected["count"])
    np.testing.assert_allclose(found["x"], expected["x"], atol=1e-3)


def test_the_shipped_networks_say_the_same_in_tiles() -> None:
    """Each pixel's answer depends on its surroundings alone, so tiles change nothing but the last bits."""
    movie = Movie(MovieSettings(size_px=512, dose_e_per_A2=300.0), load_states())
    image = next(iter(movie)).image
    networks = find_networks(None, "ceria")
    whole, tiled = (analysed(networks, image, side).heights().table for side in (512, 384))
    assert len(whole) == len(tiled) > 100
    distance, other = cKDTree(np.stack([tiled["y"], tiled["x"]], axis=-1)).query(
        np.stack([whole["y"], whole["x"]], axis=-1)
    )
    assert distance.max() < 0.1
    assert (whole["count"] == tiled["count"][other]).mean() > 0.98


def test_what_is_beyond_the_margin_hardly_changes_an_answer() -> None:
    """The left of a frame shows something else; how far does the right feel that?"""
    movie = Movie(MovieSettings(size_px=512, dose_e_per_A2=300.0), load_states())
    frame = normalise(next(iter(movie)).image[None]).frames
    edge = 240  # through the particle
    noise, mirrored = frame.copy(), frame.copy()
    noise[0, 0, :, :edge] = np.random.default_rng(0).normal(0.0, 0.6, (512, edge))
    mirrored[0, 0, :, :edge] = frame[0, 0, :, ::-1][:, :edge]
    with closing(OpenVinoBackend(find_networks(None, "ceria"), precision="f32")) as backend:
        backend.load(BatchShape(1, 512, 512))
        as_it_was, *others = (probabilities(backend, each) for each in (frame, noise, mirrored))
    for other in others:
        for before, after in zip(as_it_was, other, strict=True):
            step = 512 // before.shape[-1]
            changed = np.abs(before - after).reshape(-1, before.shape[-1]).max(0)
            assert changed[edge // step] > 0.05, "the place of the change itself"
            assert changed[(edge + MARGIN_PX) // step :].max() < 0.02


def probabilities(backend: OpenVinoBackend, frame: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the column map, and the probability of each count at each place."""
    backend.submit(frame)
    answer = backend.collect()
    return [answer.column_probability.copy(), softmax(answer.count_logits, axis=1)]
