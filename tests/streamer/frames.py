"""Frames and records that the tests of the wire formats share."""

from math import nan
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.compression import encode
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart

LIMIT = 1 << 20
KEY = SeriesKey(7, "01HRCJF83SA63WH8M5X1VBKFJM")


def make_image(shape: tuple[int, int] = (13, 24), dtype: str = "<u2", seed: int = 0) -> NDArray[Any]:
    """Draw counts, with one pixel without data."""
    image = np.random.default_rng(seed).poisson(0.5, shape).astype(dtype)
    image[-1, 0] = np.iinfo(image.dtype).max
    return image


def make_frame(
    image: NDArray[Any], compression: Compression = Compression.BSLZ4, frame_id: int = 0, t: float = nan
) -> Frame:
    """Make the record of an image."""
    height, width = image.shape
    header = FrameHeader(KEY, frame_id, (height, width), image.dtype, compression, t)
    return Frame(header, memoryview(encode(image, compression)))


def same(a: object, b: object) -> bool:
    """Whether two messages are equal, where two unknown times are."""
    return str(a) == str(b) if not isinstance(a, Frame) else _same_frames(a, b)


def _same_frames(a: Frame, b: object) -> bool:
    return isinstance(b, Frame) and repr(a.header) == repr(b.header) and a.payload == b.payload


keys = st.builds(SeriesKey, st.integers(0, 2**63 - 1), st.text(max_size=40))
numbers = st.floats(min_value=1e-6, max_value=1e6)
starts = st.builds(
    SeriesStart,
    key=keys,
    n_frames_planned=st.integers(0, 2**40),
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    dtype=st.none() | st.sampled_from([np.dtype("u1"), np.dtype("<u2"), np.dtype("<u4")]),
    channel=st.sampled_from(["threshold_1", "threshold_2"]),
    pixel_size_A=st.none() | numbers,
    frame_time_s=st.none() | numbers,
    saturation_value=st.none() | st.integers(0, 2**32),
)
ends = st.builds(SeriesEnd, keys)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Frames of all dtypes and compressions, with and without times."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    dtype = draw(st.sampled_from(["u1", "<u2", "<u4"]))
    image = make_image(shape, dtype, draw(st.integers(0, 100)))
    compression = draw(st.sampled_from([Compression.NONE, Compression.BSLZ4]))
    t = draw(st.just(nan) | st.integers(0, 10**9).map(lambda ticks: 1.7e9 + ticks / 1000))
    frame = make_frame(image, compression, draw(st.integers(0, 2**63 - 1)), t)
    header = FrameHeader(draw(keys), frame.header.frame_id, shape, image.dtype, compression, t)
    return Frame(header, frame.payload)


messages = st.one_of(starts, frames(), ends)
