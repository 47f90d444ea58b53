"""How many frames a second each stage can do by itself, and which of them limits the whole."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice

from pipeline.answers import Answers
from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import Backend, BatchShape, NetworkOutput, start_backend
from pipeline.networks import Networks, find_networks
from pipeline.prepare import PreparedFrame, prepare
from pipeline.preprocess import Array
from streamer.clock import RunClock
from streamer.config import AnalysisConfig, RunConfig
from streamer.link import Task
from streamer.records import Frame

__all__ = ["Limit", "limit_of", "stage_rates"]


@dataclass(frozen=True, slots=True)
class Limit:
    """The stage that saturates first: its name, how many frames a second it does, and what to change."""

    stage: str
    fps: float
    advice: str


_ADVICE = {
    "recording": "a faster disk, frames compressed by the detector, or a larger record.flush_interval_s",
    "networks": "a GPU, larger batches on one (--batch), smaller frames, fewer of them (--every N), or"
    " --policy latest, which keeps the recording whole and the results young",
    "analyser": "more analysers (--analysers N): decoding and column finding are done by one thread in each",
}


def stage_rates(
    frames: Sequence[Frame], pixel_size_A: float, config: AnalysisConfig, seconds: float
) -> dict[str, float]:
    """Measure decoding, networks and column finding, each in a loop of its own [frames/s].

    Parameters
    ----------
    frames : sequence of Frame
        Of one shape.
    pixel_size_A : float
    config : AnalysisConfig
        Backend, batch size and threads.
    seconds : float
        How long each is measured.
    """
    networks = find_networks(None, config.material)
    tasks = [Task(frame, 0.0, pixel_size_A, None) for frame in frames]
    shape = prepare(tasks[0], pixel_size_A, networks.pixel_size_A).frame.shape
    batch_shape = BatchShape(config.batch_frames, shape[1], shape[2])
    backend, _ = start_backend(config, networks, lambda backend: backend.load(batch_shape))
    with closing(backend):
        sizes = pixel_size_A, networks.pixel_size_A
        endless = cycle(tasks)
        rates = {"decoding": _rate(lambda: prepare(next(endless), *sizes, backend.device), seconds)}
        prepared = [prepare(task, *sizes, backend.device) for task in tasks]
        frames_of_batch = [p.frame for p in islice(cycle(prepared), config.batch_frames)]
        batch = backend.device.xp.stack(frames_of_batch)
        rates["networks"] = config.batch_frames * _pipelined_rate(backend, batch, seconds)
        backend.submit(batch)
        rates["columns"] = _columns_rate(prepared[0], backend.collect(), networks, config, seconds)
    return rates


def limit_of(rates: dict[str, float]) -> Limit:
    """Find what saturates first.

    Parameters
    ----------
    rates : dict
        Frames a second of recording, decoding, networks and columns; decoding and column finding share a
        thread.
    """
    analyser = 1 / (1 / rates["decoding"] + 1 / rates["columns"])
    stages = {"recording": rates["recording"], "networks": rates["networks"], "analyser": analyser}
    slowest = min(stages, key=lambda name: stages[name])
    return Limit(slowest, stages[slowest], _ADVICE[slowest])


def _columns_rate(
    prepared: PreparedFrame, output: NetworkOutput, networks: Networks, config: AnalysisConfig, seconds: float
) -> float:
    answers = Answers(RunConfig(analysis=config), RunClock.start(), networks)

    def find() -> None:
        frame = FrameAssembly(prepared)
        for tile in frame.tiles:
            sizes = networks.pixel_size_A, config.detection_threshold
            (found,) = find_in_batch(output, 1, *sizes, prepared.xp)
            frame.put(tile, output, 0, found)
        answers.answer(frame)

    return _rate(find, seconds)


def _pipelined_rate(backend: Backend, batch: Array, seconds: float) -> float:
    """Return batches a second with two in flight, as the analyser keeps them."""
    backend.submit(batch)

    def step() -> None:
        backend.submit(batch)
        backend.collect()

    rate = _rate(step, seconds)
    backend.collect()
    return rate


def _rate(action: Callable[[], object], seconds: float) -> float:
    """Return how often a second `action` can be done, after one time to warm up."""
    action()
    n, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not n:
        action()
        n += 1
    return n / elapsed
