"""The benchmark: latency against load, batch and frame size, and what limits the whole."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.bench_plan import Case, Extent
from pipeline.bench_run import Measured, measure
from pipeline.bench_stages import limit_of, stage_rates
from pipeline.machine import describe_machine
from pipeline.plan import Companion
from streamer.config import AnalysisConfig
from streamer.records import Frame

__all__ = ["Source", "run_bench"]

_POLICIES = ("wait", "latest")
_STAGE_SHARE = 0.5  # of a run's length, for the loop of one stage
_LOAD_OF_SWEEPS = 0.7
_RECORDED_ALONE = 20  # times as many frames as are analysed: recording is so much faster


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's frames come from, and the window that shows them.

    `sender_of` makes the process that sends a case's frames; `frames_of` some of its frames and the size of
    their pixels [Å], for the stages' own loops.
    """

    sender_of: Callable[[Case], Companion]
    frames_of: Callable[[Case], tuple[Sequence[Frame], float]]
    window: Companion


def run_bench(
    base: Case,
    backends: Sequence[str],
    extent: Extent,
    source: Source,
    folder: Path,
    say: Callable[[str], None],
    threads: int = 0,
) -> dict[str, Any]:
    """Measure everything.

    Parameters
    ----------
    base : Case
        Frame size, batch size and wait that all sweeps start from.
    backends : sequence of str
    extent : Extent
    source : Source
    folder : pathlib.Path
        On the disk whose recording is measured.
    say : callable
        Told what is being measured.
    threads : int
        Of the networks; 0: their own choice.
    """
    about = {"machine": describe_machine(), "threads": threads, "extent": asdict(extent)}
    results: dict[str, Any] = {**about, "backends": {}}
    bench = _Bench(extent, source, folder, say, threads)
    alone = bench.capacity(replace(base, analyse=False))
    results["recording_alone"] = alone.to_dict()
    for backend in backends:
        results["backends"][backend] = _of_backend(bench, replace(base, backend=backend), alone)
    return results


def _of_backend(bench: "_Bench", base: Case, alone: Measured) -> dict[str, Any]:
    most = bench.capacity(base)
    stages = {"recording": alone.fps, **bench.stages(base)}
    return {
        "capacity": most.to_dict(),
        "stages_fps": stages,
        "limit": asdict(limit_of(stages)),
        "load": [m.to_dict() for m in bench.loads(base, most.fps)],
        "batch": [m.to_dict() for m in bench.batches(base)],
        "size": [m.to_dict() for m in bench.sizes(base)],
    }


@dataclass(frozen=True, slots=True)
class _Bench:
    extent: Extent
    source: Source
    folder: Path
    say: Callable[[str], None]
    threads: int

    def capacity(self, case: Case) -> Measured:
        """Run a case as fast as it goes."""
        n_frames = self.extent.capacity_frames * (1 if case.analyse else _RECORDED_ALONE)
        return self.run(replace(case, rate_hz=0.0, n_frames=n_frames))

    def loads(self, base: Case, most_fps: float) -> list[Measured]:
        """Offer parts of the most, under both policies, recorded; one of them not recorded, and shown."""
        cases = [
            replace(base, policy=policy).at(share * most_fps, self.extent.seconds)
            for policy in _POLICIES
            for share in self.extent.loads
        ]
        for other in (replace(base, record=False), replace(base, window=True)):
            cases.append(other.at(self.extent.loads[0] * most_fps, self.extent.seconds))
        return [self.run(case) for case in cases]

    def batches(self, base: Case) -> list[Measured]:
        """Measure each batch size as fast as it goes, and at the same part of that."""
        measured = []
        for batch_frames, max_wait_ms in self.extent.batches:
            case = replace(base, batch_frames=batch_frames, max_wait_ms=max_wait_ms)
            measured += self._most_and_part(case)
        return measured

    def sizes(self, base: Case) -> list[Measured]:
        """Measure each frame size as fast as it goes, and at the same part of that."""
        return [m for size in self.extent.sizes_px for m in self._most_and_part(replace(base, size_px=size))]

    def stages(self, base: Case) -> dict[str, float]:
        """Measure the stages, each by itself."""
        self.say(f"stages by themselves, {base.key}")
        config = AnalysisConfig(backend=base.backend, batch_frames=base.batch_frames, threads=self.threads)
        frames, pixel_size_A = self.source.frames_of(base)
        return stage_rates(frames, pixel_size_A, config, _STAGE_SHARE * self.extent.seconds)

    def run(self, case: Case) -> Measured:
        """Run a case and say how it went."""
        measured = measure(case, self.source.sender_of, self.folder, "", self.threads, self.source.window)
        offered = f"{case.rate_hz:,.1f} frames/s offered" if case.rate_hz else "as fast as it goes"
        p99 = f", p99 {measured.latency_ms['p99']:,.1f} ms" if measured.latency_ms else ""
        self.say(f"{case.key}, {offered}: {measured.fps:,.1f} frames/s{p99}")
        return measured

    def _most_and_part(self, case: Case) -> list[Measured]:
        most = self.capacity(case)
        return [most, self.run(case.at(_LOAD_OF_SWEEPS * most.fps, self.extent.seconds))]
