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
    parser.add_argument("--heights", type=Path, metavar="FILE.onnx", help="default: the shipped network")
    parser.add_argument("--denoise", type=Path, metavar="FILE.onnx", help="default: the shipped network")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"), metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print where the report is."""
    for path in (args.data, args.heights, args.denoise):
        if path is not None and not path.exists():
            raise UsageError(f"there is no file {path}")
    evaluate = load("training.evaluate", "train")
    given = {name: getattr(args, name) for name in ("data", "heights", "denoise", "split", "out")}
    config = replace(
        evaluate.EvaluateConfig(), **{name: str(value) for name, value in given.items() if value is not None}
    )
    report = evaluate.main(config)
    say(f"report in {report}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "report": str(report)})
    return 0
