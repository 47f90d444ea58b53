"""Simulate: a movie with its truth, as a stream or as a recording; or a multislice data set for training.

The movie shows one particle of ceria or gold that gains and loses atoms while it drifts and the focus
wanders. The data set holds the exit waves and the truth of many different particles, computed by processes of
this machine (--workers) or a Dask cluster (--scheduler); an interrupted one goes on where it stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cli.options import add_keys, add_stream, new_file, run_config, seconds
from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from pipeline.cli.running import movie_companion, movie_stream, run_and_report
from streamer.errors import UsageError

HELP = "simulated movies, as a stream or a file, and data sets, with ground truth"

_MATERIALS = ("ceria", "gold", "gold-columns")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--stream", metavar="tcp://HOST:PORT", help="send a movie from this address")
    what.add_argument("--movie", type=Path, metavar="FILE.nxs", help="record a movie, its truth beside it")
    what.add_argument("--dataset", type=Path, metavar="FILE.h5", help="compute (or go on with) a data set")
    parser.add_argument(
        "--material", choices=_MATERIALS, default="ceria",
        help="default: ceria; gold, of whose particles shapes are told, is for data sets alone",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, metavar="N", help="frames of the movie (stream: without end)")
    parser.add_argument("--truth", type=Path, metavar="FILE.h5", help="where a stream's truth is saved")
    add_stream(parser)
    add_keys(parser)
    data = parser.add_argument_group("data set")
    data.add_argument(
        "--particles", type=int, metavar="N",
        help="default: 1100 of ceria, 2400 of gold, 1200 of gold-columns",
    )  # fmt: skip
    data.add_argument(
        "--tilts-and-films", action="store_true",
        help="unless of gold: tilt a share of the training's particles by up to 4°, and compute carbon films",
    )  # fmt: skip
    data.add_argument(
        "--workers", type=int, metavar="N", help="processes of this machine that compute (default: 2)"
    )
    data.add_argument("--scheduler", default="", metavar="tcp://HOST:PORT", help="a Dask scheduler computes")
    data.add_argument("--timeout-s", type=seconds, default=10.0, metavar="S", help="wait so long for it")


def run(args: argparse.Namespace) -> int:
    """Run what was asked for."""
    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames {args.frames}: expected at least 1")
    if args.particles is not None and args.particles < 1:
        raise UsageError(f"--particles {args.particles}: expected at least 1")
    if args.truth and not args.stream:
        raise UsageError("--truth is for --stream: a recording's truth is saved beside it")
    of_data_sets = args.particles, args.tilts_and_films, args.workers is not None, args.scheduler
    if any(of_data_sets) and not args.dataset:
        raise UsageError("--particles, --tilts-and-films, --workers and --scheduler are for --dataset")
    if args.dataset:
        return _dataset(args)
    return _record(args) if args.movie else _stream(args)


def _dataset(args: argparse.Namespace) -> int:
    from pipeline.cluster import open_pool, open_processes

    if args.workers is not None and (args.workers < 0 or args.scheduler):
        raise UsageError(
            f"--workers {args.workers}: expected 0 or more, and no --scheduler, which has its own"
        )
    workers = 2 if args.workers is None else args.workers
    dataset, config = _data_config(args)
    config = replace(config, out=str(args.dataset), seed=args.seed, workers=workers)
    if args.particles is not None:
        config = replace(config, particles=args.particles)
    opened = open_pool(args.scheduler, 0, args.timeout_s) if args.scheduler else open_processes(workers)
    try:
        with opened as pool:
            path = dataset.generate(config, pool)
    except ValueError as error:  # the file was made with other settings
        raise UsageError(str(error)) from error
    say(f"{config.particles} particles in {path}")
    if args.json:
        done = {"particles": config.particles, "file": str(path), "workers": pool.n_workers}
        print_json({"verb": args.verb, "ok": True, **done})
    return 0


def _data_config(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return the module that computes a material's data sets, and the usual configuration of one."""
    if args.material != "gold":
        dataset = load("simulator.dataset", "simulate")
        config = dataset.config_for(args.material)
        harder = dataset.TiltsAndFilms() if args.tilts_and_films else None
        return dataset, replace(config, harder=harder)
    if args.tilts_and_films:
        raise UsageError(
            "--tilts-and-films is for ceria and gold-columns: gold is turned at random, on membranes"
        )
    dataset = load("simulator.gold_dataset", "simulate")
    return dataset, dataset.GoldDatasetConfig()


def _record(args: argparse.Namespace) -> int:
    from pipeline.plan import RunPlan

    out = new_file(args.movie)
    config = run_config(args, record__path=str(out), analysis__enabled=False, ingest__idle_timeout_s=30.0)
    sender = movie_companion(args, args.material, args.frames or 300, out)
    return run_and_report(args, RunPlan(config=config, say=say, sender=sender))


def _stream(args: argparse.Namespace) -> int:
    from pipeline.signals import StopSignals
    from streamer.worker import Control

    truth = str(new_file(args.truth)) if args.truth else ""
    security = run_config(args).security
    stream = movie_stream(args, args.material, args.frames or 0, truth, args.stream, security)
    with StopSignals() as signals:
        control = Control(signals, lambda message: say(f"sending from {message[1]['address']}"))
        sent = load("simulator.movie_sender").stream_movie(control, stream)
    say(f"sent {sent['frames']} frames, {len(sent['injected'])} faults injected")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "interrupted": signals.requested, **sent})
    return 0
