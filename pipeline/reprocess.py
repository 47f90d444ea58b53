"""An archive through (new) networks: recorded runs are analysed again, and each gets a result file beside it.

The frames of a run are cut into stretches of fixed length, whatever the number of workers. Some stretches are
under way at a time; their answers are taken in order, followed and written here.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, nan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.again import (
    Answer,
    Stretch,
    analyse_looking_back,
    analyse_stretch,
    engine_of,
    measure_drift,
    replace_analysis,
)
from pipeline.archive import ArchivedFrame, ArchivedRun, frames_of, open_frames
from pipeline.carry_over import carry_over
from pipeline.cluster import Pool
from pipeline.following import Following
from pipeline.particle_networks import networks_of
from pipeline.steady import Steadier
from streamer.clock import RunClock
from streamer.config import RunConfig
from streamer.errors import RunError, UsageError
from streamer.latency import LatencyHistogram
from streamer.notes import Notes
from streamer.recorder import RunContext, SeriesRecorder
from streamer.records import AnalyserInfo, Compression, Frame, FrameFailure, FrameHeader
from streamer.result_file import ResultWriter

__all__ = ["Reprocessed", "configured", "new_path", "reprocess"]

_STRETCH_FRAMES = 32
_MOST_SIBLINGS = 1000


@dataclass(frozen=True, slots=True)
class Reprocessed:
    """What came of one run: its new file, frames analysed, and failures by frame id."""

    path: Path
    out: Path
    analysed: int
    failures: dict[int, str]


def new_path(path: Path) -> Path:
    """Return where a run's new results go: NAME-again.nxs beside it, or NAME-again-2.nxs and so on.

    Raises
    ------
    UsageError
        If no such name is free.
    """
    for number in range(1, _MOST_SIBLINGS):
        suffix = "-again" if number == 1 else f"-again-{number}"
        out = path.with_name(f"{path.stem}{suffix}{path.suffix}")
        if not out.exists():
            return out
    raise UsageError(f"there are {_MOST_SIBLINGS} files of new results beside {path}: move some away")


def configured(run: ArchivedRun, changes: dict[str, Any], pixel_size_A: float | None) -> RunConfig:
    """Return how a run is analysed again: as it was, but for what is given now.

    Raises
    ------
    UsageError
        If a value is out of range, or nobody knows what a pixel's size is.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    for name, other in (("average_frames", "denoise_frames"), ("denoise_frames", "average_frames")):
        if given.get(name, 1) > 1:  # what is given wins over what the run had
            given.setdefault(other, 1)
    always: dict[str, Any] = {
        "enabled": True,
        "policy": "latest" if run.left_out else "wait",  # under which frames that are not there are no loss
        "every": 1,
        "analysers": 1,
        "remote": "",
    }
    if pixel_size_A is None:
        pixel_size_A = run.config.source.pixel_size_A or run.start.pixel_size_A
    source = {"address": run.config.source.address, "pixel_size_A": pixel_size_A}
    analysis = {**msgspec.to_builtins(run.config.analysis), **given, **always}
    try:
        config = msgspec.convert({"source": source, "analysis": analysis}, RunConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"wrong option: {error}") from error
    if pixel_size_A is None and config.analysis.backend != "null":
        raise UsageError(f"{run.path} does not say how large a pixel is at the specimen: give --pixel-size-A")
    return config


def reprocess(
    pool: Pool,
    run: ArchivedRun,
    config: RunConfig,
    out: Path,
    copy_frames: bool = False,
    on_frames: Callable[[int], object] = lambda n: None,
) -> Reprocessed:
    """Analyse one run again.

    Parameters
    ----------
    pool : Pool
        Does the work.
    run : ArchivedRun
    config : RunConfig
        As `configured` returns it.
    out : pathlib.Path
        The new file; it must not exist.
    copy_frames : bool
        Whether the frames go into the new file too.
    on_frames : callable
        Told how many more frames are done.

    Raises
    ------
    RunError
        If an engine or a network is unfit, the file is damaged, or the cluster fails; what was done by then
        is in the new file, which is closed.
    """
    info: AnalyserInfo = pool.result(pool.submit(engine_of, config))
    config = replace_analysis(config, backend=info.backend, precision=info.precision)  # the same for all
    book = _Book(run, config, info, out, copy_frames)
    try:
        for stretch, answers, drifts in _answered(pool, run, config):
            book.write(stretch, answers, drifts)
            on_frames(len(stretch.frames))
    except BaseException as error:
        book.close(f"given up: {error}" if str(error) else "interrupted", stopped=True)
        raise
    book.close("end of the recorded frames", stopped=False)
    return book.done()


