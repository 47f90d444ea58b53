"""Analyse frames for a run on this or another machine.

The run is one that takes analysers (live, replay or demo with --remote-analysers). Several may join it, and
come and go: what one had that has gone is given to another. It tells them what to do; backend, precision and
threads can be this machine's own.
"""

import argparse
from typing import Any

from pipeline.cli.options import add_client_keys, seconds
from pipeline.cli.output import print_json, say

HELP = "analyse frames for a run on this or another machine"

_OWN = {
    "backend": "backend",
    "precision": "precision",
    "models": "models",
    "batch": "batch_frames",
    "max_wait_ms": "max_wait_ms",
    "threads": "threads",
    "gpu": "gpu",
}
"""Options that are this machine's own, and their fields in the configuration."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("address", metavar="tcp://HOST:PORT", help="as the run has printed it")
    parser.add_argument("--backend", choices=("auto", "tensorrt", "torch", "openvino", "null"))
    parser.add_argument("--precision", choices=("f16", "bf16", "f32", "i8"), help="default: the run's")
    parser.add_argument("--models", metavar="FOLDER", help="the run's networks (default: the shipped ones)")
    parser.add_argument("--batch", type=int, metavar="N", help="frames that the networks take at once")
    parser.add_argument("--max-wait-ms", type=float, metavar="MS", help="a batch waits this long to fill")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of the networks")
    parser.add_argument("--gpu", type=int, metavar="N", help="CUDA device (default: analysers take turns)")
    parser.add_argument(
        "--connect-timeout-s", type=seconds, default=10.0, metavar="S", help="wait so long for the run"
    )
    add_client_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Analyse until the run is over, or Ctrl-C."""
    from pipeline.remote_analyser import RemoteWork, analyse_remotely, expect_address
    from pipeline.signals import StopSignals
    from streamer.curve import client_keys
    from streamer.worker import Control

    expect_address(args.address)
    changes: dict[str, Any] = {field: getattr(args, option) for option, field in _OWN.items()}
    keys = client_keys(args.key or "", args.server_key or "")
    work = RemoteWork(address=args.address, keys=keys, timeout_s=args.connect_timeout_s, changes=changes)
    with StopSignals() as signals:
        done = analyse_remotely(Control(signals, lambda message: None), work, say)
    say(f"{done.get('analysed', 0):,} frames analysed, {done.get('failed', 0):,} failed; {done['ended_by']}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, **done})
    return 0
