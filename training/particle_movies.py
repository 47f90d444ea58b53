"""Movies of held-out particles that gain and lose atoms, as the networks see them.

The particles are those of the data set's validation and test splits, which no training has seen. Each stays
for some seconds as it is, then atoms leave and arrive; it drifts, and the focus wanders. The exit waves are
computed once and kept in a folder, the networks' answers are not, so that other weights can be judged.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import Backend, BatchShape, make_backend
from pipeline.columns import ColumnHeights
from pipeline.networks import Networks
from pipeline.prepare import prepare
from pipeline.preprocess import PIXEL_SIZE_A, SIZE_MULTIPLE
from pipeline.steady import Steadier
from simulator.dataset import GRIDS, build_nonempty, config_for, in_field, particle_waves
from simulator.demo_states import ROW_DTYPE, DemoStates
from simulator.make_demo_states import next_state
from simulator.movie import Movie, MovieSettings, Place
from simulator.structures import (
    draw_settings,
    inside_particle,
    make_lattice,
    neighbour_pairs,
    particle_from_sites,
    without_too_high,
)
from simulator.wave_file import SPLITS, split_of
from simulator.waves import resample
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

__all__ = ["SeenFrame", "held_out", "movie_of", "open_backend", "seen", "window_of"]

STATES = 3
FIELD_PX = 256
FRAME_PX = 288
FOCI_A = (40.0, 75.0)
ROOM_PX = 26.0
"""Beyond the outermost column: for the drift and for what the focus spreads."""


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One frame: where it stands in the movie, its true columns, and what the networks say of it.

    `heights` are in pixels of the frame; `measured_px` is the drift by `pipeline.drift`.
    """

    place: Place
    true: NDArray[np.void]
    heights: ColumnHeights
    measured_px: tuple[float, float]
    noise: float


def held_out(split: str, count: int, material: str = "ceria") -> list[int]:
    """Return the numbers of the first particles of a split, ``validation`` or ``test``."""
    config = config_for(material)
    indices = np.arange(config.particles)
    wanted = split_of(indices, config) == SPLITS.index(split)
    return [int(i) for i in indices[wanted][:count]]


def movie_of(
    index: int, dose_e_per_A2: float, state_frames: int, folder: Path, material: str = "ceria"
) -> Movie:
    """Return the movie of one particle of a material's data set; its exit waves are kept in `folder`."""
    rng = np.random.default_rng([index, 5])
    settings = MovieSettings(
        material=material, size_px=FRAME_PX, dose_e_per_A2=dose_e_per_A2, seed=index,
        state_frames=state_frames, drift_reach_px=6.0, overfocus_A=float(rng.uniform(*FOCI_A)),
    )  # fmt: skip
    return Movie(settings, _states(index, folder, material))


def window_of(movie: Movie) -> slice:
    """Return the rows, and columns, of the frames that hold the particle wherever it drifts."""
    columns = movie.columns(Place(0, (0.0, 0.0), 0.0))
    middle = movie.settings.size_px // 2
    reach = max(float(np.abs(columns[axis] - middle).max()) for axis in "yx") + ROOM_PX
    half = min(middle, int(np.ceil(reach / SIZE_MULTIPLE)) * SIZE_MULTIPLE)
    return slice(middle - half, middle + half)


def open_backend(networks: Networks, side_px: int) -> Backend:
    """Load the networks for square frames."""
    backend = make_backend("openvino", networks)
    backend.load(BatchShape(1, side_px, side_px))
    return backend


def seen(
    movie: Movie, n_frames: int, networks: Networks, threshold: float, average_frames: int = 1
) -> Iterator[SeenFrame]:
    """Yield the first frames of a movie with what the networks say of each, as the analyser would."""
    steadier, window = Steadier(average_frames), window_of(movie)
    with closing(open_backend(networks, window.stop - window.start)) as backend:
        for frame in islice(movie, n_frames):
            image = np.ascontiguousarray(frame.image[window, window])
            prepared = steadier.steady(prepare(_task(image), PIXEL_SIZE_A, networks.pixel_size_A))
            assembly = FrameAssembly(prepared)
            backend.submit(prepared.frame[np.newaxis])
            answer = backend.collect()
            (found,) = find_in_batch(answer, 1, networks.pixel_size_A, threshold, np)
            assembly.put(assembly.tiles[0], answer, 0, found)
            true = movie.columns(frame.place)
            true["y"] -= window.start
            true["x"] -= window.start
            yield SeenFrame(frame.place, true, assembly.heights(), prepared.drift_px, prepared.noise)


def _task(image: NDArray[np.unsignedinteger]) -> Task:
    shape = (image.shape[0], image.shape[1])
    header = FrameHeader(SeriesKey(1), 0, shape, image.dtype, Compression.NONE)
    return Task(Frame(header, memoryview(image.tobytes())), 0.0, PIXEL_SIZE_A, None)


def _states(index: int, folder: Path, material: str) -> DemoStates:
    path = folder / ("" if material == "ceria" else material) / f"particle-{index}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        waves, columns = _compute_states(index, material)
        np.savez(path, waves=waves, columns=columns)
    with np.load(path) as stored:
        return DemoStates(stored["waves"], stored["columns"], PIXEL_SIZE_A)


def _compute_states(index: int, material: str) -> tuple[NDArray[np.complex64], NDArray[np.void]]:
    """Let atoms come and go on one particle, and compute the exit wave of every state."""
    draw = partial(draw_settings, material=material)
    settings = build_nonempty(config_for(material).seed, index, draw).settings
    lattice = make_lattice(settings)
    occupied = [inside_particle(lattice.metal_A, settings)]
    rng = np.random.default_rng([index, 6])
    pairs = neighbour_pairs(lattice.metal_A, settings.crystal)
    while len(occupied) < STATES:
        occupied.append(next_state(occupied[-1], pairs, rng))
    labelled = [without_too_high(lattice.metal_A, kept, settings) for kept in occupied]
    particles = [particle_from_sites(lattice, kept, settings) for kept in labelled]
    grid = replace(GRIDS[material], pixels=FIELD_PX)
    waves = np.stack([particle_waves(particle, grid) for particle in particles])
    rows = []
    for state, particle in enumerate(particles):
        columns = in_field(particle.columns, grid)
        row = np.zeros(len(columns), ROW_DTYPE)
        row["state"] = state
        for name in ("column_id", "y_A", "x_A", "count"):
            row[name] = columns[name]
        rows.append(row)
    side = round(grid.field_A / PIXEL_SIZE_A)
    return resample(waves, side).astype(np.complex64), np.concatenate(rows)
