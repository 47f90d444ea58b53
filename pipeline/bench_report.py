"""A benchmark's results as a page and as figures, and against an earlier one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.latency import DISPLAYED

__all__ = ["compare", "draw", "markdown"]

_QUIET_LOAD = 0.3
_SHARE_OF_LIMIT = 0.7  # of the slowest stage's rate: less is not that stage's doing alone
_PARTS = {"analyser": ("decoding", "columns")}  # stages that one thread does
_MACHINE = ("cpu", "vector_unit", "cores")
_NOTABLE = 0.1  # a change smaller than this is not called one


def markdown(results: Mapping[str, Any], figures: Sequence[str] = (), changes: Sequence[str] = ()) -> str:
    """Write the one-page report."""
    return "\n".join(_page(results, figures, changes)) + "\n"


def _page(results: Mapping[str, Any], figures: Sequence[str], changes: Sequence[str]) -> Iterator[str]:
    machine = results["machine"]
    yield "# Benchmark"
    yield ""
    yield (
        f"{_processor(machine)}, {machine['memory_GiB']} GiB; {machine['system']},"
        f" Python {machine['python']}; {machine['when']}. "
        + ", ".join(f"{name} {found}" for name, found in machine["packages"].items())
        + "."
    )
    if machine["load"] > _QUIET_LOAD:
        yield ""
        yield f"**The machine was busy with other work (load {machine['load']}): these figures are too low.**"
    yield ""
    yield f"Recording alone: {results['recording_alone']['fps']:,.0f} frames/s."
    for name, backend in results["backends"].items():
        yield from _backend(name, backend)
    yield from _peers(results.get("peers", ()))
    for figure in figures:
        yield from ("", f"![{figure.rpartition('.')[0]}]({figure})")
    if changes:
        yield from ("", "## Against the earlier results", "", *(f"- {line}" for line in changes))


def _processor(machine: Mapping[str, Any]) -> str:
    """Return what decides how fast networks are on a CPU, in words."""
    unit = f" ({machine['vector_unit']})" if machine.get("vector_unit") else ""
    return f"{machine['cpu']}{unit}, {machine['cores']} cores"


def _backend(name: str, backend: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {backend['capacity']['backend'] or name}", "")
    whole_fps = backend["capacity"]["fps"]
    yield f"The whole: {whole_fps:,.1f} frames/s. {limit_line(backend['limit'], whole_fps)}"
    yield from ("", "| stage by itself | frames/s |", "|---|---|")
    for stage, fps in backend["stages_fps"].items():
        yield f"| {stage} | {fps:,.1f} |"
    yield ""
    yield "Latency from when a frame was due to its result (open loop), in ms; of a run that is not recorded,"
    yield "from its arrival. b4 w20: batches of 4, each closed after 20 ms at the latest."
    yield ""
    yield "| | offered [frames/s] | finished [frames/s] | skipped | p50 | p99 | p99.9 | longest |"
    yield "|---|---|---|---|---|---|---|---|"
    for part in ("load", "batch", "size"):
        yield from map(_row, backend[part])
    for measured in backend["load"]:
        if drawn := measured["stages_ms"].get(DISPLAYED):
            yield ""
            p50, p99 = (f"{drawn[name]:,.1f} ms" for name in ("p50", "p99"))
            yield f"{measured['key']}: the window drew frames {p50} (p50), {p99} (p99) after they had come."


def _peers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", "## Beside others, in the same run", "")
    yield "| task | program | frames/s | lost | what it does with them |"
    yield "|---|---|---|---|---|"
    for row in rows:
        cells = [row["task"], row["program"]]
        if "missing" in row:
            cells += ["–", "–", f"not run: {row['missing']}"]
        else:
            cells += [f"{row['fps']:,.1f}", f"{row['lost']:,}" if "lost" in row else "–", row["also"]]
        yield "| " + " | ".join(cells) + " |"


def limit_line(limit: Mapping[str, Any], whole_fps: float) -> str:
    """Say what limits the whole, and what to change; and if the stages' common cores limit it more."""
    alone = f"{limit['fps']:,.1f} frames/s by itself"
    line = f"What limits it: {limit['stage']} ({alone}). Change: {limit['advice']}."
    share = whole_fps / limit["fps"]
    if share < _SHARE_OF_LIMIT:
        line += (
            f" The whole does {share:.0%} of what this stage does by itself: all stages, the sender included,"
            " share this machine's cores. More of them, or a machine without other work, help first."
        )
    return line


def _row(measured: Mapping[str, Any]) -> str:
    rate = measured["case"]["rate_hz"]
    latency = measured["latency_ms"]
    cells = [f"{latency[n]:,.1f}" if n in latency else "–" for n in ("p50", "p99", "p999", "max")]
    offered = f"{rate:,.1f}" if rate else "all it takes"
    counts = measured["counts"]
    return (
        "| "
        + " | ".join([measured["key"], offered, f"{measured['fps']:,.1f}", str(counts["skipped"]), *cells])
        + " |"
    )


