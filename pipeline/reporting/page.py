"""A report as one HTML file with its figures inside, for a browser, a mail, an electronic notebook."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pipeline.reporting.run import RunReport
from streamer.channel_files import Series
from streamer.latency import PERCENTILES
from streamer.result_tables import Tables, count

__all__ = ["make_page"]

mpl.use("Agg")

_WIDE = (9.0, 3.2)
_SQUARE = (9.0, 4.4)
_BINS = 30
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .9rem .2rem 0; text-align: right }
th:first-child, td:first-child { text-align: left } th { border-bottom: 1px solid #999; font-weight: 600 }
img { max-width: 100% } h2 { margin-top: 2.2rem } .note { color: #666 }
"""


def make_page(
    path: Path,
    tables: Tables,
    report: RunReport,
    process: Mapping[str, str],
    channels: Mapping[str, Series] = MappingProxyType({}),
    fired: Sequence[float] = (),
) -> str:
    """Return the page.

    Parameters
    ----------
    path : pathlib.Path
        The result file, for the title.
    tables : Tables
    report : RunReport
    process : mapping of str to str
        What else is said of the run, by name.
    channels : mapping of str to Series
        Stimulus channels, by name.
    fired : sequence of float
        When triggers have fired [Unix s].
    """
    parts = [
        ("Run", _table(("", ""), process.items())),
        ("Atoms against time", _image(_total_figure(report))),
        *([("Stimuli", _image(_stimuli_figure(tables, channels, fired)))] if channels else []),
        *(_changes_parts(report) if report.rates else []),
        ("Counts in the first and the last frame", _image(_maps_figure(tables))),
        ("Frames", _ledger_table(tables)),
        ("Latency, from received to published", _latency_table(tables)),
    ]
    body = "\n".join(f"<h2>{escape(title)}</h2>\n{part}" for title, part in parts)
    title = escape(path.name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _changes_parts(report: RunReport) -> list[tuple[str, str]]:
    return [
        ("Atoms gained and lost", _rates_table(report) + _image(_gains_figure(report))),
        ("Residence times", _stay_note(report) + _image(_stays_figure(report))),
    ]


def _total_figure(report: RunReport) -> Figure:
    figure, axes = _axes(_WIDE, "time [s]", "atoms")
    rows = report.totals[np.argsort(report.totals["time_s"], kind="stable")]
    t = rows["time_s"]
    axes.plot(t, rows["total_atoms"], lw=0.5, color="0.7", label="each frame")
    if np.isfinite(rows["fused_atoms"]).any():
        fused, std = rows["fused_atoms"], rows["fused_atoms_std"]
        axes.fill_between(t, fused - std, fused + std, color="C0", alpha=0.25, lw=0)
        axes.plot(t, fused, color="C0", label="all frames so far, ± one standard deviation")
    axes.legend(frameon=False)
    return figure


def _stimuli_figure(tables: Tables, channels: Mapping[str, Series], fired: Sequence[float]) -> Figure:
    """Draw each channel against the time of the frames, and a dotted line where a trigger has fired."""
    received = tables.ledger["t_received"]
    t_first, t_last = np.nanmin(received), np.nanmax(received)
    figure = Figure((_WIDE[0], 1.6 * len(channels) + 0.6), layout="constrained")
    rows = figure.subplots(len(channels), sharex=True, squeeze=False)[:, 0]
    for axes, (name, series) in zip(rows, channels.items(), strict=True):
        t, value = [*series.t, max(t_last, *series.t[-1:], t_first)], [*series.value, *series.value[-1:]]
        axes.step(np.array(t[: len(value)]) - t_first, value, where="post", color="C3")
        axes.set_ylabel(f"{name} [{series.unit}]" if series.unit else name)
        axes.spines[["top", "right"]].set_visible(False)
        for t_fired in fired:
            axes.axvline(t_fired - t_first, color="0.4", lw=0.7, ls=":")
    rows[-1].set(xlabel="time [s], dotted: triggers", xlim=(0.0, max(t_last - t_first, 1e-3)))
    return figure


def _gains_figure(report: RunReport) -> Figure:
    figure, axes = _axes(_WIDE, "time [s]", "atoms, added up")
    known = report.changes[report.changes["before"] >= 0]
    known = known[np.argsort(known["time_s"], kind="stable")]
    step = known["after"].astype(int) - known["before"].astype(int)
    for region, colour in zip(("bulk", "surface", "corner"), ("C0", "C1", "C2"), strict=True):
        here = known["region"] == region
        for sign, label in ((1, region), (-1, "")):
            rows = here & (np.sign(step) == sign)
            t = [report.totals["time_s"][0], *known["time_s"][rows], report.totals["time_s"][-1]]
            atoms = [0, *np.cumsum(step[rows]), step[rows].sum()]
            axes.step(t, atoms, where="post", color=colour, label=label)
    axes.axhline(0.0, color="0.6", lw=0.6)
    axes.legend(frameon=False, title="gained above, lost below")
    return figure


def _stays_figure(report: RunReport) -> Figure:
    figure, axes = _axes(_WIDE, "time without a change [s]", "columns")
    stays = report.stays
    lengths = stays["end_s"] - stays["start_s"]
    edges = np.linspace(0.0, max(float(lengths.max(initial=0.0)), 1e-3), _BINS + 1)
    seen = lengths[stays["complete"]], lengths[~stays["complete"]]
    labels = ("from change to change", "cut off by the beginning or the end")
    axes.hist(seen, edges.tolist(), stacked=True, color=("C0", "0.8"), label=labels)
    axes.legend(frameon=False)
    return figure


def _maps_figure(tables: Tables) -> Figure:
    figure = Figure(_SQUARE, layout="constrained")
    rows = np.flatnonzero(tables.summary["n_columns"] > 0)
    rows = rows[np.argsort(tables.summary["frame_id"][rows])]  # results may come in another order
    shown = [("first frame", int(rows[0])), ("last frame", int(rows[-1]))] if len(rows) else []
    fused = "fused_count" if tables.columns.get("fused_count", np.zeros(1)).any() else "count"
    top = max(int(tables.columns[fused].max(initial=1)), 1)
    for place, (title, row) in enumerate(shown):
        axes = figure.add_subplot(
            1, 2, place + 1, aspect="equal", title=title, xlabel="x [px]", ylabel="y [px]"
        )
        first = int(tables.first_row[row])
        here = slice(first, first + int(tables.summary["n_columns"][row]))
        columns = {name: tables.columns[name][here] for name in ("y", "x", fused)}
        dots = axes.scatter(
            columns["x"], columns["y"], c=columns[fused], vmin=0, vmax=top, s=24, cmap="viridis"
        )
        axes.invert_yaxis()
    if shown:
        figure.colorbar(dots, ax=figure.axes, label="atoms", shrink=0.8)
    return figure


def _rates_table(report: RunReport) -> str:
    rows = [
        (
            rate.region,
            f"{rate.gained}",
            f"{rate.lost}",
            f"{rate.gained_per_s:.3g} ± {rate.gained_per_s_error:.1g}",
            f"{rate.lost_per_s:.3g} ± {rate.lost_per_s_error:.1g}",
        )
        for rate in report.rates
    ]
    return _table(("region", "gained", "lost", "gained per second", "lost per second"), rows)


def _stay_note(report: RunReport) -> str:
    complete = int(report.stays["complete"].sum())
    return (
        f'<p class="note">{complete} stays from change to change, {len(report.stays) - complete} cut off.'
        f" Mean, as all time observed over the number of changes: {report.mean_stay_s:.3g} s.</p>"
    )


def _ledger_table(tables: Tables) -> str:
    counted = count(tables.ledger)
    planned = [("planned", tables.n_planned)] if tables.n_planned else []
    names = ("received", "recorded", "analysed", "skipped", "missing", "damaged")
    return _table(("", "frames"), [(n, f"{v:,}") for n, v in [*planned, *((n, counted[n]) for n in names)]])


def _latency_table(tables: Tables) -> str:
    latency_s = tables.ledger["t_published"] - tables.ledger["t_received"]
    known = latency_s[np.isfinite(latency_s)]
    if not len(known):
        return "<p>No frame was analysed.</p>"
    values = np.percentile(known, PERCENTILES)
    return _table(
        ("percentile", "ms"),
        [(f"{p:g} %", f"{1e3 * v:,.1f}") for p, v in zip(PERCENTILES, values, strict=True)],
    )


def _axes(size: tuple[float, float], x: str, y: str) -> tuple[Figure, "mpl.axes.Axes"]:
    figure = Figure(size, layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _image(figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    heading = line(head, "th") if any(head) else ""
    return f"<table>{heading}{''.join(line(row, 'td') for row in rows)}</table>"
