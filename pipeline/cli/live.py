"""Receive a detector's stream, record it, count the atoms in every column, and show them live."""

import argparse
from pathlib import Path

from pipeline.cli.options import add_analysis, add_detector, add_source, add_tee, run_config, run_file
from pipeline.cli.output import say
from pipeline.cli.running import detector_companion, run_and_report, window_companion
from streamer.errors import UsageError

HELP = "receive, record, analyse and show a detector's stream"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_source(parser)
    parser.add_argument("--headless", action="store_true", help="without a window")
    parser.add_argument("--out", type=Path, metavar="FILE.nxs", help="result file (default: new, in runs/)")
    parser.add_argument("--no-record", action="store_true", help="analyse and show only; keep nothing")
    add_detector(parser)
    add_tee(parser)
    add_analysis(parser)


def run(args: argparse.Namespace) -> int:
    """Run the analysis until the series ends, the source falls silent, or Ctrl-C."""
    from pipeline.plan import RunPlan
    from streamer.sources import parse_source

    parse_source(args.source)
    if args.no_record and args.out:
        raise UsageError("--no-record and --out exclude each other")
    config = run_config(args)
    detector = detector_companion(config)
    out = "" if args.no_record else str(run_file("live", args.out, config.record.path))
    window = window_companion(args.headless, config.security)
    say(f"recording to {out}" if out else "nothing is recorded")
    config = run_config(args, record__path=out)
    plan = RunPlan(config=config, say=say, sender=detector, window=window, window_stays=True)
    return run_and_report(args, plan)