def _answered(
    pool: Pool, run: ArchivedRun, config: RunConfig
) -> Iterator[tuple[Stretch, Sequence[Answer], Sequence[tuple[float, float]]]]:
    """Have all stretches worked on, some ahead, and give their answers back in order."""
    state: Any = Steadier.of(config.analysis)
    waiting: deque[tuple[Stretch, Any, Any]] = deque()
    for stretch in _stretches(run, config):
        if config.analysis.looks_back:  # one stretch after the other
            both = pool.submit(analyse_looking_back, stretch, state)
            state = pool.submit(_first, both)
            waiting.append((stretch, pool.submit(_second, both), None))
        else:
            answers = pool.submit(analyse_stretch, stretch)
            both = pool.submit(measure_drift, stretch, state)
            state = pool.submit(_first, both)
            waiting.append((stretch, answers, pool.submit(_second, both)))
        if len(waiting) >= pool.n_ahead:
            yield _result(pool, *waiting.popleft())
    while waiting:
        yield _result(pool, *waiting.popleft())


def _result(
    pool: Pool, stretch: Stretch, answers: Any, drifts: Any
) -> tuple[Stretch, Sequence[Answer], Sequence[tuple[float, float]]]:
    done: Sequence[Answer] = pool.result(answers)
    if drifts is None:
        return stretch, done, [a[1].drift_px if isinstance(a, tuple) else (nan, nan) for a in done]
    return stretch, done, pool.result(drifts)


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _second(pair: tuple[Any, Any]) -> Any:
    return pair[1]


def _stretches(run: ArchivedRun, config: RunConfig) -> Iterator[Stretch]:
    batch = config.analysis.batch_frames
    length = batch * ceil(_STRETCH_FRAMES / batch)
    for first in range(0, len(run.frames), length):
        yield Stretch(str(run.path.resolve()), run.start, run.frames[first : first + length], config)


class _Book:
    """The new file: what is known of each frame, and what the analysis says of it now."""

    def __init__(
        self, run: ArchivedRun, config: RunConfig, info: AnalyserInfo, out: Path, copy_frames: bool
    ) -> None:
        self._run, self._out, self._copies = run, out, copy_frames
        record = msgspec.structs.replace(config.record, path=str(out))
        clock = RunClock.start()
        context = RunContext(
            msgspec.structs.replace(config, record=record), clock, Notes(),
            lambda spec, announced: ResultWriter(out, spec),
        )  # fmt: skip
        self._following = Following(config.analysis, networks_of(config.analysis))
        self._recorder = SeriesRecorder(run.start, context, paused=not copy_frames)
        self._recorder.why_paused = f"its frame is in {run.path.name}"
        self._recorder.take_analyser(info)
        self._recorder.mark(clock.now(), f"analysed again from {run.path.name}"[:250], "run")
        self._left_out = deque(run.left_out)
        self._failures: dict[int, str] = {}
        self._analysed = 0

    def write(
        self, stretch: Stretch, answers: Sequence[Answer], drifts: Sequence[tuple[float, float]]
    ) -> None:
        """Take in what came of a stretch: follow its columns, and write everything."""
        for frame, archived in zip(self._frames(stretch), stretch.frames, strict=True):
            self._take_left_out(archived.t_received)
            self._recorder.take(frame, archived.t_received)
        for answer, drift_px in zip(answers, drifts, strict=True):
            self._take(answer, drift_px)
        self._recorder.flush(0.0)
        if self._recorder.recording_error:
            raise RunError(f"{self._out} cannot be written: {self._recorder.recording_error}")

    def close(self, reason: str, stopped: bool) -> None:
        """Close the file."""
        if not stopped:
            self._take_left_out(inf)
        latency = self._recorder.account.latency
        latency.stages["received_to_recorded"] = LatencyHistogram()  # copied, days later
        self._recorder.finish(reason, stopped)
        if self._out.exists():
            carry_over(self._run.path, self._out)

    def done(self) -> Reprocessed:
        """Return what came of it."""
        return Reprocessed(self._run.path, self._out, self._analysed, self._failures)

    def _frames(self, stretch: Stretch) -> Iterator[Frame]:
        """Read a stretch's frames, if they are to be copied; else what is known of them without reading."""
        if self._copies:
            with open_frames(self._run.path) as file:
                yield from frames_of(file, self._run.start, stretch.frames)
            return
        yield from map(self._without_pixels, stretch.frames)

    def _without_pixels(self, one: ArchivedFrame) -> Frame:
        start = self._run.start
        key, dtype = (start.key, one.frame_id, start.shape), start.dtype or np.dtype("<u2")
        return Frame(FrameHeader(*key, dtype, Compression.BSLZ4, one.t_detector), memoryview(b""))

    def _take_left_out(self, t_received: float) -> None:
        """Note the frames until then that came, but are not in the recording."""
        while self._left_out and self._left_out[0].t_received <= t_received:
            one, self._recorder.paused = self._left_out.popleft(), True
            self._recorder.take(self._without_pixels(one), one.t_received)
            self._recorder.skip(one.frame_id, f"not in {self._run.path.name}")
            self._recorder.paused = not self._copies

    def _take(self, answer: Answer, drift_px: tuple[float, float]) -> None:
        if isinstance(answer, FrameFailure):
            self._failures[answer.frame_id] = answer.reason
            self._recorder.take_failure(answer)
            return
        result, seen = answer
        self._recorder.take_result(self._following.follow(result, replace(seen, drift_px=drift_px)))
        self._analysed += 1
