"""Open a window on a running analysis, on this machine or another; it may come and go."""

import argparse

from pipeline.cli.output import print_json
from pipeline.cli.parts import load

HELP = "window on a running analysis"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("address", metavar="tcp://HOST:PORT", help="the address that the run has printed")


def run(args: argparse.Namespace) -> int:
    """Show the window until it is closed."""
    status = int(load("gui.app").run(args.address))
    if args.json:
        print_json({"verb": args.verb, "ok": status == 0})
    return status
