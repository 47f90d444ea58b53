"""What is said of a run when it is over: one record for ``--json``, a page of text, and the exit status."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from pipeline.plan import RunOutcome
from pipeline.tee_report import output_line, tee_problems
from streamer.counters import OutputCounts, SeriesSummary, series_line
from streamer.latency import DISPLAYED, TRIGGERED
from streamer.records import Policy

__all__ = ["format_summary", "problems_of", "summarise"]

_FROM_INGEST = (
    "planned", "received", "recorded", "analysed", "skipped", "missing", "damaged", "duplicates", "strays",
    "unrecorded", "paused", "analysis_lost", "lost", "bad_messages", "bad_samples", "fps", "seconds",
    "latency_p50_ms", "latency_p99_ms", "latency_p999_ms", "latency_max_ms", "stages_ms", "bytes_received",
    "bytes_recorded", "ended_by", "n_series", "series", "particles", "tee",
)  # fmt: skip
_FROM_ANALYSER = ("backend", "device", "precision")
_COUNTS = ("sent", "received", "recorded", "analysed", "skipped", "missing", "damaged")
_MIB = 2**20
_SEVERAL = 2
_MOST_FILES = 3
_MOST_SERIES_LINES = 20


def summarise(verb: str, outcome: RunOutcome) -> dict[str, Any]:
    """Return everything worth knowing about a run as JSON-like values; ``ok`` decides the exit status."""
    problems = problems_of(outcome)
    summary: dict[str, Any] = {"verb": verb, "ok": not problems, "problems": problems}
    if outcome.sender and "frames" in outcome.sender:  # not if it was killed, nor does a detector know
        summary["sent"] = outcome.sender.get("frames", 0)
        summary["sent_late"] = outcome.sender.get("late", 0)
    summary |= {name: outcome.ingest.get(name) for name in _FROM_INGEST}
    summary |= _analysis(outcome)
    summary["ended_early"] = outcome.ended_early
    peak = outcome.peak_rss_bytes.items()
    summary["peak_rss_mib"] = {name: round(size / _MIB) for name, size in peak if size}
    summary["files"] = list(outcome.ingest.get("paths", ()))
    return summary


def problems_of(outcome: RunOutcome) -> list[str]:
    """Return what was lost against the policy, or failed, one line each; empty for a run without fault."""
    count = _Count(outcome.ingest)
    problems = list(outcome.troubles)
    if error := outcome.ingest.get("recording_error"):
        problems.append(f"recording stopped early: {error}")
    for name, text in _LOSSES.items():
        if count[name]:
            problems.append(text.format(count[name]))
    problems += _unreadable(outcome)
    problems += tee_problems(_tee(outcome.ingest), bool(outcome.ingest.get("tee_undelivered")))
    if not outcome.ended_early:
        problems += _wrongly_skipped(outcome, count) + _never_received(outcome, count)
    return problems


_LOSSES = {
    "missing": "missing frames: {} (never sent, or lost on the way)",
    "damaged": "damaged frames: {} (atomstream check names each)",
    "unrecorded": "frames that arrived after recording had stopped, or another series had begun: {}",
    "analysis_lost": "frames handed to an analyser that never answered: {}",
}


class _Count:
    """Counters of a summary, 0 where a run ended before it counted."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self._summary = summary

    def __getitem__(self, name: str) -> int:
        return int(self._summary.get(name) or 0)


def _unreadable(outcome: RunOutcome) -> list[str]:
    """Name the frames that a replayed file could not give."""
    sender = outcome.sender or {}
    damage = list(sender.get("damage", ()))
    n_more = sender.get("unreadable", 0) - len(damage)
    return damage + ([f"and {n_more} more frames that cannot be read"] if n_more > 0 else [])


def _wrongly_skipped(outcome: RunOutcome, count: _Count) -> list[str]:
    analysis = outcome.config.analysis
    if analysis.policy is Policy.LATEST or analysis.every > 1 or not count["skipped"]:
        return []
    return [f"frames skipped, though the policy is wait: {count['skipped']}"]


def _never_received(outcome: RunOutcome, count: _Count) -> list[str]:
    if not count["received"]:
        return ["no frame was received"]
    sent = (outcome.sender or {}).get("frames", 0)
    on_the_way = sent - count["received"]
    return [f"frames sent, but never received: {on_the_way} of {sent}"] if on_the_way > 0 else []


def _analysis(outcome: RunOutcome) -> dict[str, Any]:
    if not outcome.config.analysis.enabled:
        return {"policy": None, "backend": None}
    analyser = outcome.analysers[0] if outcome.analysers else {}
    named = {name: analyser.get(name) for name in _FROM_ANALYSER}
    return {"policy": outcome.config.analysis.policy.value, **named}


