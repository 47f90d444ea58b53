"""Record a detector's stream without loss and without analysing it."""

import argparse
from pathlib import Path

from pipeline.cli.options import add_detector, add_source, add_tee, new_file, run_config
from pipeline.cli.output import say
from pipeline.cli.running import detector_companion, run_and_report

HELP = "record a detector's stream, losslessly, without analysis"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_source(parser)
    add_detector(parser)
    add_tee(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.nxs", help="a new result file")


def run(args: argparse.Namespace) -> int:
    """Record until the series ends, the source falls silent, or Ctrl-C."""
    from pipeline.plan import RunPlan
    from streamer.sources import parse_source

    parse_source(args.source)
    out = str(new_file(args.out))
    config = run_config(args, record__path=out, analysis__enabled=False)
    detector = detector_companion(config)
    say(f"recording {args.source} to {out}")
    return run_and_report(args, RunPlan(config=config, say=say, sender=detector))
