"""The chain of a TIFF's pages, walked before ``tifffile`` does, which would follow a loop for ever.

(TIFF 6.0, section 2: the header's offset leads to the first directory, and each directory's last field to the
next; 0 ends the chain. BigTIFF, version 43, has eight bytes for each offset and number.)
"""

import struct
from pathlib import Path
from typing import BinaryIO

from streamer.errors import UsageError

__all__ = ["expect_pages_end"]

_CLASSIC, _BIG = 42, 43
_ENTRY_BYTES = {_CLASSIC: 12, _BIG: 20}
_COUNT = {_CLASSIC: "H", _BIG: "Q"}
_OFFSET = {_CLASSIC: "I", _BIG: "Q"}
_FIRST_AT = {_CLASSIC: 4, _BIG: 8}
_ORDERS = {b"II": "<", b"MM": ">"}


def expect_pages_end(path: Path) -> None:
    """Check that no page is followed by one before it; what else is wrong with a file ``tifffile`` finds.

    Raises
    ------
    UsageError
        If the chain of pages is a loop.
    """
    with path.open("rb") as file:
        start = file.read(4)
        order = _ORDERS.get(start[:2])
        version = struct.unpack(f"{order}H", start[2:])[0] if order and len(start) == 4 else 0
        if version not in _ENTRY_BYTES:
            return
        seen: set[int] = set()
        at = _number(file, _FIRST_AT[version], f"{order}{_OFFSET[version]}")
        while at:
            if at in seen:
                raise UsageError(
                    f"{path} is damaged: page {len(seen)} is followed by one before it, copy it again"
                )
            seen.add(at)
            count = f"{order}{_COUNT[version]}"
            next_at = at + struct.calcsize(count) + _number(file, at, count) * _ENTRY_BYTES[version]
            at = _number(file, next_at, f"{order}{_OFFSET[version]}")


def _number(file: BinaryIO, at: int, form: str) -> int:
    """Return the number at a place; 0 beyond the end."""
    if at >= 1 << 63:
        return 0
    file.seek(at)
    data = file.read(struct.calcsize(form))
    return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else 0
