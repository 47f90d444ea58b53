"""A benchmark's results as a page and as figures, and against an earlier one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.latency import DISPLAYED

__all__ = ["compare", "draw", "markdown"]

_QUIET_LOAD = 0.3
_NOTABLE = 0.1  # a change smaller than this is not called one


def markdown(results: Mapping[str, Any], figures: Sequence[str] = (), changes: Sequence[str] = ()) -> str:
    """Write the one-page report."""
    return "\n".join(_page(results, figures, changes)) + "\n"


def _page(results: Mapping[str, Any], figures: Sequence[str], changes: Sequence[str]) -> Iterator[str]:
    machine = results["machine"]
    yield "# Benchmark"
    yield ""
    yield (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_GiB']} GiB; {machine['system']},"
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


def _backend(name: str, backend: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {backend['capacity']['backend'] or name}", "")
    yield f"The whole: {backend['capacity']['fps']:,.1f} frames/s. {limit_line(backend['limit'])}"
    yield from ("", "| stage by itself | frames/s |", "|---|---|")
    for stage, fps in backend["stages_fps"].items():
        yield f"| {stage} | {fps:,.1f} |"
    yield from ("", "Latency from when a frame was due to its result (open loop), in ms:", "")
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


def limit_line(limit: Mapping[str, Any]) -> str:
    """Say what limits the whole, and what to change."""
    alone = f"{limit['fps']:,.1f} frames/s by itself"
    return f"What limits it: {limit['stage']} ({alone}). Change: {limit['advice']}."


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

    Runs as fast as they go are compared, by the name of their case; of several of one name, the best.
    """
    now, then = _capacities(results), _capacities(earlier)
    lines = []
    for key in now:
        if key in then and then[key] > 0 and abs(now[key] / then[key] - 1) > _NOTABLE:
            word = "faster" if now[key] > then[key] else "SLOWER"
            times = now[key] / then[key]
            lines.append(f"{key}: {then[key]:,.1f} → {now[key]:,.1f} frames/s, {times:.2f} times, {word}")
    common = len(now.keys() & then.keys())
    if not common:
        return ["none of the cases is in both"]
    return lines or [f"all {common} common cases are within {_NOTABLE:.0%}"]


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
    """Draw latency against load, and rates against batch and frame size; return the figures' names.

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
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
        for policy in ("wait", "latest"):
            runs = [m for m in backend["load"] if m["case"]["policy"] == policy and m["case"]["record"]]
            _draw_load(left, [m for m in runs if m["latency_ms"]], policy)
        left.set(xlabel="offered [frames/s]", ylabel="due → result [ms]", yscale="log")
        left.axvline(backend["capacity"]["fps"], color="0.7", label="as fast as it goes")
        left.legend(fontsize=8)
        _draw_rates(middle, backend["batch"], lambda c: f"{c['batch_frames']}\n{c['max_wait_ms']:g} ms")
        middle.set(xlabel="frames in a batch, longest wait")
        _draw_rates(right, backend["size"], lambda c: f"{c['size_px']}")
        right.set(xlabel="side of a frame [px]")
        figure.suptitle(f"{backend['capacity']['backend'] or name}, {results['machine']['cpu']}")
        names.append(f"bench-{name}.png")
        figure.savefig(folder / names[-1], dpi=110)
        plt.close(figure)
    return names


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
