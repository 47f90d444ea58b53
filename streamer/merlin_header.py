"""The text before each frame of a Merlin detector, the same in its files (``.mib``) and on its data port.

Fields from the Merlin user manual: ``MQ1,number,header bytes,chips,width,height,depth,layout,…``, commas
between them, zeros at the end. Newer firmware adds a more precise time.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from streamer.errors import UnknownEncodingError

__all__ = ["HEADER_BYTES", "MerlinHeader", "read_header", "time_of"]

HEADER_BYTES = 384
"""Of a detector with one chip; the header itself says how long it is."""

_DEPTHS: dict[str, np.dtype[Any]] = {"U08": np.dtype("|u1"), "U16": np.dtype("<u2"), "U32": np.dtype("<u4")}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{1,6}")
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class MerlinHeader:
    """What a frame's header says; `number` counts from 1 in each acquisition."""

    number: int
    n_bytes: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def wire_dtype(self) -> np.dtype[Any]:
        """The pixels as they are stored and sent: big-endian."""
        return self.dtype.newbyteorder(">")


def read_header(data: bytes) -> MerlinHeader:
    """Read the first bytes of a frame.

    Raises
    ------
    ValueError
        If they are no header.
    UnknownEncodingError
        If the pixels are of a type that is not read, such as the raw R64; it carries the frame's id.
    """
    fields = data.decode("ascii", "replace").split(",")
    if not fields[0].startswith("MQ"):
        raise ValueError(f"it begins with {fields[0][:8]!r}")
    if len(fields) < 8:
        raise ValueError(f"its header has {len(fields)} fields, expected at least 8")
    number, n_bytes, width, height = (_number(fields[n]) for n in (1, 2, 4, 5))
    if min(n_bytes, width, height) < 1:
        raise ValueError(f"a header of {n_bytes} bytes, frames of {height} x {width} px")
    depth = fields[6].strip()
    if depth not in _DEPTHS:
        raise UnknownEncodingError(
            f"pixels of type {depth[:8]}; expected U08, U16 or U32 (not raw)", number - 1
        )
    return MerlinHeader(number, n_bytes, (height, width), _DEPTHS[depth])


def time_of(header: str) -> datetime | None:
    """Return the last time in a header, the most precise one; the detector says no time zone."""
    found = _TIME.findall(header)
    try:
        return datetime.fromisoformat(found[-1]) if found else None
    except ValueError:
        return None


def _number(field: str) -> int:
    digits = field.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise ValueError(f"{field[:12]!r} where a number belongs")
    return int(digits)
