"""Stored pixels become counts without loss, or the error says what to do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from streamer.errors import UsageError
from streamer.files import UNSCALED, Scaling, stream_dtype, to_counts

TYPES = {
    "|b1": "|u1", "|u1": "<u2", "|i1": "|u1", "<u2": "<u2", ">u2": "<u2", "<i2": "<u2", ">i2": "<u2",
    "<u4": "<u4", ">u4": "<u4", "<i4": "<u4", "<u8": "<u4", "<i8": "<u4",
    "<f2": "<u2", "<f4": "<u4", ">f4": "<u4", "<f8": "<u4",
}  # fmt: skip


@pytest.mark.parametrize(("stored", "streamed"), TYPES.items())
def test_counts_of_every_type_survive(stored, streamed):
    image = np.array([[0, 1, 1], [1, 0, 1]]).astype(stored)
    counts = to_counts(image, 0, UNSCALED)
    assert counts.dtype.str == streamed == stream_dtype(image.dtype, UNSCALED).str
    np.testing.assert_array_equal(counts, image)
    assert counts.flags.c_contiguous


@given(
    npst.arrays(st.sampled_from(["<i2", ">i4", "<f4", ">u2", "<f8"]), (3, 4), elements=st.integers(0, 30000))
)
def test_whole_numbers_survive_in_any_type(image):
    np.testing.assert_array_equal(to_counts(image, 0, UNSCALED), image)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (-1, "<i2", "frame 5 has a pixel of -1 counts.*--offset"),
        (-0.5, "<f4", "frame 5 has a pixel of -0.5; counts are whole.*--scale"),
        (0.25, "<f8", "counts are whole"),
        (np.nan, "<f4", "not numbers"),
        (np.inf, "<f8", "not numbers"),
        (2**32, "<i8", "at most 4294967295 fit"),
        (2**32, "<u8", "at most 4294967295 fit"),
        (2.0**32, "<f8", "at most 4294967295 fit"),
        (2.0**32, "<f4", "at most 4294967295 fit"),
    ],
)
def test_what_would_lose_something_is_refused(value, dtype, message):
    image = np.zeros((2, 3), dtype)
    image[1, 2] = value
    with pytest.raises(UsageError, match=message):
        to_counts(image, 5, UNSCALED)


def test_white_is_a_value_in_an_image_and_no_data_in_a_detectors_counts():
    image = np.array([[0, 255]], "u1")
    assert to_counts(image, 0).dtype == np.dtype("<u2")
    assert to_counts(image, 0, largest_is_no_data=True).dtype == np.dtype("u1")


@pytest.mark.parametrize("dtype", ["<c8", "M8[s]", "S4", [("r", "u1"), ("g", "u1")]])
def test_what_are_no_intensities_is_refused(dtype):
    with pytest.raises(UsageError, match="not counts"):
        stream_dtype(np.dtype(dtype), UNSCALED)


def test_scale_and_offset_are_the_users_word():
    gain_corrected = np.array([[100.0, 112.5], [124.9, 200.0]], "<f4")
    counts = to_counts(gain_corrected, 0, Scaling(counts_per_unit=0.08, offset=100))
    np.testing.assert_array_equal(counts, [[0, 1], [2, 8]])
    assert counts.dtype == np.dtype("<u4")


def test_an_offset_alone_keeps_the_width():
    shifted = np.array([[-32768, 32767]], "<i2")
    counts = to_counts(shifted, 0, Scaling(offset=-32768))
    np.testing.assert_array_equal(counts, [[0, 65535]])
    assert counts.dtype == np.dtype("<u2")


@pytest.mark.parametrize(
    ("scaling", "message"),
    [(Scaling(offset=10), "lower --offset"), (Scaling(counts_per_unit=1e9), "lower --scale")],
)
def test_scaled_values_that_do_not_fit_are_refused(scaling, message):
    with pytest.raises(UsageError, match=message):
        to_counts(np.array([[5, 11]], "<i2"), 0, scaling)
