"""Analyse recorded runs again, with these or other networks, on a Dask cluster.

Each file gets another beside it, NAME-again.nxs, with the new results; nothing is overwritten. Without
--scheduler the processes are this machine's own (--workers; 0: this process alone).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.options import seconds
from pipeline.cli.output import print_json, say

if TYPE_CHECKING:
    from pipeline.archive import ArchivedRun
    from pipeline.cluster import Pool
    from pipeline.reprocess import Reprocessed
    from streamer.config import RunConfig

HELP = "analyse recorded runs again, on a Dask cluster"

_OWN = {
    "backend": "backend",
    "precision": "precision",
    "models": "models",
    "material": "material",
    "batch": "batch_frames",
    "threads": "threads",
    "average": "average_frames",
    "denoise_frames": "denoise_frames",
    "orientations": "orientations",
}
"""Options, and the fields of the configuration that they replace."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.nxs")
    parser.add_argument(
        "--scheduler", default="", metavar="tcp://HOST:PORT", help="a Dask scheduler's address"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes of this machine (default: one a core; 0: no Dask)"
    )
    parser.add_argument("--timeout-s", type=seconds, default=10.0, metavar="S", help="wait so long for it")
    parser.add_argument("--copy-frames", action="store_true", help="put the frames into the new file too")
    group = parser.add_argument_group("analysis (default: as the run was)")
    group.add_argument("--models", metavar="FOLDER", help="ONNX networks, where workers find them")
    group.add_argument("--material", metavar="NAME")
    group.add_argument("--backend", choices=("auto", "tensorrt", "torch", "openvino", "null"))
    group.add_argument("--precision", choices=("f16", "bf16", "f32", "i8"))
    group.add_argument("--batch", type=int, metavar="N", help="frames that the networks take at once")
    group.add_argument("--threads", type=int, metavar="N", help="of each worker's networks (default: 1)")
    group.add_argument("--average", type=int, metavar="N", help="drift-corrected mean of N frames")
    group.add_argument("--denoise-frames", type=int, metavar="N", help="denoise from N frames")
    group.add_argument(
        "--orientations", type=int, choices=(1, 2, 4), help="mirror images whose answers are averaged"
    )
    group.add_argument(
        "--pixel-size-A", "--pixel-size", dest="pixel_size", type=float, metavar="Å",
        help="pixel size at the specimen [Å] (default: the file's)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Analyse all files again, one after the other."""
    from pipeline.archive import read_run
    from pipeline.cluster import open_pool
    from pipeline.progress import Bar
    from pipeline.reprocess import configured, new_path
    from pipeline.signals import interrupted_by_all

    n_workers, changes = _n_workers(args), _changes(args)
    runs = [read_run(path) for path in args.files]
    configs = [configured(run, changes, args.pixel_size) for run in runs]
    for run in runs:
        _expect_room(new_path(run.path))
    n_frames = sum(len(run.frames) for run in runs)
    with (
        interrupted_by_all(),
        open_pool(args.scheduler, n_workers, args.timeout_s) as pool,
        Bar(total=n_frames, unit="frame", leave=False, disable=None, file=sys.stderr) as bar,
    ):
        done = [
            _analyse(pool, run, config, args.copy_frames, bar.update)
            for run, config in zip(runs, configs, strict=True)
        ]
    ok = not any(summary["failed"] for summary in done)
    if args.json:
        print_json({"verb": args.verb, "ok": ok, "workers": pool.n_workers, "files": done})
    return 0 if ok else 1


def _expect_room(out: Path) -> None:
    """Check, before hours of work, that a recording's folder takes another file."""
    from streamer.errors import RecordingError
    from streamer.result_paths import expect_room_for

    try:
        expect_room_for(out)
    except RecordingError as error:
        raise RecordingError(
            f"{out} cannot be made: its folder cannot be written to; copy the recording elsewhere"
        ) from error


def _n_workers(args: argparse.Namespace) -> int:
    from streamer.errors import UsageError

    if args.workers is None:
        return 0 if args.scheduler else os.cpu_count() or 1
    if args.workers < 0 or args.scheduler:
        raise UsageError(
            f"--workers {args.workers}: expected 0 or more, and no --scheduler, which has its own"
        )
    return int(args.workers)


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    changes: dict[str, Any] = {field: getattr(args, option) for option, field in _OWN.items()}
    changes["threads"] = 1 if args.threads is None else args.threads
    if changes["models"]:
        changes["models"] = str(Path(changes["models"]).resolve())
    return changes


def _analyse(
    pool: "Pool", run: "ArchivedRun", config: "RunConfig", copy_frames: bool, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Analyse one file again, say how it went, and return it for ``--json``."""
    from pipeline.reprocess import new_path, reprocess

    begun = time.monotonic()
    came = reprocess(pool, run, config, new_path(run.path), copy_frames, advance)
    summary = _summary(came, time.monotonic() - begun)
    say(_line(summary))
    return summary


def _summary(came: "Reprocessed", seconds: float) -> dict[str, Any]:
    return {
        "file": str(came.path),
        "out": str(came.out),
        "analysed": came.analysed,
        "failed": len(came.failures),
        "failures": came.failures,
        "seconds": seconds,
        "fps": (came.analysed + len(came.failures)) / seconds,
    }


def _line(summary: dict[str, Any]) -> str:
    failed = (
        f", {summary['failed']:,} failed ({next(iter(summary['failures'].values()))})"
        if summary["failed"]
        else ""
    )
    return f"{summary['out']}: {summary['analysed']:,} frames analysed{failed}; {summary['fps']:.1f} frames/s"
