"""Numbers as a person reads them."""

import math
import re

__all__ = [
    "amount_text",
    "breakable",
    "bytes_text",
    "duration_text",
    "number_text",
    "rate_text",
    "reading_text",
    "time_text",
    "value_text",
]

_THIN_SPACE = "\u2009"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONG_WORD = re.compile(r"(\S{24})(?=\S)")
NOTHING = "–"


def breakable(text: str) -> str:
    """Let a label begin a new line within long words too, such as paths: else it grows to their width."""
    return _LONG_WORD.sub("\\1\u200b", text)


def number_text(number: int) -> str:
    """Write 1234567 as 1 234 567, with thin spaces."""
    return f"{number:,}".replace(",", _THIN_SPACE)


def value_text(value: float, digits: int = 1, unit: str = "") -> str:
    """Write a value with its unit; a dash where it is unknown."""
    if not math.isfinite(value):
        return NOTHING
    text = f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0.0: no minus before a zero
    return f"{text}{_THIN_SPACE + unit if unit else ''}"


def amount_text(value: float) -> str:
    """Write a large value with three digits: 912, 1.63×10⁵."""
    return value_text(value, 0) if abs(value) < 10_000 else _scientific(value)


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.replace('-', '−')}×10{str(int(exponent)).translate(_RAISED)}"


def reading_text(value: float) -> str:
    """Write a value of any size so that its digits can be seen: 600.00, 0.0250, 3.10×10⁻⁷."""
    if value == 0 or abs(value) >= 1:
        return value_text(value, 2)
    return value_text(value, 4) if abs(value) >= 0.01 else _scientific(value)


def rate_text(per_s: float) -> str:
    """Write a rate as 24.9/s, 1 200/s."""
    if not math.isfinite(per_s):
        return NOTHING
    return f"{number_text(round(per_s))}/s" if per_s >= 100 else f"{per_s:.1f}/s"


def bytes_text(n: int) -> str:
    """Write a size in decimal units, as disk makers do."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.{0 if unit in ('B', 'kB') or value >= 100 else 1}f}{_THIN_SPACE}{unit}"
        value /= 1000
    return f"{value:.1f}{_THIN_SPACE}TB"


def duration_text(seconds: float) -> str:
    """Write a duration as 0:07, 12:34 or 1:02:03."""
    if not math.isfinite(seconds):
        return NOTHING
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def time_text(seconds: float) -> str:
    """Write a place on a time axis: 40 s, 2:30, 1:02:03."""
    if abs(seconds) < 120 or seconds != round(seconds):
        return f"{seconds:g}{_THIN_SPACE}s".replace("-", "−")
    return ("−" if seconds < 0 else "") + duration_text(abs(seconds))
