"""Several orientations of a frame: every backend's suite, and that answers are turned back."""

from collections import deque
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import IN_FLIGHT, Backend, BatchShape, NetworkOutput, make_backend, start_backend
from pipeline.backends.device import HOST
from pipeline.backends.oriented import ORIENTATIONS, OrientedBackend
from pipeline.networks import Networks
from pipeline.particle_networks import AnyNetworks
from streamer.config import AnalysisConfig
from streamer.errors import BackendError, DeviceLostError
from streamer.records import AnalyserInfo
from tests.pipeline.backend_suite import BackendSuite
from tests.pipeline.test_tensorrt import _OnDouble, engines

__all__ = ["engines"]

SHAPE = BatchShape(1, 4, 6)
EVERY = pytest.mark.parametrize("number", [n for n in ORIENTATIONS if n > 1])


class TestTwoOnOpenVino(BackendSuite):
    name = "openvino"

    def make(self, networks: AnyNetworks) -> Backend:
        return OrientedBackend(make_backend("openvino", networks), 2, networks.channels)


class TestFourOnOpenVino(BackendSuite):
    name = "openvino"

    def make(self, networks: AnyNetworks) -> Backend:
        return OrientedBackend(make_backend("openvino", networks), 4, networks.channels)


class TestFourOnTheDevice(_OnDouble):
    def make(self, networks: AnyNetworks) -> Backend:
        return OrientedBackend(super().make(networks), 4, networks.channels)


class Lopsided:
    """A backend whose answer depends on where in the picture something is; it fails where it is told."""

    device = HOST

    def __init__(self, refused: tuple[int, ...] = (), failing: tuple[int, ...] = ()) -> None:
        self._refused, self._failing = refused, failing
        self._waiting: deque[tuple[int, NDArray[np.float32]]] = deque()
        self.calls = 0
        self.most_in_flight = 0

    def load(self, shape: BatchShape) -> AnalyserInfo:
        return AnalyserInfo("lopsided", "none", "f32", "1", {})

    def submit(self, frames: NDArray[np.float32]) -> None:
        assert frames.flags.c_contiguous
        self.calls += 1
        if self.calls in self._refused:
            raise BackendError(f"call {self.calls} is refused")
        self._waiting.append((self.calls, frames))
        self.most_in_flight = max(self.most_in_flight, len(self._waiting))

    def ready(self) -> bool:
        return bool(self._waiting)

    def collect(self) -> NetworkOutput:
        call, frames = self._waiting.popleft()
        if call in self._failing:
            raise BackendError(f"call {call} has failed")
        return answer_to(frames)

    def classify(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        return patches

    def close(self) -> None:
        self._waiting.clear()


def answer_to(frames: NDArray[np.float32]) -> NetworkOutput:
    """The picture times a slope, and logits at half its size that grow towards a corner."""
    slope = 1.0 + np.add.outer(2.0 * np.arange(frames.shape[2]), np.arange(frames.shape[3]))
    denoised = (frames[:, 0] * slope).astype(np.float32)
    coarse = denoised[:, ::2, ::2]
    return NetworkOutput(denoised, denoised / 100, np.stack([coarse, -coarse, 0.1 * coarse], 1))


def mean_by_hand(frame: NDArray[np.float32], number: int) -> NetworkOutput:
    answers = []
    for flips in {2: [(), (2, 3)], 4: [(), (2,), (3,), (2, 3)]}[number]:
        output = answer_to(np.flip(frame, flips))
        back = tuple(axis - 1 for axis in flips)
        images = (np.flip(image, back) for image in (output.denoised, output.column_probability))
        answers.append((*images, np.flip(output.count_logits, flips)))
    return NetworkOutput(*(np.mean(parts, axis=0) for parts in zip(*answers, strict=True)))


def frame_of(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((1, 2, 4, 6), np.float32)


@EVERY
def test_answers_are_turned_back_and_their_mean_is_given(number: int) -> None:
    with closing(OrientedBackend(Lopsided(), number, 2)) as backend:
        backend.load(SHAPE)
        for seed in range(IN_FLIGHT):
            backend.submit(frame_of(seed))
        for seed in range(IN_FLIGHT):
            output, expected = backend.collect(), mean_by_hand(frame_of(seed), number)
            np.testing.assert_allclose(output.denoised, expected.denoised, rtol=1e-6)
            np.testing.assert_allclose(output.column_probability, expected.column_probability, rtol=1e-6)
            np.testing.assert_allclose(output.count_logits, expected.count_logits, rtol=1e-5, atol=1e-6)


@EVERY
def test_looking_whether_it_is_ready_gets_it_on(number: int) -> None:
    with closing(OrientedBackend(Lopsided(), number, 2)) as backend:
        backend.load(SHAPE)
        assert not backend.ready()
        for seed in range(IN_FLIGHT):
            backend.submit(frame_of(seed))
        for seed in range(IN_FLIGHT):
            assert backend.ready()
            np.testing.assert_allclose(
                backend.collect().denoised, mean_by_hand(frame_of(seed), number).denoised, rtol=1e-6
            )


@EVERY
def test_the_other_backend_always_has_its_next_batch_and_never_more(number: int) -> None:
    inner = Lopsided()
    with closing(OrientedBackend(inner, number, 2)) as backend:
        backend.load(SHAPE)
        for seed in range(6):
            backend.submit(frame_of(seed))
            if seed:
                backend.collect()
        backend.collect()
    assert inner.most_in_flight == IN_FLIGHT


@pytest.mark.parametrize("how", ["refused", "failing"])
@pytest.mark.parametrize("call", [1, 2, 4])
def test_what_happens_to_one_orientation_takes_its_batch_alone(how: str, call: int) -> None:
    with closing(OrientedBackend(Lopsided(**{how: (call,)}), 4, 2)) as backend:
        backend.load(SHAPE)
        for seed in range(IN_FLIGHT):
            backend.submit(frame_of(seed))
        with pytest.raises(BackendError, match=f"call {call} "):
            backend.collect()
        expected = mean_by_hand(frame_of(1), 4)
        np.testing.assert_allclose(backend.collect().denoised, expected.denoised, rtol=1e-6)


def test_nothing_is_asked_of_a_lost_device(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, asked = Lopsided(), 0

    def lost() -> NetworkOutput:
        nonlocal asked
        asked += 1
        raise DeviceLostError("it is gone")

    with closing(OrientedBackend(inner, 4, 2)) as backend:
        backend.load(SHAPE)
        for seed in range(IN_FLIGHT):
            backend.submit(frame_of(seed))
        submitted = inner.calls
        monkeypatch.setattr(inner, "collect", lost)
        assert backend.ready()
        for _ in range(IN_FLIGHT):
            with pytest.raises(DeviceLostError, match="it is gone"):
                backend.collect()
    assert (asked, inner.calls) == (1, submitted)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(BackendError, match=r"no 3 orientations of a frame; choose one of \[1, 2, 4\]"):
        OrientedBackend(Lopsided(), 3, 2)


def test_a_run_gets_as_many_as_it_is_configured_for(tiny_networks: Networks, tmp_path: Path) -> None:
    for number in ORIENTATIONS:
        config = AnalysisConfig(backend="openvino", orientations=number)  # type: ignore[arg-type]
        backend, _ = start_backend(config, tiny_networks, lambda b: b.load(BatchShape(1, 32, 32)))
        with closing(backend):
            assert isinstance(backend, OrientedBackend) == (number > 1)
