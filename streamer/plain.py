"""What of a foreign header is worth keeping: the values that JSON (and MessagePack) can hold."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

__all__ = ["plain", "positive"]


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the entries that JSON can hold, at any depth; bytes, arrays, dates and the like are left out."""
    return {str(name): _plain_value(value) for name, value in values.items() if _is_plain(value)}


def positive(value: object) -> float | None:
    """Return a finite number above zero; None for anything else, which counts as not given."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value > 0:
        return float(value)
    return None


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value if _is_plain(item)]
    return value


def _is_plain(value: object) -> bool:
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 64
    return value is None or isinstance(value, float | str | list | tuple | Mapping)
