"""What the networks say of the held-out particles' movies, kept in files by the networks' checksum.

Networks take minutes over these movies, following the columns takes seconds: so calibration and evaluation
read what is kept here, and other weights make files of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.networks import Networks
from simulator.movie import Movie, Place
from training.particle_movies import movie_of, seen, window_of

__all__ = ["Conditions", "SeenMovie", "seen_movies"]

THRESHOLD = 0.2
"""Lowest detection that is kept; what the live program takes lies above it."""


@dataclass(frozen=True, slots=True)
class SeenMovie:
    """One particle's movie: F frames, n columns found in all of them together, m rows of truth.

    Attributes
    ----------
    particle : int
    first : numpy.ndarray of int64, shape (F + 1,)
        Frame f has the rows ``first[f] : first[f + 1]`` of `columns` and `probabilities`.
    columns : numpy.ndarray of COLUMN_DTYPE, shape (n,)
    probabilities : numpy.ndarray of float32, shape (n, K)
    measured_px : numpy.ndarray of float64, shape (F, 2)
        Drift by `pipeline.drift`, (y, x).
    noise : numpy.ndarray of float64, shape (F,)
        As `pipeline.prepare.PreparedFrame` has it.
    state : numpy.ndarray of int64, shape (F,)
    drift_px : numpy.ndarray of float64, shape (F, 2)
        True drift.
    truth : numpy.ndarray of void, shape (m,)
        ``state, column_id, y, x, count`` in pixels of a frame without drift.
    side_px : numpy.ndarray of int64, shape ()
        Height and width of the frames.
    """

    particle: int
    first: NDArray[np.int64]
    columns: NDArray[np.void]
    probabilities: NDArray[np.float32]
    measured_px: NDArray[np.float64]
    noise: NDArray[np.float64]
    state: NDArray[np.int64]
    drift_px: NDArray[np.float64]
    truth: NDArray[np.void]
    side_px: NDArray[np.int64]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.state)

    def frame(self, f: int, threshold: float) -> tuple[NDArray[np.void], NDArray[np.float32]]:
        """Return the columns that a detection threshold lets pass, and their distributions."""
        rows = slice(int(self.first[f]), int(self.first[f + 1]))
        keep = self.columns[rows]["detection"] >= threshold
        return self.columns[rows][keep], self.probabilities[rows][keep]

    def true_columns(self, f: int) -> NDArray[np.void]:
        """Return the truth of a frame, in its pixels."""
        rows = self.truth[self.truth["state"] == self.state[f]].copy()
        rows["y"] += self.drift_px[f, 0]
        rows["x"] += self.drift_px[f, 1]
        return np.asarray(rows)


AFTER_FRAMES = 50
"""How long a movie goes on after its change."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the movies are taken: dose [e/Å²] a frame, frames averaged, and frames before the change."""

    dose_e_per_A2: float
    average_frames: int = 1
    state_frames: int = 100

    @property
    def name(self) -> str:
        """Part of the files' names."""
        return f"{self.dose_e_per_A2:g}-{self.average_frames}-{self.state_frames}"


def seen_movies(
    particles: Sequence[int],
    conditions: Conditions,
    networks: Networks,
    folder: Path,
    material: str = "ceria",
) -> Iterator[SeenMovie]:
    """Yield the movies of particles (numbers in the data set); they are made where they are not there yet."""
    digest = networks.heights.sha256[:12]
    for index in tqdm(particles, unit="movie", disable=None):
        path = folder / f"seen-{index}-{conditions.name}-{digest}.npz"
        if not path.exists():
            parts = _look(index, conditions, networks, folder, material)
            np.savez(path, **parts)  # type: ignore[arg-type]
        with np.load(path) as stored:
            yield SeenMovie(particle=index, **{name: stored[name] for name in stored.files})


def _look(
    index: int, conditions: Conditions, networks: Networks, folder: Path, material: str
) -> dict[str, NDArray[np.generic]]:
    movie = movie_of(index, conditions.dose_e_per_A2, conditions.state_frames, folder, material)
    n_frames = conditions.state_frames + AFTER_FRAMES
    columns, probabilities, measured, noise, places = [], [], [], [], []
    truth: dict[int, NDArray[np.void]] = {}
    window = window_of(movie)
    for frame in seen(movie, n_frames, networks, THRESHOLD, conditions.average_frames):
        columns.append(frame.heights.table)
        probabilities.append(frame.heights.probabilities)
        measured.append(frame.measured_px)
        noise.append(frame.noise)
        places.append(frame.place)
        truth.setdefault(frame.place.state, _at_rest(movie, frame.place.state, window.start))
    return {
        "first": np.cumsum([0, *map(len, columns)]),
        "columns": np.concatenate(columns),
        "probabilities": np.concatenate(probabilities),
        "measured_px": np.array(measured),
        "noise": np.array(noise),
        "state": np.array([place.state for place in places]),
        "drift_px": np.array([place.drift_px for place in places]),
        "truth": _with_state(truth),
        "side_px": np.array(window.stop - window.start),
    }


def _at_rest(movie: Movie, state: int, start_px: int) -> NDArray[np.void]:
    columns = movie.columns(Place(state, (0.0, 0.0), 0.0))
    columns["y"] -= start_px
    columns["x"] -= start_px
    return columns


def _with_state(truth: dict[int, NDArray[np.void]]) -> NDArray[np.void]:
    dtype = np.dtype([("state", "<i8"), *next(iter(truth.values())).dtype.descr])
    rows = np.zeros(sum(map(len, truth.values())), dtype)
    rows["state"] = np.repeat(list(truth), [len(columns) for columns in truth.values()])
    for name in dtype.names or ():
        if name != "state":
            rows[name] = np.concatenate([columns[name] for columns in truth.values()])
    return rows
