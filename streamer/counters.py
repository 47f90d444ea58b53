"""What a run counts, and how it is summed up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

__all__ = ["Counters", "RunSummary", "SeriesSummary", "series_line"]


@dataclass(slots=True)
class Counters:
    """What became of the frames; every frame id of a series is in exactly one of `received` and `missing`.

    Attributes
    ----------
    received : int
        Frame ids for which a message came, damaged ones included.
    recorded : int
        Frames in the file. Received and not recorded: `damaged_on_arrival`, `unrecorded` or `paused`.
    analysed, skipped : int
        Frames with a result; frames that were deliberately not analysed.
    missing : int
        Frame ids for which nothing came: gaps, and planned frames after the last one.
    damaged : int
        Frames that could not be recorded or could not be analysed.
    damaged_on_arrival : int
        Those of them whose message was damaged, so that they are not in the file.
    unrecorded : int
        Frames that arrived after recording had failed, or after another series had begun.
    paused : int
        Frames that arrived while recording was switched off, or were not among those to be kept, and are
        therefore not in the file: no loss.
    analysis_lost : int
        Frames handed to an analyser that never answered.
    duplicates, strays : int
        Frames whose id had been received before; messages of another series.
    bytes_received, bytes_recorded : int
        Payloads, as they came.
    bad_messages : Counter
        Damaged messages by the error's label.
    bad_samples : Counter
        Samples of stimulus channels that were refused, by kind.
    """

    received: int = 0
    recorded: int = 0
    analysed: int = 0
    skipped: int = 0
    missing: int = 0
    damaged: int = 0
    damaged_on_arrival: int = 0
    unrecorded: int = 0
    paused: int = 0
    analysis_lost: int = 0
    duplicates: int = 0
    strays: int = 0
    bytes_received: int = 0
    bytes_recorded: int = 0
    bad_messages: Counter[str] = field(default_factory=Counter)
    bad_samples: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """Frames lost against the policy: skipping under LATEST is policy, everything else is a loss."""
        return self.missing + self.damaged + self.unrecorded + self.analysis_lost

    def numbers(self) -> dict[str, int]:
        """Return all counters but those by kind."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("bad_")}

    def __add__(self, other: Self) -> Self:
        mine, theirs = self.numbers(), other.numbers()
        return type(self)(
            **{name: mine[name] + theirs[name] for name in mine},
            bad_messages=self.bad_messages + other.bad_messages,
            bad_samples=self.bad_samples + other.bad_samples,
        )


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """How one series of a run went; counts as in `Counters`.

    Attributes
    ----------
    series_id : int
    path : str
        Its file; empty where there is none.
    ended_by : str
        Why it was closed.
    planned, received, recorded, analysed, skipped, missing, damaged, lost : int
    """

    series_id: int
    path: str
    ended_by: str
    planned: int
    received: int
    recorded: int
    analysed: int
    skipped: int
    missing: int
    damaged: int
    lost: int


def series_line(series: SeriesSummary) -> str:
    """Say how a series went, in one line."""
    counts = [f"{series.received:,} frames"]
    if series.recorded != series.received:
        counts.append(f"{series.recorded:,} recorded")
    counts += [f"{n:,} {name}" for name, n in (("missing", series.missing), ("damaged", series.damaged)) if n]
    where = f" in {series.path}" if series.path else ""
    why = "" if series.ended_by == "end message" else f"; {series.ended_by}"
    return f"series {series.series_id}: {', '.join(counts)}{where}{why}"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run went, as printed, stored and returned by ``--json``.

    Attributes
    ----------
    planned : int
        Frames the source announced; 0 where it did not say.
    received, recorded, analysed, skipped, missing, damaged : int
        See `Counters`, for these as for the next.
    duplicates, strays, unrecorded, paused, analysis_lost : int
    lost : int
        Frames lost against the policy; a run with any does not exit with 0.
    bad_messages : Mapping
        Damaged messages by label.
    bad_samples : Mapping
        Samples of stimulus channels that were refused, by kind; no loss of frames.
    n_series : int
        Series that were begun.
    series : sequence of SeriesSummary
        Those that are over, in order; of a long run the last thousand.
    seconds : float
        From the first frame's arrival to the last's.
    fps : float
        Frames received in that time, per second.
    bytes_received, bytes_recorded : int
        Payloads, as they came.
    latency_p50_ms, latency_p99_ms, latency_p999_ms, latency_max_ms : float or None
        From a frame's arrival to the publication of its result; None if nothing was analysed.
    stages_ms : Mapping
        By the stages of `streamer.latency.STAGES` that were passed: ``p50``, ``p99``, ``p999``, ``max``.
    max_rss_bytes : int
        Largest resident memory of the ingest process.
    paths : sequence of str
        The files that were written, in order.
    ended_by : str
        Why the run ended.
    recording_error : str
        Why recording stopped early; empty if it did not.
    notes : sequence of str
        The latest warnings.
    """

    planned: int
    received: int
    recorded: int
    analysed: int
    skipped: int
    missing: int
    damaged: int
    duplicates: int
    strays: int
    unrecorded: int
    paused: int
    analysis_lost: int
    lost: int
    bad_messages: Mapping[str, int]
    bad_samples: Mapping[str, int]
    n_series: int
    series: Sequence[SeriesSummary]
    seconds: float
    fps: float
    bytes_received: int
    bytes_recorded: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_p999_ms: float | None
    latency_max_ms: float | None
    stages_ms: Mapping[str, Mapping[str, float]]
    max_rss_bytes: int
    paths: Sequence[str]
    ended_by: str
    recording_error: str
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)
