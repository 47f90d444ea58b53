"""What a worker does with the frames of an archive: work on a stretch of a file, its engine kept loaded.

A stretch goes through the networks by itself, whatever was before it. How far the particle has moved depends
on all frames before: that is a second pass, whose state is handed from stretch to stretch, without networks.
Following the columns is the third; it is cheap and done where the file is written. So the results are the
same to the last bit however many workers there are.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import msgspec
from threadpoolctl import threadpool_limits

from pipeline.answers import Answers, make_answers, seen_in
from pipeline.archive import ArchivedFrame, frames_of, open_frames
from pipeline.assembly import FrameAssembly
from pipeline.backends import Backend, start_backend
from pipeline.engine import Engine, Slot
from pipeline.particle_answers import ParticleAnswers
from pipeline.particle_networks import AnyNetworks, ParticleNetworks, networks_of
from pipeline.prepare import PreparedFrame, prepare
from pipeline.steady import Steadier
from streamer.clock import RunClock
from streamer.config import AnalysisConfig, RunConfig
from streamer.errors import BackendError, MessageError
from streamer.link import Task
from streamer.records import AnalyserInfo, FrameFailure, FrameHeader, FrameResult, SeriesStart
from streamer.unfollowed import Seen

__all__ = [
    "Answer",
    "Stretch",
    "analyse_looking_back",
    "analyse_stretch",
    "engine_of",
    "measure_drift",
    "replace_analysis",
]

_USUAL_SHAPE = (512, 512)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames of one file, one after the other, and the run's settings that they are analysed with."""

    path: str
    start: SeriesStart
    frames: tuple[ArchivedFrame, ...]
    config: RunConfig


Answer = tuple[FrameResult, Seen] | FrameFailure
"""What came of a frame, its columns not followed yet."""


def engine_of(config: RunConfig) -> AnalyserInfo:
    """Load the networks in this process and say which engine runs them.

    Raises
    ------
    BackendError
        If an engine or a network is missing or unfit.
    """
    with _lock:
        return _loaded(config).info


def analyse_stretch(stretch: Stretch) -> list[Answer]:
    """Run frames through the networks and find their columns, or particles.

    Returns
    -------
    list of Answer
        In the frames' order.

    Raises
    ------
    RunError, UsageError
        If the engine fails as a whole, or the file cannot be read.
    """
    with _lock, threadpool_limits(1, "blas"):
        return list(_analysed(_loaded(stretch.config), stretch, None))


def analyse_looking_back(stretch: Stretch, steadier: Steadier) -> tuple[Steadier, list[Answer]]:
    """Do the same where frames depend on those before them; return also what the next stretch must know."""
    steadier = deepcopy(steadier)  # a call that is made twice must do the same twice
    with _lock, threadpool_limits(1, "blas"):
        return steadier, list(_analysed(_loaded(stretch.config), stretch, steadier))


def measure_drift(stretch: Stretch, steadier: Steadier) -> tuple[Steadier, list[tuple[float, float]]]:
    """Measure how far the particle has moved in each frame, and return what the next stretch must know."""
    networks, steadier = networks_of(stretch.config.analysis), deepcopy(steadier)
    drifts = []
    with threadpool_limits(1, "blas"):
        for task in _tasks(stretch):
            drift_px = (nan, nan)
            with suppress(MessageError):  # the other pass names it
                drift_px = steadier.steady(_prepared(task, stretch, networks)).drift_px
            drifts.append(drift_px)
    return steadier, drifts


class _Loaded:
    """An engine with its networks, and what makes results of its answers."""

    def __init__(self, config: RunConfig) -> None:
        self.networks = networks_of(config.analysis)
        engines: list[Engine] = []

        def load(backend: Backend) -> AnalyserInfo:
            engines.append(Engine(backend, config.analysis.batch_frames, self.networks.channels))
            return engines[-1].load(_USUAL_SHAPE)

        self.backend, self.info = start_backend(config.analysis, self.networks, load)
        if isinstance(self.networks, ParticleNetworks):
            self.info = replace(self.info, shapes=self.networks.shape_names)
        self.engine = engines[-1]
        self.clock = RunClock.start()


_lock = threading.Lock()  # an engine is one thread's
_kept: dict[RunConfig, _Loaded] = {}