def format_summary(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as the page that is printed."""
    lines = {
        "frames": _frames_line(summary),
        "rate": _rate_line(summary),
        "latency": _latency_line(summary),
        "of that": _stages_line(summary),
        "window": _delay_line(summary, DISPLAYED, "from received to drawn"),
        "triggers": _delay_line(summary, TRIGGERED, "from received to acted on"),
        "analysis": _analysis_line(summary),
        "particles": _particles_line(summary),
        **_truth_lines(summary.get("truth")),
        "stimuli": _stimuli_line(summary),
        "memory": _memory_line(summary),
        "file": _file_line(summary),
    }
    tee = [f"  {'passed on':<10}{output.policy}: {output_line(output)}" for output in _tee(summary)]
    page = [f"  {name:<10}{line}" for name, line in lines.items() if line] + tee + _series_lines(summary)
    problems = [f"  {'problem':<10}{problem}" for problem in summary["problems"]]
    verdict = [] if problems else [f"  {'verdict':<10}nothing was lost"]
    return "\n".join(["", f"atomstream {summary['verb']}", *page, *problems, *verdict, ""])


def _tee(summary: Mapping[str, Any]) -> list[OutputCounts]:
    return [OutputCounts(**output) for output in summary.get("tee") or ()]


def _frames_line(summary: Mapping[str, Any]) -> str:
    shown = [(name, summary.get(name)) for name in _COUNTS]
    if summary.get("policy") is None:
        shown = [(name, value) for name, value in shown if name not in ("analysed", "skipped")]
    line = "   ".join(f"{name} {value:,}" for name, value in shown if value is not None)
    bad = sum((summary.get("bad_messages") or {}).values())
    paused = summary.get("paused")
    line += f"   left out {paused:,}" if paused else ""
    return line + (f"   bad messages {bad:,}" if bad else "")


def _stimuli_line(summary: Mapping[str, Any]) -> str:
    refused = summary.get("bad_samples") or {}
    return "   ".join(f"{kind} {n:,}" for kind, n in refused.items()) + ("   refused" if refused else "")


def _rate_line(summary: Mapping[str, Any]) -> str:
    if not summary.get("fps"):
        return ""
    late = summary.get("sent_late")
    return f"{summary['fps']:,.1f} frames/s over {summary['seconds']:,.1f} s" + (
        f"; the sender was late for {late:,} frames" if late else ""
    )


def _latency_line(summary: Mapping[str, Any]) -> str:
    names = {
        "p50": "latency_p50_ms",
        "p99": "latency_p99_ms",
        "p99.9": "latency_p999_ms",
        "max": "latency_max_ms",
    }
    if any(summary.get(name) is None for name in names.values()):
        return ""
    values = "   ".join(f"{short} {summary[name]:,.1f} ms" for short, name in names.items())
    return f"{values}   from received to published"


_SHOWN_STAGES = {
    "received_to_decoded": "waiting, decoding",
    "decoded_to_batched": "batch",
    "batched_to_computed": "networks",
    "computed_to_published": "columns",
}


def _stages_line(summary: Mapping[str, Any]) -> str:
    stages = summary.get("stages_ms") or {}
    shown = [
        f"{text} {stages[name]['p50']:,.1f} / {stages[name]['p99']:,.1f}"
        for name, text in _SHOWN_STAGES.items()
        if name in stages
    ]
    return "   ".join(shown) + " ms   (p50 / p99)" if shown else ""


def _delay_line(summary: Mapping[str, Any], stage: str, meaning: str) -> str:
    """Say how long something took that happened to some frames only, if to any."""
    times = (summary.get("stages_ms") or {}).get(stage)
    return f"p50 {times['p50']:,.1f} ms   p99 {times['p99']:,.1f} ms   {meaning}" if times else ""


def _analysis_line(summary: Mapping[str, Any]) -> str:
    if not summary.get("backend"):
        return ""
    engine = ", ".join(str(summary[name]) for name in ("device", "precision") if summary.get(name))
    return f"{summary['backend']}" + (f" ({engine})" if engine else "") + f", policy {summary['policy']}"


def _particles_line(summary: Mapping[str, Any]) -> str:
    """Say how many particles were found, and of which shapes, the most frequent first."""
    by_shape = summary.get("particles") or {}
    if not by_shape:
        return ""
    total, n_frames = sum(by_shape.values()), summary.get("analysed") or 0
    named = sorted(by_shape.items(), key=lambda item: -item[1])
    shapes = "   ".join(f"{name} {n:,}" for name, n in named if n)
    return f"{total:,} found in {n_frames:,} frames" + (f":   {shapes}" if shapes else "")


def _truth_lines(truth: Mapping[str, Any] | None) -> dict[str, str]:
    if not truth or not truth["true_columns"]:
        return {}
    counts = (
        f"exact {_percent(truth['exact_share'])}   within one {_percent(truth['within_one_share'])}   "
        f"stated probability {_percent(truth['mean_probability'])}"
    )
    columns = (
        f"missed {_percent(truth['missed_share'])}   false {_percent(truth['false_share'])}   "
        f"of {truth['true_columns']:,} true columns in {truth['frames']:,} frames"
    )
    atoms = f"total wrong by {_percent(truth['total_atoms_error_share'])} a frame"
    if not isnan(truth["position_rms_A"]):
        atoms += f"   positions within {truth['position_rms_A']:.2f} Å rms"
    return {"counts": counts, "columns": columns, "atoms": atoms}


def _percent(share: float) -> str:
    return "–" if share is None or isnan(share) else f"{100 * share:.1f} %"


def _memory_line(summary: Mapping[str, Any]) -> str:
    peak = summary.get("peak_rss_mib") or {}
    return "   ".join(f"{name} {size:,} MiB" for name, size in peak.items()) + ("   at most" if peak else "")


def _series_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each series where there were several; of very many, the last ones."""
    series = [SeriesSummary(**one) for one in summary.get("series") or ()]
    if len(series) < _SEVERAL:
        return []
    shown = [f"  {'':<10}{series_line(one)}" for one in series[-_MOST_SERIES_LINES:]]
    n_series = summary["n_series"]
    which = "" if n_series == len(shown) else f", the last {len(shown)} of them"
    return [f"  {'series':<10}{n_series:,}{which}:", *shown]


def _file_line(summary: Mapping[str, Any]) -> str:
    if len(summary["files"]) > _MOST_FILES:
        return f"{len(summary['files']):,} files, {summary['files'][0]} the first"
    return ", ".join(f"{path} ({_size(path)})" for path in summary["files"])


def _size(path: str) -> str:
    try:
        return f"{Path(path).stat().st_size / 1e6:,.1f} MB"
    except OSError:
        return "gone"
