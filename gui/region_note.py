"""A region of interest as a note in the run's file, and back: so a file knows what was looked at. Pure.

What was counted inside follows from the columns in the file, for every frame; only the corners must be kept.
"""

import re

from gui.settings import Corners
from streamer.control import NOTE_BYTES

__all__ = ["region_note", "region_of_note"]

_PLACE = r"-?\d+(?:\.\d)?"
_NOTE = re.compile(rf"region \[y,x px\]((?: {_PLACE},{_PLACE}){{3,}})")


def region_note(corners: Corners) -> str:
    """Write the corners (y, x) [px] as a note; empty if they are too many for one."""
    for digits in (1, 0):
        text = "region [y,x px] " + " ".join(f"{y:.{digits}f},{x:.{digits}f}" for y, x in corners)
        if len(text) <= NOTE_BYTES:
            return text
    return ""


def region_of_note(text: str) -> Corners | None:
    """Return the corners that a note holds; None if it is another note."""
    found = _NOTE.fullmatch(text)
    if found is None:
        return None
    places = (place.split(",") for place in found[1].split())
    return tuple((float(y), float(x)) for y, x in places)
