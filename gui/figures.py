"""The large figures beside the map, in words. Pure."""

from dataclasses import dataclass

import numpy as np

from gui.counting import counted
from gui.format import NOTHING, number_text, value_text
from gui.particles import mean_size_nm
from gui.settings import CountsFrom, Settings
from gui.status_text import HIGH_UNFAMILIARITY, Severity
from streamer.window_link import View, ViewHeader

__all__ = ["Headline", "headline_of", "is_analysed"]

_CAPTIONS = {CountsFrom.SINGLE: "TOTAL ATOMS", CountsFrom.FUSED: "TOTAL ATOMS, FUSED"}
_PARTICLES, _MEAN_SIZE = "PARTICLES", "MEAN SIZE"


@dataclass(frozen=True, slots=True)
class Headline:
    """The large figures beside the map."""

    caption: str = _CAPTIONS[CountsFrom.SINGLE]
    atoms: str = NOTHING
    atoms_std: str = ""
    columns_caption: str = "COLUMNS"
    columns: str = NOTHING
    uncertain: str = ""
    unfamiliarity: float = float("nan")
    unfamiliarity_text: str = NOTHING
    unfamiliarity_severity: Severity = Severity.PLAIN


def is_analysed(header: ViewHeader) -> bool:
    """Whether there is a result: a file has frames without one."""
    return bool(np.isfinite(header.t_published))


def headline_of(view: View, settings: Settings) -> Headline:
    """Say what a frame holds: atoms, by the counts that the settings choose, or particles."""
    h = view.header
    if not is_analysed(h):
        of_particles = Headline(caption=_PARTICLES, columns_caption=_MEAN_SIZE)
        return of_particles if h.shapes else Headline(caption=_CAPTIONS[settings.counts])
    if h.shapes:
        return _particles_of(view)
    fused = settings.counts is CountsFrom.FUSED
    atoms, std = (h.fused_atoms, h.fused_atoms_std) if fused else (h.total_atoms, h.total_atoms_std)
    columns, uncertain = _columns_of(view, settings)
    return Headline(
        caption=_CAPTIONS[settings.counts],
        atoms=number_text(round(atoms)) if np.isfinite(atoms) else NOTHING,
        atoms_std=f"± {value_text(std, 1)}" if np.isfinite(std) else "",
        columns=columns,
        uncertain=uncertain,
        unfamiliarity=h.ood_score,
        unfamiliarity_text=value_text(h.ood_score, 2),
        unfamiliarity_severity=_severity(h.ood_score),
    )


def _particles_of(view: View) -> Headline:
    """Say how many particles there are, and of how many the shape is not said."""
    unsure = int((view.particles["shape"] < 0).sum())
    return Headline(
        caption=_PARTICLES,
        atoms=number_text(len(view.particles)),
        atoms_std=f"{number_text(unsure)} unsure" if unsure else "",
        columns_caption=_MEAN_SIZE,
        columns=value_text(mean_size_nm(view.particles), 1, "nm"),
        uncertain="diameter of equal area",
        unfamiliarity=view.header.ood_score,
        unfamiliarity_text=value_text(view.header.ood_score, 2),
        unfamiliarity_severity=_severity(view.header.ood_score),
    )


def _columns_of(view: View, settings: Settings) -> tuple[str, str]:
    """Say how many columns there are, and how many of their counts are uncertain."""
    counts = counted(view.columns, settings.counts)
    if len(view.columns) and not counts.known.any():
        return NOTHING, ""
    there = counts.known & (counts.count > 0)
    unsure = int((there & (counts.probability < settings.sure_probability)).sum())
    return number_text(int(there.sum())), f"{number_text(unsure)} uncertain" if unsure else "all sure"


def _severity(ood_score: float) -> Severity:
    if not np.isfinite(ood_score):
        return Severity.PLAIN
    return Severity.WARN if ood_score >= HIGH_UNFAMILIARITY else Severity.GOOD
