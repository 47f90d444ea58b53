"""Open a window on a running analysis, on this machine or another, or on a result file.

A window may come and go at any time; a run does not notice.
"""

import argparse

from pipeline.cli.options import add_client_keys
from pipeline.cli.output import print_json
from pipeline.cli.parts import load
from pipeline.cli.running import has_display
from streamer.errors import RunError

HELP = "window on a running analysis, or on a result file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "source", metavar="SOURCE", help="tcp://HOST:PORT, as the run has printed it, or FILE.nxs"
    )

    add_client_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Show the window until it is closed."""
    if not has_display():
        raise RunError("no display is found to show a window on (DISPLAY and WAYLAND_DISPLAY are not set)")
    status = int(load("gui.app").run(args.source, key=args.key or "", server_key=args.server_key or ""))
    if args.json:
        print_json({"verb": args.verb, "ok": status == 0})
    return status