def _loaded(config: RunConfig) -> _Loaded:
    """Return this process' engine; another configuration's is closed."""
    if config not in _kept:
        for other in _kept.values():
            other.backend.close()
        _kept.clear()
        _kept[config] = _Loaded(config)
    return _kept[config]


def _analysed(loaded: _Loaded, stretch: Stretch, steadier: Steadier | None) -> Iterator[Answer]:
    """Keep the engine busy with full batches, and give the answers back in the order of the frames."""
    unfollowed = replace_analysis(stretch.config, follow=False)
    answers = make_answers(unfollowed, loaded.clock, loaded.networks, loaded.backend, 1)
    work = _Work(loaded, answers, stretch.config.analysis)
    order: list[int] = []
    for task in _tasks(stretch):
        order.append(task.frame.header.frame_id)
        try:
            with loaded.engine.device.guard("preparing a frame"):
                prepared = _prepared(task, stretch, loaded.networks, loaded.engine)
                prepared = prepared if steadier is None else steadier.steady(prepared)
        except MessageError as error:
            work.fail(task.frame.header, f"{error.label}: {error}")
            continue
        frame = FrameAssembly(prepared)
        frame.t_decoded = loaded.clock.now()
        work.add(frame)
    work.finish()
    for frame_id in order:
        yield work.done[frame_id]


class _Work:
    """Frames on their way through the engine."""

    def __init__(self, loaded: _Loaded, answers: Answers | ParticleAnswers, analysis: AnalysisConfig) -> None:
        self._loaded, self._engine, self._answers = loaded, loaded.engine, answers
        self._analysis = analysis
        self._slots: list[Slot] = []
        self.done: dict[int, Answer] = {}

    def add(self, frame: FrameAssembly) -> None:
        """Start every batch that is full with this frame."""
        for tile in frame.tiles:
            if self._slots and self._slots[0].tile.shape != tile.shape:
                self._start()
            self._slots.append(Slot(frame, tile))
            if len(self._slots) == self._analysis.batch_frames:
                self._start()

    def fail(self, header: FrameHeader, reason: str) -> None:
        """Give a frame up."""
        self.done[header.frame_id] = FrameFailure.of(header, reason)

    def finish(self) -> None:
        """Wait for all that was started."""
        if self._slots:
            self._start()
        while self._engine.busy:
            self._collect()

    def _start(self) -> None:
        slots, self._slots = self._slots, []
        while self._engine.busy and (self._engine.full or not self._engine.fits(slots[0].tile.shape)):
            self._collect()
        for slot in slots:
            slot.frame.t_batched = self._loaded.clock.now()
        self._engine.start(slots)

    def _collect(self) -> None:
        slots, output = self._engine.finish()
        if isinstance(output, BackendError):
            for slot in slots:
                slot.frame.failed = True
                self.fail(slot.frame.prepared.header, f"backend: {output}")
            return
        found = self._answers.find(output, len(slots), self._engine.device.xp)
        for place, slot in enumerate(slots):
            slot.frame.t_computed = self._loaded.clock.now()
            if slot.frame.put(slot.tile, output, place, found[place]) and not slot.frame.failed:
                self.done[slot.frame.prepared.header.frame_id] = self._answer(slot.frame)

    def _answer(self, frame: FrameAssembly) -> Answer:
        return self._answers.answer(frame), seen_in(frame)


def replace_analysis(config: RunConfig, **changes: Any) -> RunConfig:
    """Return a run's configuration with some of its analysis changed."""
    analysis = msgspec.structs.replace(config.analysis, **changes)
    return msgspec.structs.replace(config, analysis=analysis)


def _tasks(stretch: Stretch) -> Iterator[Task]:
    start = stretch.start
    with open_frames(Path(stretch.path)) as file:
        for frame in frames_of(file, start, stretch.frames):
            yield Task(frame, nan, start.pixel_size_A, start.saturation_value)


def _prepared(
    task: Task, stretch: Stretch, networks: AnyNetworks, engine: Engine | None = None
) -> PreparedFrame:
    pixel_size_A = stretch.config.source.pixel_size_A or task.pixel_size_A or networks.pixel_size_A
    device = () if engine is None else (engine.device,)
    return prepare(task, pixel_size_A, networks.pixel_size_A, *device)
