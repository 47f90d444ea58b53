"""Pass a detector's stream on to several clients, as it came: a detector gives each message to one only.

A lossless output's client gets everything; where it has no room, or there is none, the detector waits. A
best-effort output's client gets every start and end message, and the frames it has room for. One output, one
client: several would share its messages. The tee runs until Ctrl-C, over any number of series.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.options import add_keys, run_config
from pipeline.cli.output import print_json, say
from pipeline.tee_report import output_line, tee_problems
from streamer.errors import UsageError

if TYPE_CHECKING:
    from streamer.counters import OutputCounts
    from streamer.tee import TeeCounts

HELP = "pass a stream on to several clients"

_POLICIES = {
    "--lossless": "gets everything, or holds everything back",
    "--best-effort": "gets the frames it has room for",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="dectris2://HOST:31001, dectris1://HOST:9999 or atomstream://HOST:PORT",
    )
    for name, policy in _POLICIES.items():
        parser.add_argument(
            name, action="append", metavar="tcp://HOST:PORT",
            help=f"where a client connects that {policy}; may be repeated",
        )  # fmt: skip
    parser.add_argument(
        "--queue", type=int, metavar="N", help="messages on their way to each client (default: 100)"
    )
    parser.add_argument("--series", type=int, metavar="N", help="end after N series (default: go on)")
    parser.add_argument(
        "--connect-timeout-s", type=float, metavar="S", help="how long to wait for the source (default: 5)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="options win over it")
    add_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Pass messages on until Ctrl-C or the last series' end, and print what became of them."""
    from pipeline.signals import StopSignals
    from streamer.message_kind import kind_reader
    from streamer.sources import parse_source, wait_reachable
    from streamer.tee import Tee

    source = parse_source(args.source)
    kind_reader(source.scheme)  # refuses sources that cannot be passed on
    config = run_config(args)
    if not config.tee.lossless and not config.tee.best_effort:
        raise UsageError("nobody to pass the stream on to: give --lossless or --best-effort tcp://HOST:PORT")
    with StopSignals() as signals, Tee(config) as tee:
        for output in tee.counts().outputs:
            say(f"{output.policy}: {source.scheme}://{output.address.removeprefix('tcp://')}")
        wait_reachable(source, config.source.connect_timeout_s)
        with _Progress() as progress:
            tee.run(signals.is_set, progress.show)
        tee.close()
        return _report(args, tee.counts())


def _report(args: argparse.Namespace, counts: "TeeCounts") -> int:
    problems = tee_problems(counts.outputs, counts.undelivered)
    print(_page(counts, problems), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print_json({"verb": args.verb, "ok": not problems, "problems": problems, **counts.to_dict()})
    return 1 if problems else 0


def _page(counts: "TeeCounts", problems: list[str]) -> str:
    rate = f"   {counts.messages / counts.seconds:,.1f} a second" if counts.seconds else ""
    unknown = f", {counts.unknown:,} not understood" if counts.unknown else ""
    lines = [
        ("received", f"{counts.frames:,} frames in {counts.series:,} whole series{unknown}{rate}"),
        *((str(output.policy), output_line(output)) for output in counts.outputs),
        *(("problem", problem) for problem in problems),
    ]
    if not problems:
        lines.append(("verdict", "stopped on request" if counts.stopped else "nothing was lost"))
    return "\n".join(["", "atomstream tee", *(f"  {name:<13}{text}" for name, text in lines), ""])


class _Progress:
    """A bar on stderr, where that is a terminal, with what each output has got."""

    def __enter__(self) -> "_Progress":
        from tqdm import tqdm

        self._bar: Any = tqdm(unit="frame", leave=False, disable=None, file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, counts: "TeeCounts") -> None:
        self._bar.set_postfix_str("   ".join(map(_short, counts.outputs)), refresh=False)
        self._bar.update(counts.frames - self._bar.n)


def _short(output: "OutputCounts") -> str:
    port = output.address.rpartition(":")[2]
    missed = output.dropped + output.absent
    return (
        f":{port} {output.frames:,}"
        + (f" (−{missed:,})" if missed else "")
        + ("" if output.clients else " nobody")
    )
