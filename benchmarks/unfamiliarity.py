"""The unfamiliarity score of images that the shipped networks know and of images that they do not.

Prints the table in docs/analysis.md: ``python -m benchmarks.unfamiliarity``. Means over three frames of 512².
"""

from collections.abc import Callable
from contextlib import closing
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import Backend, BatchShape, make_backend
from pipeline.familiarity import Terms, Trained, terms_of
from pipeline.networks import find_networks
from pipeline.prepare import prepare
from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

SIZE_PX = 512
FRAMES = 3
PIXEL_SIZE_A = 0.2
AT = np.arange(SIZE_PX, dtype=float)

Image = NDArray[np.float64]
Counts = NDArray[np.unsignedinteger]


def movie(**settings: object) -> list[Counts]:
    """Frames of the demonstration's movie, far apart."""
    frames = Movie(MovieSettings(size_px=SIZE_PX, **settings), load_states())  # type: ignore[arg-type]
    return [frame.image for frame in islice(frames, 0, 20 * FRAMES, 20)]


def counted(intensity: Callable[[np.random.Generator], Image], dose_e_per_A2: float = 300.0) -> list[Counts]:
    """Frames of an intensity in units of the vacuum level, with ideal counting."""
    rng = np.random.default_rng(1)
    mean = dose_e_per_A2 * PIXEL_SIZE_A**2
    return [rng.poisson(np.maximum(intensity(rng), 0) * mean).astype(np.uint16) for _ in range(FRAMES)]


def magnified(factor: float) -> list[Counts]:
    """Show the particle at a magnification that the run was told wrongly."""
    frame = movie(dose_e_per_A2=3000.0)[0]
    particle = zoom(gaussian_filter(frame / frame.mean(), 1.0), factor, order=1)
    side = min(SIZE_PX, len(particle))
    cut, place = (len(particle) - side) // 2, (SIZE_PX - side) // 2
    scene = np.ones((SIZE_PX, SIZE_PX))
    scene[place : place + side, place : place + side] = particle[cut : cut + side, cut : cut + side]
    return counted(lambda rng: scene)


def amorphous(rng: np.random.Generator, width_px: float) -> Image:
    """Random contrast of one width."""
    noise = gaussian_filter(rng.normal(size=(SIZE_PX, SIZE_PX)), width_px)
    return np.asarray(1 + 0.3 * noise / noise.std())


def lattice(spacing_px: float) -> Image:
    """Square lattice that fills the frame."""
    wave = np.cos(2 * np.pi * AT / spacing_px)
    return 1 + 0.3 * np.add.outer(wave, wave)


CASES: dict[str, Callable[[], list[Counts]]] = {
    **{
        f"the movie, {d:g} e/Å²": lambda d=d: movie(dose_e_per_A2=d)
        for d in (10.0, 30.0, 100.0, 300.0, 3000.0)
    },
    "the movie, integrating camera, 300 e/Å²": lambda: movie(detector="integrating"),
    "the movie, 15 nm further from focus": lambda: movie(overfocus_A=210.0),
    "vacuum": lambda: counted(lambda rng: np.ones((SIZE_PX, SIZE_PX))),
    "pixel size wrong by 0.8": lambda: magnified(0.8),
    "pixel size wrong by 1.25": lambda: magnified(1.25),
    "a square lattice of 2.0 Å": lambda: counted(lambda rng: lattice(10.0)),
    "a square lattice of 4.0 Å": lambda: counted(lambda rng: lattice(20.0)),
    "amorphous, 0.6 Å": lambda: counted(lambda rng: amorphous(rng, 3.0)),
    "amorphous, 6 Å": lambda: counted(lambda rng: amorphous(rng, 30.0)),
    "uneven illumination, 0.2 to 1.8": lambda: counted(
        lambda rng: np.add.outer(0.2 + 1.6 * AT / SIZE_PX, 0 * AT)
    ),
    "the edge of an aperture": lambda: counted(
        lambda rng: np.add.outer(np.where(AT < 256, 0.3, 1.7), 0 * AT)
    ),
}


def main() -> None:
    """Print the table."""
    networks = find_networks(None, "ceria")
    trained = Trained.of(networks)
    print("| image | noise | residue | hesitation | spacing | score |\n|---|---|---|---|---|---|")
    with closing(make_backend("openvino", networks)) as backend:
        backend.load(BatchShape(1, SIZE_PX, SIZE_PX))
        for name, make in CASES.items():
            rows = [measured(backend, image, trained) for image in make()]
            means = np.mean([(t.noise, t.residue, t.hesitation, t.spacing, t.score) for t in rows], axis=0)
            print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in means) + " |")


def measured(backend: Backend, image: Counts, trained: Trained) -> Terms:
    """Analyse one frame and return its terms."""
    frame = FrameAssembly(prepare(task_of(image), PIXEL_SIZE_A, PIXEL_SIZE_A))
    backend.submit(frame.prepared.frame[np.newaxis])
    answer = backend.collect()
    frame.put(frame.tiles[0], answer, 0, find_in_batch(answer, 1, PIXEL_SIZE_A, 0.5, np)[0])
    return terms_of(frame.prepared, frame.denoised, frame.peaks, frame.heights().table, trained)


def task_of(image: Counts) -> Task:
    """Wrap a frame as it comes from ingest."""
    header = FrameHeader(SeriesKey(1), 0, image.shape, image.dtype, Compression.NONE)  # type: ignore[arg-type]
    return Task(Frame(header, memoryview(image.tobytes())), 0.0, PIXEL_SIZE_A, None)


if __name__ == "__main__":
    main()
