"""List the stimulus channels of a result file, add some from a device's own table, or write all as CSV."""

import argparse
from pathlib import Path

from pipeline.cli.output import print_json, say
from streamer.errors import UsageError

HELP = "stimulus channels of a result file: list, add from CSV, write as CSV"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("file", type=Path, metavar="FILE.nxs")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="add its columns as channels")
    parser.add_argument(
        "--since-start", action="store_true", help="its times are seconds since the first frame's arrival"
    )
    parser.add_argument("--offset-s", type=float, default=0.0, metavar="S", help="add to its times")
    parser.add_argument("--to", type=Path, metavar="FILE.csv", help="write one line a frame")


def run(args: argparse.Namespace) -> int:
    """Add, write, and list what there is."""
    from streamer.channel_files import add_channels, read_channels, read_csv, write_csv

    if args.csv is None and (args.since_start or args.offset_s):
        raise UsageError("--since-start and --offset-s are for the times of --csv FILE.csv")
    bad_lines: list[int] = []
    if args.csv is not None:
        table = read_csv(args.csv, _first_arrival(args.file) if args.since_start else None, args.offset_s)
        bad_lines = table.bad_lines
        add_channels(args.file, table.channels)
        if bad_lines:
            named = ", ".join(map(str, bad_lines[:10])) + (" …" if len(bad_lines) > 10 else "")
            say(f"{len(bad_lines)} lines of {args.csv} hold no time or no number there: {named}")
    if args.to is not None:
        say(f"{write_csv(args.file, args.to):,} lines in {args.to}")
    channels = read_channels(args.file)
    for name, series in () if args.json else channels.items():
        print(f"{name:<20}{series.unit:<10}{len(series.value):>10,} values")
    if args.json:
        counts = {name: {"unit": s.unit, "values": len(s.value)} for name, s in channels.items()}
        print_json({"verb": args.verb, "ok": True, "channels": counts, "bad_lines": bad_lines})
    return 0


def _first_arrival(path: Path) -> float:
    import numpy as np

    from streamer.result_tables import open_result

    with open_result(path) as file:
        times = file["/entry/ledger/t_received"][:]
    if not np.isfinite(times).any():
        raise UsageError(f"{path} holds no frame that --since-start could refer to")
    return float(np.nanmin(times))
