"""Tiles cover a frame, do not overlap in their cores, and give the whole frame's answer."""

from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.assembly import FrameAssembly
from pipeline.backends import BatchShape
from pipeline.backends.openvino_backend import OpenVinoBackend
from pipeline.networks import find_networks
from pipeline.prepare import PreparedFrame
from pipeline.tiling import MARGIN_PX, MAX_SIDE_PX, cut, tiles_of
from streamer.records import Compression, FrameHeader, SeriesKey


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
    assert len(tiles) <= 16


def test_the_margin_is_wide_enough_for_the_shipped_networks() -> None:
    """A frame in tiles and in one piece: the same columns, and the same denoised frame, in float32."""
    rng = np.random.default_rng(3)
    height, width = 96, 1024
    noise = rng.normal(0, 1, (2, height, width)).astype(np.float32)
    noise[1] = -0.5
    header = FrameHeader(SeriesKey(1), 0, (height, width), np.dtype("<u2"), Compression.NONE)
    prepared = PreparedFrame(
        header, 0.0, np.zeros((height, width), np.uint16), None, noise, (height, width), 0.2, 1.0, 0.6
    )
    networks = find_networks(None, "ceria")
    answers = []
    with closing(OpenVinoBackend(networks, precision="f32")) as backend:
        for max_side in (1024, 512):
            frame = FrameAssembly(prepared, 0.2, threshold=0.02)
            frame.tiles = tiles_of((height, width), max_side, MARGIN_PX)
            backend.load(BatchShape(1, *frame.tiles[0].shape))
            for tile in frame.tiles:
                backend.submit(np.ascontiguousarray(frame.input_of(tile)[np.newaxis]))
                frame.put(tile, backend.collect(), 0)
            answers.append((len(frame.tiles), frame.denoised.copy(), frame.heights()))
    (one, whole, whole_heights), (several, tiled, tiled_heights) = answers
    assert (one, several) == (1, 3)
    np.testing.assert_allclose(tiled, whole, atol=2e-3)
    assert len(tiled_heights.table) == len(whole_heights.table)
    assert tiled_heights.total_atoms == pytest.approx(whole_heights.total_atoms, rel=1e-3)