def compare(results: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    """Name every rate that differs from an earlier benchmark's by more than a tenth.

    Runs as fast as they go are compared, by the name of their case; of several of one name, the best. Another
    machine is named first: differences are then its own.
    """
    now, then = _capacities(results), _capacities(earlier)
    lines = _machines(results["machine"], earlier["machine"])
    n_then, n_now = (found.get("threads", 0) or "its own number of" for found in (earlier, results))
    if n_then != n_now:
        lines.append(f"OTHER THREADS: each backend had then {n_then} threads, now {n_now}")
    n_before = len(lines)
    for key in now:
        if key in then and then[key] > 0 and abs(now[key] / then[key] - 1) > _NOTABLE:
            word = "faster" if now[key] > then[key] else "SLOWER"
            times = now[key] / then[key]
            lines.append(f"{key}: {then[key]:,.1f} → {now[key]:,.1f} frames/s, {times:.2f} times, {word}")
    common = len(now.keys() & then.keys())
    if not common:
        return [*lines, "none of the cases is in both"]
    return lines if lines[n_before:] else [*lines, f"all {common} common cases are within {_NOTABLE:.0%}"]


def _machines(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Name what keeps two machines' figures from being compared: another processor, or other work."""
    lines = []
    if any(now.get(name, "") != then.get(name, "") for name in _MACHINE):
        lines.append(f"ANOTHER MACHINE: then {_processor(then)}, now {_processor(now)}")
    if busy := [word for word, m in (("then", then), ("now", now)) if m["load"] > _QUIET_LOAD]:
        lines.append(f"busy with other work {' and '.join(busy)}: differences may be that work's")
    return lines


def _capacities(results: Mapping[str, Any]) -> dict[str, float]:
    best: dict[str, float] = {}
    parts = [results["recording_alone"]]
    for backend in results["backends"].values():
        parts += [backend["capacity"], *backend["batch"], *backend["size"]]
    for part in parts:
        if not part["case"]["rate_hz"]:
            best[part["key"]] = max(best.get(part["key"], 0.0), part["fps"])
    return best


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw latency against load, the stages by themselves, and rates against batch and frame size.

    Returns the figures' names, one for each backend.

    Raises
    ------
    ModuleNotFoundError
        If Matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = []
    for name, backend in results["backends"].items():
        figure, (left, limit, middle, right) = plt.subplots(1, 4, figsize=(16, 4), layout="constrained")
        for policy in ("wait", "latest"):
            _draw_load(left, _load_runs(backend, policy), policy)
        left.set(xlabel="offered [frames/s]", ylabel="due → result [ms]", yscale="log")
        left.axvline(backend["capacity"]["fps"], color="0.7", label="as fast as it goes")
        left.legend(fontsize=8)
        _draw_limit(limit, backend)
        _draw_rates(middle, backend["batch"], lambda c: f"{c['batch_frames']}\n{c['max_wait_ms']:g} ms")
        middle.set(xlabel="frames in a batch, longest wait")
        _draw_rates(right, backend["size"], lambda c: f"{c['size_px']}")
        right.set(xlabel="side of a frame [px]")
        figure.suptitle(backend["capacity"]["backend"] or f"{name}, {results['machine']['cpu']}")
        names.append(f"bench-{name}.png")
        figure.savefig(folder / names[-1], dpi=110)
        plt.close(figure)
    return names


def _load_runs(backend: Mapping[str, Any], policy: str) -> list[Mapping[str, Any]]:
    """Return the runs that differ in nothing but what was offered, those with a latency."""
    return [
        m
        for m in backend["load"]
        if m["latency_ms"]
        and (m["case"]["policy"], m["case"]["record"], m["case"]["window"]) == (policy, True, False)
    ]


def _draw_limit(axes: Any, backend: Mapping[str, Any]) -> None:
    """Draw what each stage does by itself, those of the one that limits in another colour, and the whole."""
    stages, slowest = backend["stages_fps"], backend["limit"]["stage"]
    limiting = _PARTS.get(slowest, (slowest,))
    axes.barh([*stages], [*stages.values()], color=["C3" if name in limiting else "C0" for name in stages])
    axes.axvline(backend["capacity"]["fps"], color="0.4", ls="--", label="the whole")
    axes.set(xlabel="by itself [frames/s]", xscale="log", title=f"what limits it: {slowest}")
    axes.invert_yaxis()
    axes.legend(fontsize=8)


def _draw_load(axes: Any, runs: Sequence[Mapping[str, Any]], policy: str) -> None:
    offered = [m["case"]["rate_hz"] for m in runs]
    for percentile, style in (("p50", "--"), ("p99", "-")):
        values = [m["latency_ms"][percentile] for m in runs]
        axes.plot(
            offered,
            values,
            f"o{style}",
            color={"wait": "C0", "latest": "C1"}[policy],
            label=f"{policy}, {percentile}",
        )


def _draw_rates(axes: Any, runs: Sequence[Mapping[str, Any]], name_of: Any) -> None:
    most = [m for m in runs if not m["case"]["rate_hz"]]
    axes.bar([name_of(m["case"]) for m in most], [m["fps"] for m in most])
    axes.set(ylabel="as fast as it goes [frames/s]")
