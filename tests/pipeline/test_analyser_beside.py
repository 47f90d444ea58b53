"""A frame that comes while another is being computed is computed beside it, not after it."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import analyser
from pipeline.backends import Backend, NetworkOutput
from pipeline.backends.null_backend import NullBackend
from pipeline.networks import find_networks
from streamer.config import AnalysisConfig
from streamer.records import AnalyserInfo
from tests.pipeline.analyser_run import PATIENCE_S, analyser_run, config_for
from tests.pipeline.tiny_networks import MATERIAL, frame_with_columns

IMAGE = frame_with_columns((64, 96), [(30.0, 40.0, 2)])


class Slow(NullBackend):
    """Its batches are computed when the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(find_networks(folder, MATERIAL))
        self.computed: list[threading.Event] = []
        self.submitted = threading.Semaphore(0)
        self.live = False
        self._n_collected = 0

    def submit(self, frames: NDArray[np.float32]) -> None:
        super().submit(frames)
        self.computed.append(threading.Event())
        if not self.live:  # the warm-up
            self.computed[-1].set()
        self.submitted.release()

    def ready(self) -> bool:
        return super().ready() and self.computed[self._n_collected].is_set()

    def collect(self) -> NetworkOutput:
        assert self.computed[self._n_collected].wait(PATIENCE_S), "nobody lets it be computed"
        self._n_collected += 1
        return super().collect()


@pytest.fixture
def slow(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    backend = Slow(tiny_folder)

    def start(
        config: AnalysisConfig, networks: object, load: Callable[[Backend], AnalyserInfo], number: int = 1
    ) -> tuple[Backend, AnalyserInfo]:
        info = load(backend)
        while backend.submitted.acquire(blocking=False):
            pass
        backend.live = True
        return backend, info

    monkeypatch.setattr(analyser, "start_backend", start)
    return backend


def test_a_frame_is_started_while_another_is_computed(slow: Slow, tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(IMAGE, 0)
        assert slow.submitted.acquire(timeout=PATIENCE_S), "the first frame was not started"
        run.send(IMAGE, 1)
        try:
            assert slow.submitted.acquire(timeout=PATIENCE_S), "the second one waits for the first"
        finally:
            for computed in slow.computed:
                computed.set()
        assert [run.result().frame_id for _ in range(2)] == [0, 1]


def test_an_answer_is_published_without_another_frame(slow: Slow, tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(IMAGE, 0)
        assert slow.submitted.acquire(timeout=PATIENCE_S)
        slow.computed[-1].set()
        assert run.result().frame_id == 0


def test_frames_of_another_shape_wait_for_those_under_way(slow: Slow, tiny_folder: Path) -> None:
    """The networks are loaded for another shape only when nothing is computed."""
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(IMAGE, 0)
        assert slow.submitted.acquire(timeout=PATIENCE_S)
        run.send(IMAGE[:, :64].copy(), 1)
        assert not slow.submitted.acquire(timeout=0.1)
        slow.computed[-1].set()
        assert run.result().frame_id == 0
        assert slow.submitted.acquire(timeout=PATIENCE_S)
        slow.computed[-1].set()
        assert run.result().frame_id == 1
