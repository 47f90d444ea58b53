"""Lengths and times as files write them, in the units of this program (Å and s)."""

from math import isfinite

__all__ = ["angstroms", "isotropic_angstroms", "seconds"]

_LENGTHS_A = {
    "m": 1e10, "meter": 1e10, "cm": 1e8, "mm": 1e7,
    "um": 1e4, "micron": 1e4, "micrometer": 1e4, "micrometre": 1e4,
    "nm": 10.0, "nanometer": 10.0, "nanometre": 10.0,
    "å": 1.0, "a": 1.0, "ang": 1.0, "angstrom": 1.0, "pm": 0.01, "picometer": 0.01,
}  # fmt: skip
_TIMES_S = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "us": 1e-6, "microsecond": 1e-6, "ns": 1e-9,
}  # fmt: skip
_TOLERANCE = 0.01  # pixels whose sides differ by more than this are not square


def angstroms(value: object, unit: object) -> float | None:
    """Return a length in Å; None if it is no positive length or its unit is not one of length."""
    return _converted(value, unit, _LENGTHS_A)


def seconds(value: object, unit: object) -> float | None:
    """Return a duration in s; None if it is no positive duration or its unit is not one of time."""
    return _converted(value, unit, _TIMES_S)


def isotropic_angstroms(y_A: float | None, x_A: float | None) -> float | None:
    """Return the pixel size [Å] of square pixels; None if a side is unknown or the two differ by over 1 %."""
    if y_A is None or x_A is None or abs(y_A - x_A) > _TOLERANCE * x_A:
        return None
    return x_A


def _converted(value: object, unit: object, table: dict[str, float]) -> float | None:
    factor = table.get(_plain_name(unit))
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number * factor if factor is not None and isfinite(number) and number > 0 else None


def _plain_name(unit: object) -> str:
    """Return a unit's name in lower case, singular, with ``u`` for micro (ImageJ writes it as an escape)."""
    name = str(unit).strip().replace("\\u00B5", "u").replace("\u00b5", "u").replace("\u03bc", "u")
    name = name.replace("\u212b", "å").lower()
    return name[:-1] if len(name) > 3 and name.endswith("s") else name
