"""Check a result file: reconcile its ledger, decode every frame, and say what was lost and why.

The file is only read, unless --repair is given: that mends one whose writer was killed, and keeps every frame
that had been flushed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.output import print_json

if TYPE_CHECKING:
    from streamer.check import CheckReport

HELP = "verify a result file, and mend it after a crash"

_COUNTS = (
    "planned",
    "received",
    "recorded",
    "analysed",
    "skipped",
    "missing",
    "damaged",
    "paused",
    "decoded",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("file", type=Path, metavar="FILE.nxs")
    parser.add_argument("--repair", action="store_true", help="mend a file whose writer was killed")


def run(args: argparse.Namespace) -> int:
    """Check, and print the report."""
    from streamer.check import check_file, repair

    with _progress() as progress:
        report = (repair if args.repair else check_file)(args.file, progress)
    print(_page(report), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print_json({"verb": args.verb, **report.to_dict()})
    return 0 if report.ok else 1


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    with tqdm(unit="frame", leave=False, disable=None, file=sys.stderr) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        yield show


def _page(report: "CheckReport") -> str:
    counts = "   ".join(f"{name} {getattr(report, name):,}" for name in _COUNTS)
    lines = [("state", report.state), ("frames", counts)]
    lines += [("ledger", line) for line in report.losses] + [("problem", line) for line in report.problems]
    lines += [("verdict", "the file is whole and nothing was lost")] if report.ok else []
    return "\n".join(["", f"atomstream check {report.path}", *(f"  {n:<10}{text}" for n, text in lines), ""])
