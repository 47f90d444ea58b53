"""Damage for `benchmarks.fuzz`: what links and wrong programs do to bytes, and what an attacker would."""

import random
import re
import struct
from collections.abc import Callable, Sequence

__all__ = ["mutate", "mutate_parts"]

_INTERESTING = (
    0,
    1,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
_NUMBERS = (b"0", b"-1", b"65536", b"4294967296", b"9223372036854775808", b"1e999", b"NaN", b"9" * 40)
_DIGITS = re.compile(rb"\d+")
_MOST_MUTATIONS = 6
_LONGEST = 1 << 17


def mutate_parts(parts: Sequence[bytes], others: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """Damage the parts of one message; one in ten is damaged in its parts' number or order instead."""
    changed = list(parts)
    if rng.random() < 0.1:
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                del changed[at]
            case 1:
                changed.insert(at, rng.choice(others))
            case 2:
                rng.shuffle(changed)
            case _:
                changed = [b"".join(changed)]
        return changed
    at = rng.randrange(len(changed))
    changed[at] = mutate(changed[at], others, rng)
    return changed


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Damage bytes in one to six ways; `others` are what may be spliced in."""
    for _ in range(rng.randint(1, _MOST_MUTATIONS)):
        data = rng.choice(_MUTATIONS)(data, others, rng)
    return data[:_LONGEST]


def _place(data: bytes, rng: random.Random) -> int:
    """Choose a place, mostly near the beginning, where the headers are."""
    end = len(data) if rng.random() < 0.3 else min(len(data), 300)
    return rng.randrange(end) if end else 0


def _flip(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if data else data


def _set_byte(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(1) + data[at + 1 :]


def _set_number(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, code = _place(data, rng), rng.choice("BHIQ")
    size = struct.calcsize(code)
    number = rng.choice(_INTERESTING) % (1 << 8 * size)
    return data[:at] + struct.pack(rng.choice("<>") + code, number) + data[at + size :]


def _set_digits(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    found = list(_DIGITS.finditer(data[:2000]))
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(_NUMBERS) + data[one.end() :]


def _cut(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _delete(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 15, 100)) :]


def _repeat(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 4, 20, 200))
    return data[:at] + data[at : at + size] * rng.choice((2, 3, 50)) + data[at + size :]


def _insert(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 64))) + data[at:]


def _nest(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Open many arrays, maps or tags inside one another (CBOR, MessagePack, JSON)."""
    at = _place(data, rng)
    return (
        data[:at] + rng.choice((b"\x81", b"\x91", b"[", b"\xa1", b"\xc1", b"\xd9\xd9\xf7")) * 2000 + data[at:]
    )


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: _place(data, rng)] + other[_place(other, rng) :]


_MUTATIONS: Sequence[Callable[[bytes, Sequence[bytes], random.Random], bytes]] = (
    _flip, _set_byte, _set_number, _set_number, _set_digits, _cut, _delete, _repeat, _insert, _nest, _splice,
)  # fmt: skip
