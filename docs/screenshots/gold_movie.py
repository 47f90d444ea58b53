"""A short film of four gold particles on carbon for the screenshots, by multislice.

Run: ``python docs/screenshots/gold_movie.py FILE.npy``; takes a minute or two and needs
``atomstream[simulate]``.
"""

import sys
from pathlib import Path

import abtem
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from simulator.carbon import CarbonSettings, build_carbon
from simulator.detector import DetectorSettings, single_frame
from simulator.gold import build_gold, draw_gold
from simulator.gold_dataset import COARSE_ENOUGH, FINE, particle_wave
from simulator.multislice import exit_waves
from simulator.optics import Optics, image_intensity
from simulator.support import membrane_distance_A, supported

__all__ = ["PIXEL_SIZE_A", "gold_movie"]

PIXEL_SIZE_A = FINE.pixel_size_A
_QUARTERS = (("Marks decahedron", 4), ("icosahedron", 11), ("octahedron", 2), ("truncated octahedron", 7))
_CARBON_A = 30.0
_OPTICS = Optics(overfocus_A=51.0, cs_A=-1.0e5, focal_spread_A=30.0, convergence_mrad=0.1)
_DETECTOR = DetectorSettings(dose_e_per_A2=1000.0, pixel_size_A=PIXEL_SIZE_A)
_DRIFT_PX = (0.6, -0.4)  # (y, x) from one frame to the next


def gold_movie(path: Path, n_frames: int = 12) -> None:
    """Write `n_frames` frames (1024 x 1024, uint16) as a NumPy array."""
    abtem.config.set({"diagnostics.progress_bar": False})
    intensity = image_intensity(_waves()[None], PIXEL_SIZE_A, _OPTICS, np)
    rng = np.random.default_rng(5)
    frames = []
    for k in range(n_frames):
        shift = [round(k * step) for step in _DRIFT_PX]
        frames.append(single_frame(np.roll(intensity, shift, (0, 1)), _DETECTOR, rng))
    np.save(path, np.array(frames, np.uint16))


def _waves() -> NDArray[np.complex64]:
    """Four particles, one in each quarter, on a membrane that is repeated without a seam."""
    carbon = build_carbon(CarbonSettings(COARSE_ENOUGH.field_A, _CARBON_A, seed=3))
    carbon.positions[:, :2] -= COARSE_ENOUGH.field_A / 2.0
    membrane = np.tile(exit_waves(carbon, COARSE_ENOUGH, 3)[0], (2, 2))
    particles = [build_gold(draw_gold(shape, seed)).atoms for shape, seed in _QUARTERS]
    a, b, c, d = (particle_wave(atoms, FINE)[0] for atoms in particles)
    height_A = float(np.mean([np.ptp(atoms.positions[:, 2]) for atoms in particles]))
    distance_A = membrane_distance_A(True, height_A, _CARBON_A)
    waves = supported(np.block([[a, b], [c, d]]), membrane, distance_A, PIXEL_SIZE_A, np)
    return np.asarray(waves, np.complex64)


if __name__ == "__main__":
    gold_movie(Path(sys.argv[1]))
