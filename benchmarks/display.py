"""The window's speed, and what it costs the run it shows.

First how many pictures a second a window draws of frames of 1024² and 2048² pixels (`benchmarks.draw_rate`),
then how many frames a second a demonstration that takes the whole machine analyses with no, one and four
windows (`benchmarks.window_cost`), and how soon its window shows a picture (`benchmarks.first_picture`).
Everything is drawn offscreen. Takes less than five minutes; each goal is printed with what was measured, and
the status is 1 if one was missed.

Run it on a quiet machine: ``python -m benchmarks.display``.
"""

import argparse
import os
import sys
from typing import Any

from benchmarks.common import describe_machine, write_results
from benchmarks.draw_rate import Case, draw_rate
from benchmarks.first_picture import first_picture
from benchmarks.window_cost import TURNS, window_cost

CASES = (
    Case(512, 512),
    Case(1024, 1024),
    Case(2048, 1024),  # as a run sends them by default
    Case(2048, 2048),  # with view.size_px = 2048: not binned
)
GOALS = {"shown_per_s": 25.0, "first_picture_after_first_frame_s": 5.0, "1_windows": 0.97, "4_windows": 0.9}


def main() -> int:
    """Measure, say what was reached of the goals, store; the status is 1 if one was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (default: 8)")
    parser.add_argument("--only", choices=("draw", "cost"), help="one of the two parts; nothing is stored")
    args = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    machine = describe_machine()
    results: dict[str, Any] = {"machine": machine, "goals": GOALS}
    if args.only != "cost":
        results["draw"] = [_said(draw_rate(case, args.seconds)) for case in CASES]
    if args.only != "draw":
        results["start"] = _said(first_picture())
        results["cost"] = _said(window_cost(args.seconds, TURNS))
    reached = [_judged(*verdict) for verdict in _verdicts(results)]
    if args.only is None:
        print(write_results("display", results))
    return 0 if all(reached) else 1


def _verdicts(results: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """List what was measured: name, value, goal, whether the value is to be at least that."""
    drawn = [
        (f"pictures a second of {case['frame_px']}² px, sent as {case['picture_px']}²", case["shown_per_s"],
         GOALS["shown_per_s"], True)
        for case in results.get("draw", ())
    ]  # fmt: skip
    start = [
        (f"{name} [s]", results["start"][name], goal, False)
        for name, goal in GOALS.items()
        if name in results.get("start", {})
    ]
    cost = [
        (
            f"analysis with {name.partition('_')[0]} open, against none",
            results["cost"][name]["analysis_ratio"],
            goal,
            True,
        )
        for name, goal in GOALS.items()
        if name in results.get("cost", {})
    ]
    return drawn + start + cost


def _judged(name: str, value: float, goal: float, at_least: bool) -> bool:
    reached = value >= goal if at_least else value <= goal
    wanted = f"{'≥' if at_least else '≤'} {goal:g}"
    print(f"{'reached' if reached else 'MISSED':7s}  {name}: {value:g} (goal: {wanted})")
    return reached


def _said(result: dict[str, Any]) -> dict[str, Any]:
    print(result, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
