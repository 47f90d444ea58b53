"""Judge the networks on particles that no training has seen; writes tables and figures."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cli.output import print_json, say
from pipeline.cli.parts import expect_data_set, load
from streamer.errors import UsageError

HELP = "accuracy of networks on held-out particles"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--data", type=Path, metavar="FILE.h5", help="default: data/MATERIAL.h5")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="networks (default: the shipped ones)")
    parser.add_argument("--material", default="ceria", help="ceria (default), gold or gold-columns")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"), metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print where the report is."""
    data = args.data or Path(f"data/{args.material}.h5")
    if not data.exists():
        material = "" if args.material == "ceria" else f" --material {args.material}"
        raise UsageError(f"there is no {data}; make it: atomstream simulate --dataset {data}{material}")
    expect_data_set(args.material, data)
    evaluate, config = _gold(args) if args.material == "gold" else _columns(args)
    report = evaluate.main(replace(config, data=str(data), split=args.split, out=str(args.out)))
    say(f"report in {report}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "report": str(report)})
    return 0


def _columns(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the evaluation of column heights and its settings."""
    from pipeline.networks import find_networks

    evaluate = load("training.evaluate", "train")
    networks = find_networks(args.models, args.material)
    paths = {"heights": str(networks.heights.path), "denoise": str(networks.denoise.path)}
    five = networks.denoise.path.with_name(f"{args.material}_denoise5.onnx")
    return evaluate, evaluate.EvaluateConfig(
        **paths, denoise5=str(five) if five.exists() else "", material=args.material
    )


def _gold(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the evaluation of gold's restoration and shapes, and its settings."""
    from importlib.resources import files

    folder = args.models or Path(str(files("pipeline") / "models"))
    paths = {name: folder / f"gold_{name}.onnx" for name in ("restore", "shapes")}
    for path in paths.values():
        if not path.exists():
            raise UsageError(f"there is no network {path}; train and export it, or give --models")
    evaluate = load("training.gold_evaluate", "train")
    return evaluate, evaluate.GoldEvaluateConfig(**{name: str(path) for name, path in paths.items()})
