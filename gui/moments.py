"""Moments with a text on the time axes: notes that were written, triggers that have fired. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from gui.format import time_text

__all__ = ["Moment", "moments_text", "moments_within"]

_MOST_LINES = 12


@dataclass(frozen=True, slots=True)
class Moment:
    """When it was [Unix s], and what is said of it."""

    t: float
    text: str


def moments_within(moments: Sequence[Moment], span: tuple[float, float]) -> tuple[Moment, ...]:
    """Return those from the beginning to the end of `span` [Unix s], in the order of time."""
    start, end = span
    return tuple(sorted((m for m in moments if start <= m.t <= end), key=lambda moment: moment.t))


def moments_text(moments: Sequence[Moment], t_zero: float) -> str:
    """Write the last ones, a line each, with the time on the axis that calls `t_zero` [Unix s] zero."""
    lines = [f"{time_text(round(m.t - t_zero, 1))}   {m.text}" for m in moments[-_MOST_LINES:]]
    return "\n".join(lines)
