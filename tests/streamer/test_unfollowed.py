"""Results whose columns are followed elsewhere: what is sent comes back; garbage is a MessageError."""

import contextlib
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import MessageError
from streamer.records import FrameResult
from streamer.unfollowed import (
    Seen,
    Unfollowed,
    decode_unfollowed,
    encode_unfollowed,
    is_unfollowed,
    name_of,
    picture_in,
    result_in,
)
from streamer.window_link import decode_view
from tests.streamer.test_link import KEY, _result, _view, _views


def _unfollowed(picture: bool = False) -> Unfollowed:
    result = _result()
    assert isinstance(result, FrameResult)
    counts = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    seen = Seen(counts, (8, 12), 0.2, 0.75)
    binned = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Unfollowed(result, seen, (4, 6), binned, _view() if picture else None)


def _parts(picture: bool = False) -> list[memoryview]:
    return _views(encode_unfollowed(_unfollowed(picture)))


@pytest.mark.parametrize("picture", [False, True])
def test_it_comes_back(picture: bool) -> None:
    parts, sent = _parts(picture), _unfollowed(picture)
    assert is_unfollowed(parts)
    assert name_of(parts) == (KEY, 7)
    got = decode_unfollowed(parts)
    np.testing.assert_array_equal(got.seen.probabilities, sent.seen.probabilities)
    np.testing.assert_array_equal(got.binned, sent.binned)
    np.testing.assert_array_equal(result_in(parts).columns, sent.result.columns)
    assert (got.seen.shape, got.seen.pixel_size_A, got.seen.noise) == ((8, 12), 0.2, 0.75)
    assert got.network_shape == (4, 6)
    assert bool(picture_in(parts)) == picture
    if picture:
        view = decode_view(picture_in(parts))
        np.testing.assert_array_equal(view.raw, _view().raw)
        np.testing.assert_array_equal(view.columns, sent.result.columns)


def test_each_column_has_its_distribution() -> None:
    sent = _unfollowed()
    other = replace(sent, seen=replace(sent.seen, probabilities=np.ones((2, 4), np.float32)))
    with pytest.raises(MessageError, match="3 columns have 2 distributions"):
        decode_unfollowed(_views(encode_unfollowed(other)))


def test_a_frame_without_pixels_is_none() -> None:
    with pytest.raises(MessageError, match="8 x 12 px, 0 x 6 px"):
        decode_unfollowed(_views(encode_unfollowed(replace(_unfollowed(), network_shape=(0, 6)))))


def test_header_bytes_are_fixed() -> None:
    header = msgpack.unpackb(_parts()[0])
    assert header == ["unfollowed", 3, "01HRCJF8", 7, 8, 12, 0.2, 0.75, 4, 6, 3, 4, 2, 3, 0]


@given(parts=st.lists(st.binary(max_size=40), max_size=13))
def test_garbage_is_only_ever_a_message_error(parts: list[bytes]) -> None:
    with pytest.raises(MessageError):
        decode_unfollowed(_views(list(parts)))


@given(cut=st.data())
def test_a_part_cut_short_is_only_ever_a_message_error(cut: st.DataObject) -> None:
    parts = [bytes(part) for part in _parts(picture=True)]
    index = cut.draw(st.integers(0, len(parts) - 1))
    parts[index] = parts[index][: cut.draw(st.integers(0, max(0, len(parts[index]) - 1)))]
    with contextlib.suppress(MessageError):
        decode_unfollowed(_views(list(parts)))
