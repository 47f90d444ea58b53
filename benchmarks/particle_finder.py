"""How well particles are found, against the edge and the smoothing that the finder works with.

Pictures are of held-out gold particles (the validation split of a data set made by
``atomstream simulate --dataset data/gold.h5 --material gold``), each with a membrane and a lens of its own.
The finder sees the training target (a perfect restoration), and what the restoration makes of the noisy
picture. True is where there are more than 4 Å of gold. A particle is found if it is the only one.

``python -m benchmarks.particle_finder --data data/gold.h5`` writes ``results/particle_finder.json``.
"""

import argparse
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import describe_machine, write_results
from pipeline import particles
from pipeline.backends import BatchShape, make_backend
from pipeline.particle_networks import find_particle_networks
from training.gold_data import PEDESTAL_PER_A, GoldDraw, fixed_dose, load_gold, make_picture
from training.gold_pools import exposed

EDGES_A = (4.0, 5.0, 6.0, 8.0)
SMOOTHINGS_A = (1.2, 2.0, 2.5, 3.5)
TRUE_A = 4.0
PIXEL_A = 0.2
SIZE_NM = (2.0, 20.0)
Image = NDArray[np.float32]


def main() -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/gold.h5"))
    parser.add_argument("--models", type=Path, help="a folder with gold_restore.onnx (default: the shipped)")
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--dose", type=float, default=1000.0, help="e/Å²")
    options = parser.parse_args()
    torch.set_num_threads(1)
    frames, targets, thickness = pictures(options.data, options.pictures, options.dose)
    sources = {"target": targets, "restored": restored(frames, options.models)}
    rows = [
        {"picture": name, "edge_A": edge, "smoothing_A": smoothing}
        | judged(shown, thickness, edge, smoothing)
        for name, shown in sources.items()
        for edge, smoothing in product(EDGES_A, SMOOTHINGS_A)
    ]
    for row in rows:
        print(row)
    setting = {"data": options.data.name, "pictures": len(frames), "dose_e_per_A2": options.dose}
    print(write_results("particle_finder", {"machine": describe_machine(), **setting, "rows": rows}))
    return 0


def pictures(data: Path, n: int, dose_e_per_A2: float) -> tuple[list[Image], list[Image], list[Image]]:
    """Make network inputs (2, h, w), targets and thicknesses (h, w) of validation particles in turn."""
    store, rng = load_gold(data, "validation"), np.random.default_rng(7)
    draw = fixed_dose(GoldDraw(), dose_e_per_A2)
    made = [make_picture(store, i % len(store.waves), draw, rng) for i in range(n)]
    frames = [exposed(p.intensity[None], draw, rng)[0][0] for p in made]
    return frames, [p.target.numpy() for p in made], [p.thickness_A.numpy() for p in made]


def restored(frames: list[Image], models: Path | None) -> list[Image]:
    """Restore the pictures with OpenVINO."""
    networks = find_particle_networks(models, "gold")
    with closing(make_backend("openvino", networks, 2)) as backend:
        backend.load(BatchShape(1, *frames[0].shape[1:]))
        answers = []
        for frame in frames:
            backend.submit(np.ascontiguousarray(frame[None]))
            answers.append(backend.collect().denoised[0].copy())
    return answers


def judged(shown: list[Image], thickness: list[Image], edge_A: float, smoothing_A: float) -> dict[str, Any]:
    """Return how areas and sizes compare with the true ones."""
    with patch.multiple(particles, EDGE_A=edge_A, SMOOTHING_A=smoothing_A):
        found = [particles.find_particles(p, PIXEL_A, PEDESTAL_PER_A, SIZE_NM) for p in shown]
    pairs = [(covered(f), true > TRUE_A) for f, true in zip(found, thickness, strict=True) if len(f) == 1]
    overlaps = np.array([(a & b).sum() / (a | b).sum() for a, b in pairs])
    ratios = np.array([np.sqrt(a.sum() / b.sum()) for a, b in pairs])
    return {
        "found_once": len(pairs),
        "missed": sum(not len(f) for f in found),
        "overlap": round(float(overlaps.mean()), 3),
        "diameter_ratio": round(float(ratios.mean()), 3),
        "diameter_ratio_std": round(float(ratios.std()), 3),
    }


def covered(found: particles.FoundParticles) -> NDArray[np.bool_]:
    """Return the pixels of the picture that the particle covers."""
    return np.kron(found.labels > 0, np.ones((found.bin_px, found.bin_px), bool))


if __name__ == "__main__":
    raise SystemExit(main())
