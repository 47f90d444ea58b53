"""Measure latency and throughput on this machine; writes JSON, figures and a one-page report.

Whole runs of real processes: latency against the offered rate, the batch and the frame size, under both
policies, recorded or not; what each stage can do by itself, and which of them limits the whole.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from pipeline.cli.running import has_display
from streamer.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench import Source

HELP = "latency and throughput of this machine: JSON, figures, report"

_POOL_FRAMES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--quick", action="store_true", help="a minute instead of many")
    parser.add_argument(
        "--backend", action="append", choices=("auto", "tensorrt", "torch", "openvino", "null"),
        help="may be repeated (default: auto)",
    )  # fmt: skip
    parser.add_argument("--size", type=int, metavar="PX", help="side of a frame (default: 512; quick: 256)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="frames in a batch (default: 1)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads of the networks")
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="other programs too; FOLDER has their environments"
    )
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="name what has changed since then")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="must be new (default: in runs/)")


def run(args: argparse.Namespace) -> int:
    """Measure, write, and print the report."""
    _expect_sizes(args)
    earlier = _earlier(args.compare)
    folder = _folder(args.out)
    from dataclasses import replace

    from pipeline.bench import run_bench
    from pipeline.bench_peers import run_peers
    from pipeline.bench_plan import FULL, QUICK, Case

    extent = QUICK if args.quick else FULL
    base = Case(size_px=args.size or (256 if args.quick else 512), batch_frames=args.batch)
    if args.size and args.quick:
        extent = replace(extent, sizes_px=(args.size,))
    if not has_display():
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # a window is measured all the same
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # of what that platform lacks
    source = _source()
    results = run_bench(base, args.backend or ["auto"], extent, source, folder, say, args.threads)
    _save(results, folder)
    if args.peers:
        results["peers"] = run_peers(args.peers, base, source.sender_of, folder, say)
    changes = _changes(results, earlier)
    report = _write(results, changes, folder)
    print(report if not args.json else "", end="")
    say(f"results in {folder}")
    if args.json:
        print_json(
            {"verb": args.verb, "ok": _ok(results), "folder": str(folder), "changes": changes, **results}
        )
    return 0 if _ok(results) else 1


def _source() -> "Source":
    """Return the source of all cases: frames of the simulated movie, made and compressed beforehand."""
    from pipeline.bench import Source
    from pipeline.bench_plan import Case
    from pipeline.plan import Companion
    from streamer.records import Compression, Frame, FrameHeader, SeriesKey
    from streamer.sources import Scheme

    pool = load("simulator.pool_sender")

    def stream_of(case: Case) -> Any:
        return load("simulator.movie_sender").MovieStream(
            movie=load("simulator.movie").MovieSettings(size_px=case.size_px),
            sending=load("simulator.sender").SenderSettings(
                scheme=Scheme(case.wire), compression=Compression(case.compression), rate_hz=case.rate_hz
            ),
            n_frames=case.n_frames,
        )

    def sender_of(case: Case) -> Companion:
        return Companion(pool.run_pool, (stream_of(case), _POOL_FRAMES))

    def frames_of(case: Case) -> tuple[list[Frame], float]:
        encoded, pixel_size_A = pool.pool_of(stream_of(case), 8)
        key = SeriesKey(1)
        frames = [
            Frame(FrameHeader(key, i, e.shape, e.dtype, e.compression), memoryview(e.payload))
            for i, e in enumerate(encoded)
        ]
        return frames, pixel_size_A

    return Source(sender_of, frames_of, Companion(load("gui.app").run_window, name="window"))


def _expect_sizes(args: argparse.Namespace) -> None:
    given = (("--size", args.size, 1), ("--batch", args.batch, 1), ("--threads", args.threads, 0))
    for option, value, least in given:
        if value is not None and value < least:
            raise UsageError(f"{option} {value}: expected at least {least}")


def _earlier(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from pipeline.bench_report import compare

    try:
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        compare(earlier, earlier)  # what is not in it is said before hours of measuring
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no bench.json of this program: {error!r}") from error
    return earlier


def _folder(out: Path | None) -> Path:
    folder = out or Path("runs") / f"bench-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists():
        raise UsageError(f"{folder} exists and is never overwritten; choose another name")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def _changes(results: dict[str, Any], earlier: dict[str, Any] | None) -> list[str]:
    from pipeline.bench_report import compare

    return [] if earlier is None else compare(results, earlier)


def _save(results: dict[str, Any], folder: Path) -> None:
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _write(results: dict[str, Any], changes: list[str], folder: Path) -> str:
    from pipeline.bench_report import draw, markdown

    _save(results, folder)
    try:
        figures = draw(results, folder)
    except ModuleNotFoundError:
        say("no figures without Matplotlib: pip install 'atomstream[bench]'")
        figures = []
    report = markdown(results, figures, changes)
    (folder / "report.md").write_text(report, encoding="utf-8")
    return report


def _ok(results: dict[str, Any]) -> bool:
    """Whether no run has lost a frame against its policy."""
    runs = [results["recording_alone"]]
    for backend in results["backends"].values():
        runs += [backend["capacity"], *backend["load"], *backend["batch"], *backend["size"]]
    return not any(run["counts"]["lost"] for run in runs)
