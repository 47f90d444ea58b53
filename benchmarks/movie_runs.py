"""What benchmarks of recorded movies share: the recording, the command line, what becomes of the figures."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import describe_machine, write_results
from pipeline.archive import ArchivedRun, read_run
from pipeline.cli import main as atomstream

__all__ = ["measure_movie", "movie_arguments", "record"]


def record(folder: Path, frames: int, size: int) -> ArchivedRun:
    """Record the simulated movie without analysing it."""
    path = folder / f"movie-{frames}.nxs"
    options = ["--headless", "--fps", "0", "--backend", "null", "--frames", str(frames), "--size", str(size)]
    if atomstream(["demo", *options, "--out", str(path), "--json"]):
        raise RuntimeError("the movie could not be recorded")
    return read_run(path)


def movie_arguments(name: str, about: str) -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks.NAME``; the first line of `about` says what it is for."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about.splitlines()[0])
    parser.add_argument("--frames", type=int, default=192)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="write no result file")
    return parser


def measure_movie(
    name: str, measure: Callable[[Path, argparse.Namespace], dict[str, Any]], chosen: argparse.Namespace
) -> int:
    """Measure in a temporary folder, print the figures as JSON and, unless it is dry, write them."""
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), chosen)
    shape = {"frames": chosen.frames, "size_px": chosen.size, "rounds": chosen.rounds}
    if not chosen.dry:
        print(write_results(name, {"machine": machine, **shape, **measured}), file=sys.stderr)
    print(json.dumps(measured))
    return 0
