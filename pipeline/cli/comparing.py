"""``atomstream replay --compare``: a recorded run is analysed again, and every difference reported."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pipeline.cli.options import new_file, run_config
from pipeline.cli.output import print_json, say
from streamer.errors import RunError, UsageError

if TYPE_CHECKING:
    from pipeline.compare import RunResults
    from pipeline.plan import RunOutcome
    from streamer.replay import ReplaySettings

__all__ = ["compare_again"]

_SILENCE_S = 120.0  # longer than networks take to load on a busy machine: nothing is sent before
_MIB = 2**20


def compare_again(args: argparse.Namespace, settings: "ReplaySettings") -> int:
    """Analyse the frames that the recorded run has analysed once more, as it did, and compare.

    The second result file is kept where ``--out`` says, with the notes and stimulus channels of the first;
    otherwise it is temporary.
    """
    from pipeline.carry_over import carry_over
    from pipeline.compare import compare, format_comparison, read_results
    from pipeline.plan import Companion, RunPlan
    from pipeline.report import format_summary, summarise
    from pipeline.supervisor import supervise
    from streamer.replay import run_replay

    stored = read_results(args.file)
    if stored.not_kept:
        say(
            f"{stored.not_kept:,} analysed frames are not in the file: drift, tracks and fused counts of"
            " those behind may differ"
        )
    with tempfile.TemporaryDirectory(prefix="atomstream-") as folder:
        out = new_file(args.out) if args.out else Path(folder) / "again.nxs"
        _expect_room(out, args.file)
        settings = replace(settings, frames=tuple(stored.stack_rows.values()))
        config = _config_as_stored(args, stored, Path(folder), out)
        outcome = supervise(RunPlan(config=config, say=say, sender=Companion(run_replay, (settings,))))
        _expect_results(outcome)
        again = read_results(out).renumbered(list(stored.stack_rows))
        if args.out:
            made_anew = [rule.name for rule in config.trigger if rule.when not in ("channel", "lost")]
            carry_over(args.file, out, list(stored.stack_rows), made_anew)
    comparison = compare(stored, again)
    summary = summarise(args.verb, outcome) | {"ok": comparison.same, "comparison": comparison.to_dict()}
    if not args.out:
        summary["files"] = []
    page = format_summary(summary) + format_comparison(comparison)
    print(page, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print_json(summary)
    return 0 if comparison.same else 1


def _expect_results(outcome: "RunOutcome") -> None:
    if outcome.ended_early:
        raise RunError("the second analysis was ended early: nothing was compared")
    if not outcome.ingest.get("analysed"):
        raise RunError(f"the second analysis gave no results: {'; '.join(outcome.troubles) or 'see above'}")


def _config_as_stored(args: argparse.Namespace, stored: "RunResults", folder: Path, out: Path) -> Any:
    """Return the recorded run's configuration, except for what is given now and where it is written."""
    from streamer.config import Precision

    if args.config is None:
        args.config = folder / "configuration.toml"
        args.config.write_text(stored.configuration, encoding="utf-8")
        _leave_network_out(args.config)
    if not args.backend:  # precision included: a backend's own choice depends on the machine's load
        args.backend, recorded = stored.engine["backend"], stored.engine["precision"]
        args.precision = args.precision or (recorded if recorded in get_args(Precision) else None)
    config = run_config(args)
    return run_config(
        args,
        record__path=str(out),
        record__paused=False,
        record__every=1,  # only what was kept is replayed
        record__maps_every=0,
        analysis__enabled=True,
        analysis__policy=args.policy or "wait",
        analysis__every=1,  # only the frames that were analysed are replayed
        ingest__idle_timeout_s=config.ingest.idle_timeout_s or _SILENCE_S,
        view__bind=args.view or "tcp://127.0.0.1:0",
    )


def _leave_network_out(path: Path) -> None:
    """Remove from a run's configuration whom it was connected to and called, and that it was to go on."""
    from msgspec import structs

    from streamer.config import RunConfig, load_config, to_toml

    stored, default = load_config(path), RunConfig()
    fewest = 1 if stored.analysis.alone else 2  # what several tell of drift, one may tell otherwise
    config = structs.replace(
        stored,
        source=structs.replace(stored.source, server_key="", channel=""),
        ingest=structs.replace(stored.ingest, continuous=False),
        view=default.view,
        security=default.security,
        tee=default.tee,
        detector=default.detector,
        control=default.control,
        analysis=structs.replace(
            stored.analysis, analysers=max(fewest, stored.analysis.analysers), remote=""
        ),
        trigger=tuple(structs.replace(rule, webhook="") for rule in stored.trigger),
    )
    path.write_text(to_toml(config), encoding="utf-8")


def _expect_room(out: Path, recorded: Path) -> None:
    from streamer.disk_space import free_bytes

    needed, free = recorded.stat().st_size, free_bytes(out)
    if free < needed + 64 * _MIB:
        raise UsageError(
            f"{out.parent} has {free // _MIB} MiB free, the second analysis takes {needed // _MIB}:"
            " give --out on a disk with more room"
        )
