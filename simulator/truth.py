"""The truth of a movie, in a file beside its recording.

`truth_path` of ``run.nxs`` is ``run.truth.h5``:

============  ============================================================================================
path          content
============  ============================================================================================
``/frames``   ``frame_id, state, drift_y_px, drift_x_px, overfocus_A``, one row a frame sent
``/columns``  ``state, column_id, y, x, count``: every state's columns [px] in a frame without drift
============  ============================================================================================

Attributes: ``pixel_size_A``, ``dose_e_per_A2``, ``settings`` (JSON). The columns of a frame are those of its
state, moved by its drift. A few bytes a frame, so that a movie may play for days.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from simulator.movie import TRUE_COLUMN_DTYPE, Movie, MovieFrame, Place
from streamer.closing import Closing
from streamer.errors import RecordingError

__all__ = ["Truth", "TruthWriter", "read_truth", "truth_path"]

FRAME_DTYPE = np.dtype(
    [
        ("frame_id", "<i8"),
        ("state", "<i2"),
        ("drift_y_px", "<f4"),
        ("drift_x_px", "<f4"),
        ("overfocus_A", "<f4"),
    ]
)
STATE_COLUMN_DTYPE = np.dtype([("state", "<i2"), *TRUE_COLUMN_DTYPE.descr])

_BUFFER_FRAMES = 256


@dataclass(frozen=True, slots=True)
class Truth:
    """A truth file's content; ask it for the columns of a frame."""

    frames: NDArray[np.void]
    columns: NDArray[np.void]
    pixel_size_A: float

    def columns_of(self, frame_id: int) -> NDArray[np.void] | None:
        """Return a frame's columns, rows of ``state, column_id, y, x, count``; None if it was never sent."""
        row = int(np.searchsorted(self.frames["frame_id"], frame_id))
        if row == len(self.frames) or self.frames[row]["frame_id"] != frame_id:
            return None
        columns = self.columns[self.columns["state"] == self.frames[row]["state"]]
        columns["y"] += self.frames[row]["drift_y_px"]
        columns["x"] += self.frames[row]["drift_x_px"]
        return np.asarray(columns)


class TruthWriter(Closing):
    """Writes a movie's truth while it is sent; a context manager.

    Raises
    ------
    RecordingError
        If the file exists or cannot be written.
    """

    def __init__(self, path: Path, movie: Movie) -> None:
        try:
            self._file = h5py.File(path, "x")
        except OSError as error:
            raise RecordingError(f"cannot create the truth file {path}: {error}") from error
        self._frames = self._file.create_dataset(
            "frames", (0,), FRAME_DTYPE, maxshape=(None,), chunks=(_BUFFER_FRAMES,)
        )
        self._file["columns"] = _columns_of_states(movie)
        self._file.attrs["pixel_size_A"] = movie.states.pixel_size_A
        self._file.attrs["dose_e_per_A2"] = movie.settings.dose_e_per_A2
        self._file.attrs["settings"] = json.dumps(asdict(movie.settings))
        self._rows: list[tuple[int, int, float, float, float]] = []

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._flush()
        self._file.close()

    def append(self, frame: MovieFrame) -> None:
        """Note one frame, in the order of the ids."""
        place = frame.place
        self._rows.append((frame.index, place.state, *place.drift_px, place.overfocus_A))
        if len(self._rows) == _BUFFER_FRAMES:
            self._flush()

    def _flush(self) -> None:
        written = len(self._frames)
        self._frames.resize((written + len(self._rows),))
        self._frames[written:] = np.array(self._rows, FRAME_DTYPE)
        self._rows = []
        self._file.flush()


def truth_path(recording: Path) -> Path:
    """Return where the truth of a recording lies."""
    return recording.with_suffix(".truth.h5")


def read_truth(path: Path) -> Truth:
    """Read a truth file."""
    with h5py.File(path, "r") as file:
        return Truth(file["frames"][:], file["columns"][:], float(file.attrs["pixel_size_A"]))


def _columns_of_states(movie: Movie) -> NDArray[np.void]:
    states = [movie.columns(Place(k, (0.0, 0.0), 0.0)) for k in range(len(movie.states.waves))]
    return _with_state(states)


def _with_state(states: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    rows = np.zeros(sum(map(len, states)), STATE_COLUMN_DTYPE)
    rows["state"] = np.repeat(np.arange(len(states)), [len(columns) for columns in states])
    for name in TRUE_COLUMN_DTYPE.names or ():
        rows[name] = np.concatenate([columns[name] for columns in states])
    return rows
