"""What the verbs that run processes have in common: supervise, judge, print, and the exit status."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.options import new_file
from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load

if TYPE_CHECKING:
    import argparse

    from pipeline.plan import Companion, RunOutcome, RunPlan
    from streamer.config import RunConfig, SecurityConfig

__all__ = [
    "detector_companion",
    "has_display",
    "movie_companion",
    "movie_stream",
    "run_and_report",
    "window_companion",
]


def run_and_report(
    args: "argparse.Namespace",
    plan: "RunPlan",
    truth_of: Callable[[Path], dict[str, Any] | None] = lambda recording: None,
) -> int:
    """Run a plan and print its summary.

    Parameters
    ----------
    args : argparse.Namespace
        ``verb`` and ``json``.
    plan : RunPlan
    truth_of : callable
        Given the result file, returns how it compares with a known truth.

    Returns
    -------
    int
        0 if nothing was lost against the policy, else 1.
    """
    from pipeline.report import format_summary, summarise
    from pipeline.supervisor import supervise

    summary: dict[str, Any] = {}

    def report(outcome: "RunOutcome") -> None:
        summary.update(summarise(args.verb, outcome))
        if summary["files"] and summary["analysed"] and summary["backend"] != "null":
            summary["truth"] = truth_of(Path(summary["files"][0]))
        print(format_summary(summary), file=sys.stderr if args.json else sys.stdout, flush=True)

    supervise(plan, report)
    if args.json:
        print_json(summary)
    return 0 if summary["ok"] else 1


def window_companion(headless: bool, security: "SecurityConfig") -> "Companion | None":
    """Return the window of a run, or None where none is wanted or no display is there to show it.

    It is let in by the run's own key, where `security` encrypts the view.
    """
    from pipeline.plan import Companion

    if headless:
        return None
    if not has_display():
        say("no display is found: running without a window (--headless says so beforehand)")
        return None
    key = security.key if security.clients else ""
    return Companion(partial(load("gui.app").run_window, key=key, server_key=key))


def detector_companion(config: "RunConfig") -> "Companion | None":
    """Return the process that has a detector take the series, or None where it is started by hand."""
    from pipeline.plan import Companion
    from streamer.acquisition import expect_detector, run_detector

    expect_detector(config)
    return Companion(run_detector, (config,), "detector") if config.detector.arm else None


def has_display() -> bool:
    """Whether a window can be opened: always on Windows and macOS; elsewhere if a display server is named."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def movie_companion(
    args: "argparse.Namespace", material: str, n_frames: int, recording: Path | None
) -> "Companion":
    """Return the process that films and sends the movie that the options describe (`options.add_stream`)."""
    from pipeline.plan import Companion

    truth = str(new_file(load("simulator.truth").truth_path(recording))) if recording else ""
    stream = movie_stream(args, material, n_frames, truth)
    return Companion(load("simulator.movie_sender").run_movie, (stream,))


def movie_stream(
    args: "argparse.Namespace",
    material: str,
    n_frames: int,
    truth: str,
    bind: str = "tcp://127.0.0.1:*",
    security: "SecurityConfig | None" = None,
) -> Any:
    """Return the `simulator.movie_sender.MovieStream` of a material that the options describe."""
    from streamer.config import LOCAL_ONLY
    from streamer.records import Compression
    from streamer.sources import Scheme

    movie = load("simulator.movie").settings_for(
        material, size_px=args.size, dose_e_per_A2=args.dose, seed=args.seed, detector=args.detector
    )
    sending = load("simulator.sender").SenderSettings(
        scheme=Scheme(args.wire),
        bind=bind,
        compression=Compression(args.compression),
        rate_hz=args.fps,
        faults=load("simulator.faults").parse_faults(args.fault, args.seed),
        security=security or LOCAL_ONLY,
    )
    return load("simulator.movie_sender").MovieStream(
        movie=movie, sending=sending, n_frames=n_frames, truth=truth
    )
