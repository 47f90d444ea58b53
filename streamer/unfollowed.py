"""Results whose columns are followed elsewhere: the one module that knows their bytes.

Several analysers see every other frame each, and can neither measure drift nor follow columns. What they send
is a result with what both need. Ingest looks at the header alone and passes all parts on, in the order of the
frames, to the follower, which sends back an ordinary result (`streamer.link`)::

    0       `UnfollowedHeader`
    1 … 6   the result
    7, 8    the distributions over counts, float32 (columns, counts); the binned frame, float32
    9 … 11  `streamer.window_link.ViewHeader`, raw and denoised uint8, where a picture is due

A picture's columns and particles are the result's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.errors import MessageError
from streamer.link import decode_result, encode_result
from streamer.message_parts import Buffer, bytes_of, decode_header, encode_header, image_in
from streamer.records import FrameResult, SeriesKey
from streamer.window_link import VIEW_TOPIC, View, decode_view, encode_view

__all__ = [
    "Seen",
    "Unfollowed",
    "decode_unfollowed",
    "encode_unfollowed",
    "is_unfollowed",
    "name_of",
    "picture_in",
    "result_in",
]

_RESULT = slice(1, 7)
_COLUMNS, _PARTICLES = 2, 6
_PICTURE = slice(9, 12)
_BARE, _WITH_PICTURE = 9, 12  # parts


@dataclass(frozen=True, slots=True)
class Seen:
    """What following a frame's columns needs besides its result: small enough to be sent about.

    Attributes
    ----------
    probabilities : numpy.ndarray of float32, shape (n, K)
        Of each count, for each column of the result; of particles, none.
    shape : tuple of int
        (height, width) of the frame [px].
    pixel_size_A : float
    noise : float
        The noise's standard deviation in units of the vacuum level.
    drift_px : tuple of float
        (y, x) against the series' first frame [px]; NaN if it was not measured.
    series : int
        Tells series of a run apart that have the same key.
    """

    probabilities: NDArray[np.float32]
    shape: tuple[int, int]
    pixel_size_A: float
    noise: float
    drift_px: tuple[float, float] = (nan, nan)
    series: int = 0


@dataclass(frozen=True, slots=True)
class Unfollowed:
    """A result, and what measuring drift and following need.

    Attributes
    ----------
    result : FrameResult
    seen : Seen
        Its drift is not measured yet.
    network_shape : tuple of int
        (height, width) of the frame in the networks' pixels.
    binned : numpy.ndarray of float32
        See `pipeline.drift.binned`.
    picture : View or None
        As of the unfollowed result.
    """

    result: FrameResult
    seen: Seen
    network_shape: tuple[int, int]
    binned: NDArray[np.float32]
    picture: View | None = None


class UnfollowedHeader(msgspec.Struct, frozen=True, array_like=True, tag="unfollowed"):
    """The scalars of a `Seen`, and the shapes of all that is in the message."""

    series_id: int
    unique_id: str
    frame_id: int
    height: int  # of the frame [px]
    width: int
    pixel_size_A: float
    noise: float
    network_height: int  # of the frame in the networks' pixels
    network_width: int
    n_columns: int  # shape of the distributions over counts
    n_counts: int
    binned_height: int
    binned_width: int
    series: int = 0


def encode_unfollowed(unfollowed: Unfollowed) -> list[Buffer]:
    """Make the parts of an unfollowed result."""
    result, seen = unfollowed.result, unfollowed.seen
    shapes = *unfollowed.network_shape, *seen.probabilities.shape, *unfollowed.binned.shape
    header = UnfollowedHeader(
        result.key.series_id, result.key.unique_id, result.frame_id, *seen.shape, seen.pixel_size_A,
        seen.noise, *(*shapes, seen.series),
    )  # fmt: skip
    arrays = [bytes_of(array, np.float32) for array in (seen.probabilities, unfollowed.binned)]
    picture = encode_view(unfollowed.picture)[1:4] if unfollowed.picture is not None else []
    return [encode_header(header), *encode_result(result), *arrays, *picture]


def is_unfollowed(parts: Sequence[memoryview]) -> bool:
    """Whether a message that an analyser has sent can only be an unfollowed result."""
    return len(parts) in (_BARE, _WITH_PICTURE)


def name_of(parts: Sequence[memoryview]) -> tuple[SeriesKey, int]:
    """Return series and id of an unfollowed result's frame; nothing but the header is read.

    Raises
    ------
    MessageError
        If there is no such header.
    """
    h = decode_header(parts[0], UnfollowedHeader)
    return SeriesKey(h.series_id, h.unique_id), h.frame_id


def result_in(parts: Sequence[memoryview]) -> FrameResult:
    """Return the result as it is, not followed.

    Raises
    ------
    MessageError
        If there is none.
    """
    result = decode_result(parts[_RESULT])
    if not isinstance(result, FrameResult):
        raise MessageError("an unfollowed result holds no result")
    return result


def picture_in(parts: Sequence[memoryview]) -> list[memoryview]:
    """Return the picture's message for windows, as `streamer.window_link` has it; empty if there is none."""
    if len(parts) != _WITH_PICTURE:
        return []
    return [memoryview(VIEW_TOPIC), *parts[_PICTURE], parts[_COLUMNS], parts[_PARTICLES]]


def decode_unfollowed(parts: Sequence[memoryview]) -> Unfollowed:
    """Read an unfollowed result; all arrays are views into the parts.

    Raises
    ------
    MessageError
        If the parts are none.
    """
    if not is_unfollowed(parts):
        raise MessageError(f"an unfollowed result has {_BARE} or {_WITH_PICTURE} parts, got {len(parts)}")
    h = decode_header(parts[0], UnfollowedHeader)
    probabilities = image_in(parts[7], (h.n_columns, h.n_counts), np.float32, "distributions")
    binned = image_in(parts[8], (h.binned_height, h.binned_width), np.float32, "a binned frame")
    if min(h.height, h.width, h.network_height, h.network_width) < 1:
        raise MessageError(f"a frame of {h.height} x {h.width} px, {h.network_height} x {h.network_width} px")
    result, picture = result_in(parts), picture_in(parts)
    if h.n_columns != len(result.columns):
        raise MessageError(f"{len(result.columns)} columns have {h.n_columns} distributions over counts")
    return Unfollowed(
        result,
        Seen(probabilities, (h.height, h.width), h.pixel_size_A, h.noise, series=h.series),
        (h.network_height, h.network_width),
        binned,
        decode_view(picture) if picture else None,
    )
