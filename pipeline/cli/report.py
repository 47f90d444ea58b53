"""What happened to the particle: totals, atoms gained and lost by region, residence times.

Prints a summary; --out writes one HTML file with figures, --csv the tables behind them.
"""

import argparse
import sys
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.options import new_file
from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from streamer.errors import UsageError

if TYPE_CHECKING:
    import h5py

    from pipeline.reporting.run import RunReport

HELP = "totals, gains, losses and residence times of a recorded run, as a page and as tables"

_SAID = {
    "source": "source",
    "series/pixel_size_nm": "pixel size [nm]",
    "analysis/backend": "analysed with",
    "analysis/device": "device",
    "analysis/precision": "precision",
    "state": "state",
    "end_reason": "ended by",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("file", type=Path, metavar="FILE.nxs")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="write a page with figures")
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="write tables (Parquet too, with pyarrow)")


def run(args: argparse.Namespace) -> int:
    """Report."""
    from pipeline.reporting.run import make_report
    from pipeline.reporting.tables import write_tables
    from streamer.channel_files import read_channels
    from streamer.result_tables import open_result, read_tables

    page = load("pipeline.reporting.page", "report") if args.out else None
    out = new_file(args.out) if args.out else None
    with open_result(args.file) as file:
        tables, said, fired = read_tables(file), _said(file), _fired(file)
    if not len(tables.summary["frame_id"]):
        raise UsageError(f"{args.file} was recorded without analysis: there is nothing to report")
    report = make_report(tables)
    written = [str(path) for path in write_tables(report, args.csv)] if args.csv else []
    if page is not None and out is not None:
        made = page.make_page(args.file, tables, report, said, read_channels(args.file), fired)
        _write(out, made)
        written.append(str(out))
    print(_summary(args.file, report), file=sys.stderr if args.json else sys.stdout)
    for path in written:
        say(f"written: {path}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "files": written, **_numbers(report)})
    return 0


def _write(out: Path, page: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error


def _said(file: "h5py.File") -> dict[str, str]:
    values = {name: file[f"/entry/process/{path}"][()] for path, name in _SAID.items()}
    return {name: v.decode() if isinstance(v, bytes) else f"{v:g}" for name, v in values.items()}


def _fired(file: "h5py.File") -> list[float]:
    """Return when triggers have fired, by their notes [Unix s]."""
    notes = file["/entry/process/notes"]
    return [float(t) for t in notes["time"][:][notes["source"][:] == b"trigger"]]


def _numbers(report: "RunReport") -> dict[str, Any]:
    last = report.totals[-1]
    total = _kind_of_total(last)
    return {
        "frames": len(report.totals),
        "duration_s": report.duration_s,
        "total_atoms": float(last[total]),
        "total_atoms_std": float(last[f"{total}_std"]),
        "mean_stay_s": report.mean_stay_s,
        "changes": int((report.changes["before"] >= 0).sum()),
        "rates": [asdict(rate) for rate in report.rates],
    }


def _summary(path: Path, report: "RunReport") -> str:
    first, last = report.totals[0], report.totals[-1]
    lines = [
        ("frames", f"{len(report.totals):,} analysed, over {report.duration_s:,.2f} s"),
        ("atoms", f"{_total(first)} in the first frame, {_total(last)} in the last"),
    ]
    lines += [
        (r.region, f"gained {r.gained} ({r.gained_per_s:.3g}/s)   lost {r.lost} ({r.lost_per_s:.3g}/s)")
        for r in report.rates
    ]
    if not report.rates:
        lines.append(("changes", "unknown: columns were not followed in this run"))
    elif isfinite(report.mean_stay_s):
        lines.append(
            ("stay", f"{report.mean_stay_s:.3g} s from one change of a column to the next, on average")
        )
    return "\n".join(["", f"atomstream report {path}", *(f"  {n:<10}{text}" for n, text in lines), ""])


def _total(row: Any) -> str:
    name = _kind_of_total(row)
    return f"{row[name]:,.1f} ± {row[f'{name}_std']:,.1f}" if isfinite(row[name]) else "not counted"


def _kind_of_total(row: Any) -> str:
    """Return which total a frame has: by all frames so far or, where columns are not followed, its own."""
    return "fused_atoms" if isfinite(row["fused_atoms"]) else "total_atoms"
