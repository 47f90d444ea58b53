"""Values of foreign headers: which can be kept, and what a field must be to be believed."""

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from streamer.errors import MessageError

__all__ = ["count", "optional_count", "plain", "positive", "text", "unix_time"]

_LAST_TIME = 253_402_300_799.0  # 9999-12-31T23:59:59Z: no later one can be written as a date


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the entries that JSON and MessagePack can hold; bytes, arrays, dates and so on are left out."""
    return {str(name): _plain_value(value) for name, value in values.items() if _is_plain(value)}


def positive(value: object) -> float | None:
    """Return a finite number above zero; None for anything else, which counts as not given."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value > 0:
        return float(value)
    return None


def optional_count(value: object) -> int | None:
    """Return an integer from 0 to 2**63 - 1; None for anything else, which counts as not given."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value
    return None


def count(value: object, name: str) -> int:
    """Return an integer from 0 to 2**63 - 1, or raise a `MessageError` that names the field."""
    number = optional_count(value)
    if number is None:
        raise MessageError(f"{name!r} is {value!r:.60}, expected an unsigned integer")
    return number


def text(value: object) -> str:
    """Return a text; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def unix_time(value: float) -> float:
    """Return a time from 1970 to 9999 [Unix s]; NaN for anything else, such as milliseconds."""
    return value if 0 <= value <= _LAST_TIME else nan


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
