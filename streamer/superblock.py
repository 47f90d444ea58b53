"""The head of an HDF5 file, which says whether it was closed: what ``h5clear`` mends, without it.

A writer that is killed leaves its marks behind, and HDF5 then refuses the file except to SWMR readers.
Version 3 of the superblock, from "HDF5 File Format Specification Version 3.0", section II.A:

======  ======  ==================================================================
offset  bytes   field
======  ======  ==================================================================
0       8       signature
8       1       version, 3
9       1       size of offsets, 8
10      1       size of lengths, 8
11      1       consistency flags: bit 0 open for writing, bit 2 open for SWMR
12      8       base address
20      8       superblock extension's address
28      8       end of file address
36      8       root group's object header
44      4       checksum of all before: Bob Jenkins' ``lookup3``, initial value 0
======  ======  ==================================================================
"""

import os
import struct
from pathlib import Path
from typing import Any

from streamer.errors import UsageError

__all__ = ["clear_marks", "is_marked_open", "lookup3"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LAYOUT = struct.Struct("<8s4B4QI")
_MASK = 0xFFFFFFFF


def is_marked_open(path: Path) -> bool:
    """Whether a process has the file open for writing, or was killed while it had.

    Raises
    ------
    UsageError
        If it is not an HDF5 file as this program writes them.
    """
    return bool(_read(path)[4])


def clear_marks(path: Path) -> None:
    """Remove the marks of a writer that is gone, and take its file's real length for the end of file.

    The 48 bytes are replaced in one write. Where the file is shorter than its writer had planned, it is
    filled up with zeros, which no finished part of it refers to.

    Raises
    ------
    UsageError
        As `is_marked_open`.
    """
    fields = _read(path)
    length = max(fields[7], path.stat().st_size)
    os.truncate(path, length)
    head = _LAYOUT.pack(*fields[:4], 0, *fields[5:7], length, fields[8], 0)[:-4]
    with path.open("r+b") as file:
        file.write(head + struct.pack("<I", lookup3(head)))


def _read(path: Path) -> tuple[Any, ...]:
    try:
        with path.open("rb") as file:
            head = file.read(_LAYOUT.size)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not head.startswith(_SIGNATURE):
        raise UsageError(f"{path} is not an HDF5 file")
    fields = _LAYOUT.unpack(head.ljust(_LAYOUT.size, b"\0"))
    if fields[1:4] != (3, 8, 8) or fields[9] != lookup3(head[:-4]):
        raise UsageError(f"{path} does not begin as this program's files do: its superblock is not version 3")
    return fields


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' 32-bit hash ``hashlittle(data, initval=0)`` (lookup3.c, public domain)."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    tail_at = max(0, (len(data) - 1) // 12 * 12)
    for at in range(0, tail_at, 12):
        x, y, z = struct.unpack_from("<3I", data, at)
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
    if not data:
        return c
    x, y, z = struct.unpack("<3I", data[tail_at:].ljust(12, b"\0"))
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for shift_a, shift_b, shift_c in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _MASK) ^ _rotate(c, shift_a)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotate(a, shift_b)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotate(b, shift_c)
        b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for shifts in ((14, 11, 25), (16, 4, 14)):
        c = ((c ^ b) - _rotate(b, shifts[0])) & _MASK
        a = ((a ^ c) - _rotate(c, shifts[1])) & _MASK
        b = ((b ^ a) - _rotate(a, shifts[2])) & _MASK
    return ((c ^ b) - _rotate(b, 24)) & _MASK


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK
