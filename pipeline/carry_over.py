"""What was noted and measured during a run goes on into the file of its second analysis.

Notes, stimulus channels and what triggers wrote are of the experiment, not of the analysis: a run that is
analysed again has them too, each beside the frame it belonged to. Both files are closed by then.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import RecordingError
from streamer.file_process import PROCESS
from streamer.result_tables import open_result
from streamer.swmr import LIBVER

__all__ = ["carry_over"]

_CHANNELS = "/entry/channels"
_NOTES = f"{PROCESS}/notes"
Times = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def carry_over(
    recorded: Path, again: Path, frame_ids: Sequence[int] | None = None, but: Sequence[str] = ()
) -> None:
    """Copy notes and stimulus channels of a run into the file of its second analysis.

    Parameters
    ----------
    recorded, again : pathlib.Path
        Result files, closed.
    frame_ids : sequence of int, optional
        Of the recorded run's frames, in the order of the new file's, where they were sent anew: the times
        are then moved with the frames. None: ids and times are the same.
    but : sequence of str
        Names of triggers whose notes are left out, because the second analysis makes its own.

    Raises
    ------
    RecordingError
        If the new file cannot be written.
    """
    with open_result(recorded) as old:
        try:
            with h5py.File(again, "r+", libver=LIBVER) as new:
                moved = _same if frame_ids is None else _moving(old, new, frame_ids)
                _carry_notes(old[_NOTES], new[_NOTES], moved, frame_ids, but)
                for name in old[_CHANNELS]:
                    _carry_channel(old[_CHANNELS], new[_CHANNELS], name, moved)
        except OSError as error:
            raise RecordingError(f"cannot write to {again}: {error}") from error


def _same(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return times


def _moving(old: h5py.File, new: h5py.File, frame_ids: Sequence[int]) -> Times:
    """Return what turns a time of the recorded run into one of the second: frames' arrivals are matched."""
    t_old = dict(
        zip(*(old[f"/entry/ledger/{n}"][:].tolist() for n in ("frame_id", "t_received")), strict=True)
    )
    t_new = dict(
        zip(*(new[f"/entry/ledger/{n}"][:].tolist() for n in ("frame_id", "t_received")), strict=True)
    )
    pairs = [(t_old[i], t_new[n]) for n, i in enumerate(frame_ids) if n in t_new and i in t_old]
    known = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    if not len(known):
        return _same
    before, after = np.sort(known[:, 0]), np.sort(known[:, 1])

    def moved(times: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(times, before[0], before[-1])
        return np.asarray(np.interp(inside, before, after) + (times - inside))

    return moved


def _carry_notes(
    old: h5py.Group, new: h5py.Group, moved: Times, frame_ids: Sequence[int] | None, but: Sequence[str]
) -> None:
    texts = old["text"][:]
    made_anew = [text.startswith(tuple(f"{name}: ".encode() for name in but)) for text in texts]
    keep = ~(np.array(made_anew, bool) & (old["source"][:] == b"trigger"))
    ids = old["frame_id"][:][keep]
    if frame_ids is not None:
        ids = _renumbered(ids, frame_ids)
    rows = {"time": moved(old["time"][:][keep]), "frame_id": ids}
    rows |= {name: old[name][:][keep] for name in ("source", "text")}
    order = np.argsort(np.concatenate([new["time"][:], rows["time"]]), kind="stable")
    if frame_ids is None:
        order = np.arange(len(order))  # what was done now comes first: its time is today's
    for name, values in rows.items():
        both = np.concatenate([new[name][:], values])[order]
        new[name].resize(len(both), axis=0)
        new[name][:] = both


def _renumbered(ids: NDArray[np.int64], frame_ids: Sequence[int]) -> NDArray[np.int64]:
    """Return the new id of each frame; of one that was not sent, that of the last before it, or −1."""
    sent = np.sort(np.array(frame_ids, np.int64))
    numbers = {old: new for new, old in enumerate(frame_ids)}
    last = np.searchsorted(sent, ids, side="right") - 1
    return np.array([numbers[int(sent[k])] if k >= 0 else -1 for k in last], np.int64)


def _carry_channel(old: h5py.Group, new: h5py.Group, name: str, moved: Times) -> None:
    """Put a channel's samples in; one that was pushed anew meanwhile stays as it is."""
    if name in new:
        if len(new[name]["value"]):
            return
        del new[name]
    old.copy(name, new, name)
    new[name]["time"][:] = moved(old[name]["time"][:])
