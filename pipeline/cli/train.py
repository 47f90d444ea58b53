"""Train a network on a simulated data set, which ``atomstream simulate --dataset`` makes.

An interrupted training goes on where it stopped.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from streamer.errors import UsageError

HELP = "train a network on simulated data"

_WIDTHS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--task", choices=("heights", "denoise"), default="heights")
    parser.add_argument("--data", type=Path, default=Path("data/ceria.h5"), metavar="FILE.h5")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: data/runs/TASK")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.add_argument(
        "--widths", type=_widths, metavar="A,B,C", help="channels at 1/4, 1/8, 1/16 of the size"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and print where the weights are."""
    if not args.data.exists():
        raise UsageError(f"there is no {args.data}; make it: atomstream simulate --dataset {args.data}")
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that spin take the cores from other programs
    train, model = load("training.train", "train"), load("training.model", "train")
    network = model.ModelConfig(task=args.task, **({"widths": args.widths} if args.widths else {}))
    config = train.TrainConfig(
        data=str(args.data), out=str(args.out or f"data/runs/{args.task}"), model=network
    )
    given = {name: getattr(args, name) for name in ("steps", "seed", "threads")}
    config = replace(config, **{name: value for name, value in given.items() if value is not None})
    path = train.main(config)
    say(f"trained weights in {path}; next: atomstream export {path} --out FILE.onnx")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "checkpoint": str(path), "steps": config.steps})
    return 0


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(int(part) for part in text.split(",") if part.strip().isdecimal())
    if len(widths) != _WIDTHS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {_WIDTHS} numbers, as in 64,96,160")
    return widths
