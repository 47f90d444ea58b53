"""A process that loads the tiny networks with TensorRT's double, which builds their engines first.

Arguments: folder of engines, folder of networks, this process' log, and what a build does: ``at once``, wait
until two others wait for it (``until awaited``), or never end (``for ever``).
"""

import logging
import os
import sys
import time
from contextlib import closing
from pathlib import Path

from pipeline.backends.tensorrt_backend import TensorRtBackend
from pipeline.networks import find_networks
from tests.pipeline.backend_suite import SHAPE, batch, give, take
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.tensorrt_double import Faults, make_tensorrt
from tests.pipeline.tiny_networks import MATERIAL

WAITS = "another process builds"
PATIENCE_S = 120.0


def main(engines: Path, networks: Path, log: Path, build: str) -> None:
    logging.basicConfig(filename=log, format="%(message)s")
    cuda, faults = CudaDouble(), Faults()

    def building() -> None:
        note_build(engines)
        if build == "for ever":
            time.sleep(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while build == "until awaited" and waiting(log.parent) < 2:
            assert time.monotonic() < deadline, "nobody has waited for the build"
            time.sleep(0.05)

    faults.building = building
    sys.modules["cupy"] = make_cupy(cuda)
    sys.modules["tensorrt"] = make_tensorrt(cuda, "11.4", faults)
    with closing(TensorRtBackend(find_networks(networks, MATERIAL), engines=engines)) as backend:
        backend.load(SHAPE)
        give(backend, batch((20, 30, 3), (40, 60, 5)))
        assert take(backend).count_logits[0, :, 20, 30].argmax() == 2


def note_build(engines: Path) -> None:
    """Add a line to a file that all processes share; so short a one is written in one piece."""
    with (engines.parent / "builds.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")


def waiting(logs: Path) -> int:
    """Return how many processes have said that they wait."""
    return sum(WAITS in log.read_text() for log in logs.glob("*.log"))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]), sys.argv[4])
