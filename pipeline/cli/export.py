"""Turn a trained checkpoint into the ONNX file that the analysis runs, and check it."""

import argparse
from pathlib import Path

from pipeline.cli.options import new_file
from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from streamer.errors import UsageError

HELP = "trained checkpoint to ONNX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT.pt", help="as written by atomstream train"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="must be new")


def run(args: argparse.Namespace) -> int:
    """Export one checkpoint."""
    if not args.checkpoint.exists():
        raise UsageError(f"there is no checkpoint {args.checkpoint}")
    out = new_file(args.out)
    export = load("training.export", "train")
    path = export.main(export.ExportConfig(checkpoint=str(args.checkpoint), out=str(out)))
    say(f"network in {path}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "file": str(path)})
    return 0
