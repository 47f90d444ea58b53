"""Check a result file: reconcile its ledger, decode every frame, and say what was lost and why.

A frame is lost if it is not in the file, does not decode, or was to be analysed and has no result. The file
is only read, unless --repair is given: that mends one whose writer was killed, and keeps every frame that had
been flushed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.output import print_json

if TYPE_CHECKING:
    from streamer.check import CheckReport
    from streamer.losses import Loss

HELP = "verify a result file, and mend it after a crash"


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
    lines = [("state", report.state), *_sums(report)]
    lines += [("lost" if loss.lost else "noted", row) for loss, row in _table(report.losses)]
    lines += [("problem", line) for line in report.problems]
    lines += [("verdict", _verdict(report))]
    return "\n".join(["", f"atomstream check {report.path}", *(f"  {n:<10}{text}" for n, text in lines), ""])


def _sums(report: "CheckReport") -> Iterator[tuple[str, str]]:
    """Show how each number of frames is made up of the next ones."""
    ids = f"{report.received + report.missing:,} = received {report.received:,} + missing {report.missing:,}"
    yield "ids", ids + (f"   planned {report.planned:,}" if report.planned else "")
    paused = f" + left out {report.paused:,}" if report.paused else ""
    yield (
        "received",
        f"{report.received:,} = recorded {report.recorded:,}"
        f" + damaged on arrival {report.damaged_on_arrival:,}{paused}",
    )
    if report.analysed or report.skipped or report.analysis_lost:
        usable = report.recorded + report.paused
        by_policy = usable - report.analysed - report.analysis_lost
        yield (
            "usable" if report.paused else "recorded",
            (
                f"{usable:,} = analysed {report.analysed:,} + skipped by policy {by_policy:,}"
                f" + lost in the analysis {report.analysis_lost:,}"
            ),
        )
    yield "decoded", f"{report.decoded:,} of {report.recorded:,}"


def _table(losses: "Sequence[Loss]") -> "Iterator[tuple[Loss, str]]":
    number = max((len(f"{loss.n_frames:,}") for loss in losses), default=0)
    status = max((len(loss.status) for loss in losses), default=0)
    reason = max((len(loss.reason) for loss in losses), default=0)
    for loss in losses:
        row = (
            f"{loss.n_frames:>{number},}  {loss.status:<{status}}  {loss.reason:<{reason}}  {loss.frame_ids}"
        )
        yield loss, row


def _verdict(report: "CheckReport") -> str:
    whole = "the file is whole" if not report.problems else "the file is not whole"
    if report.state == "repaired":  # what was lost after the last flush left no row
        whole += " as far as its killed writer had flushed it"
    if report.ok:
        return f"{whole} and nothing in it was lost"
    analysis = f", {report.analysis_lost:,} of them in the analysis" if report.analysis_lost else ""
    return f"{whole}; lost: {report.lost:,} frames{analysis}"
