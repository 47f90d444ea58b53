"""Stored pixels to the unsigned counts that a stream carries: exactly, or not at all.

Integers without negative values and floating-point numbers that are whole and not negative become unsigned
integers without loss; each frame is checked. Everything else needs the user's word: how many counts one unit
is (``--scale``), and which stored value means no counts (``--offset``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError

__all__ = ["UNSCALED", "Scaling", "stream_dtype", "to_counts"]

_ADVICE = "give --scale COUNTS_PER_UNIT and --offset VALUE_OF_NO_COUNTS to convert the pixels yourself"


@dataclass(frozen=True, slots=True)
class Scaling:
    """The user's conversion: counts = (stored value - `offset`) × `counts_per_unit`, rounded."""

    counts_per_unit: float = 1.0
    offset: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether pixels stay as they are."""
        return self == UNSCALED


UNSCALED = Scaling()
"""Pixels stay as they are."""


def stream_dtype(
    stored: np.dtype[Any], scaling: Scaling = UNSCALED, largest_is_no_data: bool = False
) -> np.dtype[Any]:
    """Return the type in which pixels of type `stored` are streamed: little-endian uint8, uint16 or uint32.

    Integers keep their width (8 bytes become 4), float16 becomes uint16, and everything that is scaled or has
    a wider type uint32, because a file's largest value is not known before its last frame is. In a stream a
    type's largest value means "no data"; in an image of 8 bits it is simply white. Therefore uint8 becomes
    uint16, unless the file follows the detectors' convention (`largest_is_no_data`).

    Raises
    ------
    UsageError
        If such pixels are not intensities (complex numbers, colours, records).
    """
    if stored.kind not in "buif" or stored.names:
        raise UsageError(f"pixels of type {stored} are not counts; expected integers or real numbers")
    if stored.kind == "f":
        wide = stored.itemsize > 2 or not scaling.is_identity
        return np.dtype("<u4" if wide else "<u2")
    if scaling.counts_per_unit != 1:
        return np.dtype("<u4")
    if stored == np.uint8 and not largest_is_no_data:
        return np.dtype("<u2")
    return np.dtype(f"<u{min(stored.itemsize, 4)}")


def to_counts(
    image: NDArray[Any], index: int, scaling: Scaling = UNSCALED, largest_is_no_data: bool = False
) -> NDArray[Any]:
    """Convert one frame's pixels to the type that `stream_dtype` gives.

    Parameters
    ----------
    image : numpy.ndarray of shape (height, width)
    index : int
        The frame's place in its file, for the message.
    scaling : Scaling
    largest_is_no_data : bool
        See `stream_dtype`.

    Raises
    ------
    UsageError
        If a pixel cannot be converted without loss (or, scaled, does not fit); the message names the frame,
        the value and the options that help.
    """
    dtype = stream_dtype(image.dtype, scaling, largest_is_no_data)
    values = image if scaling.is_identity else _scaled(image, index, scaling)
    if values.dtype.kind == "f":
        _expect_whole(values, index)
    if values.dtype.kind in "if" or values.dtype.itemsize > dtype.itemsize:
        _expect_range(values, index, dtype, scaling)
    return np.ascontiguousarray(values, dtype)


def _scaled(image: NDArray[Any], index: int, scaling: Scaling) -> NDArray[np.float64]:
    values = (image.astype(np.float64) - scaling.offset) * scaling.counts_per_unit
    _expect_finite(values, index)
    return np.asarray(np.rint(values))


def _expect_whole(values: NDArray[Any], index: int) -> None:
    _expect_finite(values, index)
    fractional = values != np.rint(values)
    if fractional.any():
        raise UsageError(
            f"frame {index} has a pixel of {values[fractional][0]:g}; counts are whole numbers: {_ADVICE}"
        )


def _expect_finite(values: NDArray[Any], index: int) -> None:
    if not np.isfinite(values).all():
        raise UsageError(f"frame {index} has pixels that are not numbers (NaN or infinite)")


def _expect_range(values: NDArray[Any], index: int, dtype: np.dtype[Any], scaling: Scaling) -> None:
    low, high = values.min().item(), values.max().item()  # Python's numbers: compared without rounding
    largest = np.iinfo(dtype).max
    if low < 0:
        meaning = _ADVICE if scaling.is_identity else "give a lower --offset"
        raise UsageError(f"frame {index} has a pixel of {low:g} counts; counts are not negative: {meaning}")
    if high > largest:
        meaning = _ADVICE if scaling.is_identity else "give a lower --scale"
        raise UsageError(f"frame {index} has a pixel of {high:g} counts, at most {largest} fit: {meaning}")
