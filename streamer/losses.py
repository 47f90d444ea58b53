"""What did not go all the way, frame by frame, and whether the run's policy meant it to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.reconcile import without_row
from streamer.records import FrameStatus, Policy
from streamer.result_tables import Tables, left_out, unanswered, wanted

__all__ = ["Loss", "analysis_losses", "losses"]

_MOST_NAMED = 20
_NUMBER = re.compile(r"(?<![a-z])\d+(\.\d+)?")
_ALIKE = 40  # characters: the ledger cuts a reason off after 63, at another word where the numbers are longer
_NOT_SAID = {
    FrameStatus.MISSING: "never came",
    FrameStatus.RECORDED: "no result came, nothing says why",
}
_CUT_OFF = "recording stopped before its result came"


@dataclass(frozen=True, slots=True)
class Loss:
    """Frames with one status and reason that did not go all the way, or not in the usual one.

    Attributes
    ----------
    n_frames : int
    status : str
        Their state in the ledger.
    reason : str
    frame_ids : str
        Their ids, shortly: ``3, 7-9, 12``.
    lost : bool
        Whether they were lost against the policy; if not, this is only worth knowing.
    """

    n_frames: int
    status: str
    reason: str
    frame_ids: str
    lost: bool

    def __str__(self) -> str:
        return f"{self.n_frames} {self.status} ({self.reason}): {self.frame_ids}"


def analysis_losses(tables: Tables) -> NDArray[np.bool_]:
    """Tell which rows of the ledger are usable frames that were to be analysed and have no result.

    A run that was stopped skips what it could not analyse any more; that is what it was asked for. Any other
    skip under the policy ``wait`` is a loss, as is a result that came too late for a recording that failed.
    """
    status, recorded = tables.ledger["status"], tables.ledger["stack_row"] >= 0
    lost = unanswered(tables.ledger, tables.asked) | ((status == FrameStatus.DAMAGED) & recorded)
    if tables.asked.policy is Policy.WAIT and tables.state != "stopped":
        lost |= (status == FrameStatus.SKIPPED) & wanted(tables.ledger, tables.asked)
    return np.asarray(lost)


def losses(tables: Tables) -> Iterator[Loss]:
    """Name what is not in the file or has no result, and what was unusual, by status and reason.

    Reasons that differ in numbers only, such as a frame's id or a payload's length, are taken together.
    """
    ledger = tables.ledger
    gone = analysis_losses(tables) | ((ledger["stack_row"] < 0) & ~left_out(ledger))
    for status in FrameStatus:
        for lost in (True, False):
            rows = np.flatnonzero((ledger["status"] == status) & (gone == lost))
            rows = rows if lost else rows[ledger["reason"][rows] != b""]
            for why, chosen in _by_reason(ledger["reason"], rows).items():
                said = why or _not_said(status, tables.state)
                ids = ledger["frame_id"][chosen]
                yield Loss(len(ids), status.name.lower(), said, _ranges(ids), lost)
    if n_more := without_row(tables):
        first = tables.n_planned - n_more
        yield Loss(n_more, "missing", "planned, never came", f"{first}-{tables.n_planned - 1}", True)


def _by_reason(reasons: NDArray[np.bytes_], rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Divide rows of the ledger by what is said of them."""
    texts = [reason.decode(errors="replace") for reason in reasons[rows]]
    alike: dict[str, list[int]] = {}
    for n, text in enumerate(texts):
        alike.setdefault(_NUMBER.sub("#", text)[:_ALIKE], []).append(n)
    return {_said_of([texts[n] for n in members]): rows[members] for members in alike.values()}


def _said_of(texts: list[str]) -> str:
    """Return the reason if it is one, else what the reasons have in common, with # for the numbers."""
    if len(set(texts)) == 1:
        return texts[0]
    return min((_NUMBER.sub("#", text) for text in texts), key=len)


def _not_said(status: FrameStatus, state: str) -> str:
    cut_off = status is FrameStatus.RECORDED and state == "failed"
    return _CUT_OFF if cut_off else _NOT_SAID.get(status, "nothing says why")


def _ranges(ids: NDArray[np.int64]) -> str:
    """Write frame ids shortly: 3, 7-9, 12."""
    runs = np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)
    named = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:_MOST_NAMED]]
    more = len(runs) - _MOST_NAMED
    return ", ".join(named) + (f" and {more} more ranges" if more > 0 else "")
