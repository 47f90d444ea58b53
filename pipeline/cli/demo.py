"""The whole program on this machine.

A simulated detector films a particle that gains and loses atoms, of ceria or, with --material gold-columns,
of gold; its stream is received, recorded, analysed and shown, and the counts are compared with the truth.
"""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.options import add_analysis, add_config, add_stream, run_config, run_file
from pipeline.cli.output import say
from pipeline.cli.parts import load
from pipeline.cli.running import movie_companion, run_and_report, window_companion
from streamer.errors import UsageError

HELP = "simulated detector, analysis, recording and window on this machine"

HEADLESS_FRAMES = 300
_SILENCE_S = 120.0  # longer than networks take to load on a busy machine: nothing is sent before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--headless", action="store_true", help="without a window")
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help=f"length of the movie (default: until the window is closed; headless: {HEADLESS_FRAMES})",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.nxs", help="result file (default: new, in runs/)")
    add_config(parser)
    add_stream(parser)
    add_analysis(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demonstration."""
    from pipeline.plan import RunPlan

    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames {args.frames}: expected at least 1")
    config = run_config(args)
    window = window_companion(args.headless, config.security)
    n_frames = args.frames or (0 if window else HEADLESS_FRAMES)
    out = run_file("demo", args.out, config.record.path)
    config = run_config(
        args,
        source__frame_px=(args.size, args.size),
        record__path=str(out),
        ingest__idle_timeout_s=config.ingest.idle_timeout_s or _SILENCE_S,
        ingest__continuous=False,
    )
    sender = movie_companion(args, _filmed(config.analysis.material), n_frames, out)
    say(f"recording to {out}, its truth beside it")
    plan = RunPlan(config=config, say=say, sender=sender, window=window, ends_with_window=not n_frames)
    return run_and_report(args, plan, _compare_with_truth)


def _filmed(material: str) -> str:
    """Return what the movie is of: what the networks know or, where that was never filmed, ceria."""
    if material in load("simulator.demo_states").MATERIALS:
        return material
    say(f"the movie is of ceria: what networks of {material} say of it means nothing")
    return "ceria"


def _compare_with_truth(recording: Path) -> dict[str, Any]:
    truth = load("simulator.truth").truth_path(recording)
    comparison: dict[str, Any] = load("simulator.judge").judge(recording, truth).summary()
    return comparison
