"""What the pixels of a frame may be: their types, their number, and the value that means "no data"."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import GeometryError, MessageTooLargeError, UnknownEncodingError

__all__ = ["PIXEL_DTYPES", "checked_shape", "nodata_mask", "nodata_value", "pixel_dtype"]

PIXEL_DTYPES = {name: np.dtype(name) for name in ("|u1", "<u2", "<u4")}
"""The pixel types a stream may carry, by the names that numpy and our own stream give them."""

_NAMES = {**PIXEL_DTYPES, **{dtype.name: dtype for dtype in PIXEL_DTYPES.values()}}


def pixel_dtype(name: object) -> np.dtype[Any]:
    """Return the dtype called `name`: ``"uint16"`` as DECTRIS writes it, or ``"<u2"``.

    Raises
    ------
    UnknownEncodingError
        If it is neither uint8, uint16 nor uint32.
    """
    try:
        return _NAMES[name]  # type: ignore[index]
    except (KeyError, TypeError):
        raise UnknownEncodingError(f"pixels are uint8, uint16 or uint32, got {name!r}") from None


def checked_shape(height: int, width: int, itemsize: int, limit_bytes: int) -> tuple[int, int]:
    """Return (height, width) [px] if a frame of that shape can exist and is within the limit.

    Raises
    ------
    GeometryError
        If one of them is zero.
    MessageTooLargeError
        If the pixels take more than `limit_bytes`.
    """
    if height < 1 or width < 1:
        raise GeometryError(f"a frame of {height} x {width} px")
    if height * width * itemsize > limit_bytes:
        raise MessageTooLargeError(
            f"a frame of {height} x {width} px takes {height * width * itemsize} bytes,"
            f" the limit is {limit_bytes}: raise frame_limit_bytes if that is right"
        )
    return height, width


def nodata_value(dtype: np.dtype[Any]) -> int:
    """Return the value that DECTRIS gives to pixels without data: the largest of the dtype."""
    return int(np.iinfo(dtype).max)


def nodata_mask(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True where a pixel holds no data; such pixels must not enter a sum or a transform."""
    return np.asarray(image == nodata_value(image.dtype))
