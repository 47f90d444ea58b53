"""Train a network on a simulated data set, which ``atomstream simulate --dataset`` makes.

An interrupted training goes on where it stopped.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cli.output import print_json, say
from pipeline.cli.parts import expect_data_set, load
from streamer.errors import UsageError

HELP = "train a network on simulated data"

_WIDTHS = 3
_COLUMN_TASKS = ("heights", "denoise")
_TASKS = {"ceria": _COLUMN_TASKS, "gold": ("restore", "shapes"), "gold-columns": _COLUMN_TASKS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--material", choices=tuple(_TASKS), default="ceria", help="default: ceria")
    parser.add_argument(
        "--task",
        choices=sorted({task for tasks in _TASKS.values() for task in tasks}),
        help="ceria, gold-columns: heights (default) or denoise; gold: restore (default) or shapes",
    )
    parser.add_argument("--data", type=Path, metavar="FILE.h5", help="default: data/MATERIAL.h5")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: data/runs/TASK (MATERIAL_TASK)")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument(
        "--initial",
        type=Path,
        metavar="FILE",
        help="checkpoint or ONNX file whose weights a new run begins with",
    )
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="highest one of the run")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.add_argument(
        "--restore",
        type=Path,
        metavar="FILE.onnx",
        help="what the shapes are seen through (default: shipped)",
    )
    parser.add_argument(
        "--widths", type=_widths, metavar="A,B,C", help="channels at 1/4, 1/8, 1/16 of the size"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and print where the weights are."""
    task = args.task or _TASKS[args.material][0]
    if task not in _TASKS[args.material]:
        raise UsageError(f"--task {task}: {args.material} has {' and '.join(_TASKS[args.material])}")
    if args.initial and not args.initial.is_file():
        raise UsageError(f"--initial {args.initial}: there is no such file")
    data = args.data or Path(f"data/{args.material}.h5")
    if not data.exists():
        material = "" if args.material == "ceria" else f" --material {args.material}"
        raise UsageError(f"there is no {data}; make it: atomstream simulate --dataset {data}{material}")
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that spin take the cores from other programs
    expect_data_set(args.material, data)
    train = load("training.train", "train")
    course = None
    if args.material == "gold":
        gold = load("training.gold_train", "train")
        config = _gold_config(args, task, gold)
        config = replace(_given(args, config), data=str(data))
        course = gold.course_of(config)
    else:
        config = replace(_given(args, _column_config(args.material, task, train)), data=str(data))
    path = train.main(config, course)
    if os.environ.get("RANK", "0") != "0":  # one of several processes; the first one speaks
        return 0
    say(f"trained weights in {path}; next: atomstream export {path} --out FILE.onnx")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "checkpoint": str(path), "steps": config.steps})
    return 0


def _column_config(material: str, task: str, train: Any) -> Any:
    """Return the settings of a network of counted columns."""
    model = load("training.model", "train").config_for(task)
    draw = load("training.data", "train").draw_for(task)
    folder = task if material == "ceria" else f"{material}_{task}"
    return train.TrainConfig(out=f"data/runs/{folder}", model=model, draw=draw)


def _gold_config(args: argparse.Namespace, task: str, gold: Any) -> Any:
    """Return the gold task's own settings; the shapes are seen through the shipped restoration or another."""
    if task == "restore":
        return gold.GoldTrainConfig()
    from importlib.resources import files

    restore = args.restore or Path(str(files("pipeline") / "models" / "gold_restore.onnx"))
    if not restore.exists():
        raise UsageError(f"there is no {restore}; train and export the restoration first, or give --restore")
    return replace(gold.shape_config(gold.GoldTrainConfig()), restore=str(restore))


def _given(args: argparse.Namespace, config: Any) -> Any:
    """Put the options that were given into a configuration."""
    names = ("out", "steps", "seed", "threads", "initial", "learning_rate")
    values = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    values.update({name: str(values[name]) for name in ("out", "initial") if name in values})
    if args.widths:
        values["model"] = replace(config.model, widths=args.widths)
    return replace(config, **values)


def _widths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != _WIDTHS or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {_WIDTHS} numbers, as in 64,96,160")
    return tuple(map(int, parts))
