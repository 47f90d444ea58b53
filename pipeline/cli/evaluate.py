"""Judge the networks on particles that no training has seen; writes tables and figures."""

import argparse
from dataclasses import replace
from pathlib import Path

from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from streamer.errors import UsageError

HELP = "accuracy of networks on held-out particles"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--data", type=Path, default=Path("data/ceria.h5"), metavar="FILE.h5")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="networks (default: the shipped ones)")
    parser.add_argument("--material", default="ceria")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"), metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print where the report is."""
    if not args.data.exists():
        raise UsageError(f"there is no {args.data}; make it: atomstream simulate --dataset {args.data}")
    from pipeline.networks import find_networks

    evaluate = load("training.evaluate", "train")
    networks = find_networks(args.models, args.material)
    config = replace(
        evaluate.EvaluateConfig(),
        heights=str(networks.heights.path),
        denoise=str(networks.denoise.path),
        data=str(args.data),
        split=args.split,
        out=str(args.out),
    )
    report = evaluate.main(config)
    say(f"report in {report}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "report": str(report)})
    return 0
