"""What every backend must do; a backend's tests inherit this and add `make`."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import IN_FLIGHT, Backend, BatchShape, NetworkOutput
from pipeline.networks import Networks, find_networks
from pipeline.particle_networks import PATCH_PX, AnyNetworks, ParticleNetworks
from streamer.errors import BackendError
from tests.pipeline.tiny_networks import (
    MATERIAL,
    MAX_COUNT,
    SHAPE_PIXEL_A,
    VACUUM_COUNTS,
    frame_with_columns,
    frame_with_discs,
    network_input,
)

SHAPE = BatchShape(2, 64, 96)
NAMES = ("denoised", "column_probability", "count_logits")
PATIENCE_S = 20.0
VALUE_TOLERANCE = 0.05  # bf16 keeps eight bits: 0.02 of a contrast of 2


def batch(*centres: tuple[float, float, int], shape: BatchShape = SHAPE) -> NDArray[np.float32]:
    """A batch whose frames hold one column each."""
    size = (shape.height, shape.width)
    return np.concatenate([network_input(frame_with_columns(size, [centre])) for centre in centres])


def patches(*diameters_nm: float) -> NDArray[np.float32]:
    """Restored pictures of one flat particle each, shape (n, 1, 128, 128)."""
    frames = [frame_with_discs((PATCH_PX, PATCH_PX), [(64, 64, d)], 0.3, SHAPE_PIXEL_A) for d in diameters_nm]
    return np.stack(frames)[:, None] / np.float32(VACUUM_COUNTS)


def give(backend: Backend, frames: NDArray[Any]) -> None:
    """Submit a batch made on the host."""
    backend.submit(backend.device.xp.asarray(frames))


def take(backend: Backend) -> NetworkOutput:
    """Collect an answer and bring it to the host, as views where it is there already."""
    output = backend.collect()
    to_host = getattr(backend.device.xp, "asnumpy", np.asarray)
    return NetworkOutput(*(to_host(getattr(output, name)) for name in NAMES))


class BackendSuite:
    """Inherit as ``class TestX(BackendSuite)``."""

    name: str
    answers: bool = True  # whether the outputs mean something (not so for the null backend)

    def make(self, networks: AnyNetworks) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tiny_networks: Networks) -> Iterator[Backend]:
        with closing(self.make(tiny_networks)) as backend:
            yield backend

    def test_it_says_what_it_runs(self, backend: Backend, tiny_networks: Networks) -> None:
        info = backend.load(SHAPE)
        assert info.backend == self.name
        assert info.device
        assert info.precision in ("f32", "bf16", "f16", "i8", "none")
        assert info.networks == tiny_networks.sha256

    def test_shapes_and_types(self, backend: Backend) -> None:
        backend.load(SHAPE)
        give(backend, batch((20, 30, 3), (40, 60, 5)))
        output = take(backend)
        assert output.denoised.shape == output.column_probability.shape == (2, 64, 96)
        assert output.count_logits.shape == (2, MAX_COUNT, 64, 96)
        types = {output.denoised.dtype, output.column_probability.dtype, output.count_logits.dtype}
        assert types == {np.dtype(np.float32)}

    def test_known_columns_come_back(self, backend: Backend) -> None:
        backend.load(SHAPE)
        give(backend, batch((20, 30, 3), (40, 60, 5)))
        output = take(backend)
        if not self.answers:
            return
        for place, (y, x, count) in enumerate([(20, 30, 3), (40, 60, 5)]):
            contrast = 1 + count / 10
            assert output.denoised[place, y, x] == pytest.approx(1 + contrast, abs=VALUE_TOLERANCE)
            assert output.column_probability[place, y, x] == pytest.approx(contrast / 2, abs=VALUE_TOLERANCE)
            assert output.count_logits[place, :, y, x].argmax() == count - 1
            assert output.column_probability[place, 1, 1] == pytest.approx(0.0, abs=VALUE_TOLERANCE)

    def test_networks_of_several_frames_and_of_one_share_a_batch(self, tiny_folder: Path) -> None:
        """The height network looks at the newest frame alone, the denoiser gives the mean of three."""
        with closing(self.make(find_networks(tiny_folder, MATERIAL, 3))) as backend:
            backend.load(SHAPE)
            columns = [batch((20, 30, count), (40, 60, count)) for count in (3, 6, 9)]
            give(backend, np.concatenate([columns[0], *(older[:, :1] for older in columns[1:])], axis=1))
            output = take(backend)
            if not self.answers:
                return
            for place, (y, x) in enumerate([(20, 30), (40, 60)]):
                assert output.denoised[place, y, x] == pytest.approx(1 + 1.6, abs=VALUE_TOLERANCE)
                assert output.column_probability[place, y, x] == pytest.approx(1.3 / 2, abs=VALUE_TOLERANCE)
                assert output.count_logits[place, :, y, x].argmax() == 2
            with pytest.raises(BackendError, match="expected C-contiguous float32"):
                give(backend, columns[0])

    def test_an_answer_can_be_read_while_the_next_batches_are_computed(self, backend: Backend) -> None:
        """Answers come in order, and stay while as many batches as may be are in flight."""
        backend.load(SHAPE)
        frames = [batch((20, 30, k), (40, 60, k)) for k in (2, 5, 8)]
        for k in range(IN_FLIGHT):
            give(backend, frames[k])
        for k in range(20):
            output = backend.collect()
            before = [getattr(output, name).copy() for name in NAMES]
            if self.answers:
                assert int(output.count_logits[0, :, 20, 30].argmax()) == (1, 4, 7)[k % 3]
            give(backend, frames[(k + IN_FLIGHT) % 3])
            time.sleep(0.002)
            for old, name in zip(before, NAMES, strict=True):
                assert bool((old == getattr(output, name)).all())

    def test_it_says_when_the_oldest_batch_is_ready(self, backend: Backend) -> None:
        backend.load(SHAPE)
        assert not backend.ready()
        for k in (3, 8):
            give(backend, batch((20, 30, k), (40, 60, k)))
        for k in (3, 8):
            deadline = time.monotonic() + PATIENCE_S
            while not backend.ready():
                assert time.monotonic() < deadline, "it is never ready"
                time.sleep(0.001)
            output = take(backend)
            assert not self.answers or output.count_logits[0, :, 20, 30].argmax() == k - 1
        assert not backend.ready()

    def test_a_batch_that_fails_is_ready_too(self, backend: Backend) -> None:
        if not self.answers:
            return
        backend.load(SHAPE)
        give(backend, np.full_like(batch((20, 30, 3), (40, 60, 5)), np.nan))
        deadline = time.monotonic() + PATIENCE_S
        while not backend.ready():
            assert time.monotonic() < deadline, "it is never ready"
        with pytest.raises(BackendError, match="NaN"):
            take(backend)

    def test_an_error_leaves_the_other_batch_alone(self, backend: Backend) -> None:
        if not self.answers:
            return
        backend.load(SHAPE)
        good = batch((20, 30, 3), (40, 60, 5))
        unsound = np.full_like(good, np.nan)
        give(backend, unsound)
        give(backend, good)
        with pytest.raises(BackendError, match="NaN"):
            take(backend)
        assert take(backend).count_logits[0, :, 20, 30].argmax() == 2

    def test_it_can_be_loaded_for_another_shape(self, backend: Backend) -> None:
        backend.load(SHAPE)
        other = BatchShape(1, 48, 32)
        backend.load(other)
        give(backend, batch((20, 10, 4), shape=other))
        assert take(backend).denoised.shape == (1, 48, 32)
        with pytest.raises(BackendError, match="expected"):
            give(backend, batch((20, 30, 3), (40, 60, 5)))

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda x: x[:1],
            lambda x: x.astype(np.float64),
            lambda x: x[:, :1],
            lambda x: np.asfortranarray(x),
            lambda x: x.swapaxes(2, 3),
        ],
        ids=["too few frames", "float64", "one channel", "column-major", "transposed"],
    )
    def test_a_batch_that_does_not_fit_is_refused(self, backend: Backend, wrong) -> None:  # type: ignore[no-untyped-def]
        backend.load(SHAPE)
        good = batch((20, 30, 3), (40, 60, 5))
        with pytest.raises(BackendError, match="expected C-contiguous float32"):
            give(backend, wrong(good))
        give(backend, good)
        take(backend)

    def test_calls_out_of_turn_are_refused(self, backend: Backend) -> None:
        frames = batch((20, 30, 3), (40, 60, 5))
        with pytest.raises(BackendError, match="load"):
            give(backend, frames)
        backend.load(SHAPE)
        with pytest.raises(BackendError, match="no batch"):
            take(backend)
        for _ in range(IN_FLIGHT):
            give(backend, frames)
        with pytest.raises(BackendError, match="while 2 are being computed"):
            give(backend, frames)
        for _ in range(IN_FLIGHT):
            take(backend)
        with pytest.raises(BackendError, match="no batch"):
            take(backend)

    def test_nan_is_an_error_and_the_next_batch_is_computed(self, backend: Backend) -> None:
        if not self.answers:
            return
        backend.load(SHAPE)
        frames = batch((20, 30, 3), (40, 60, 5))
        unsound = frames.copy()
        unsound[1, 0, 5, 5] = np.nan
        give(backend, unsound)
        with pytest.raises(BackendError, match="NaN"):
            take(backend)
        give(backend, frames)
        assert np.isfinite(take(backend).denoised).all()

    def test_closing_twice_and_with_a_batch_on_its_way(self, backend: Backend) -> None:
        backend.load(SHAPE)
        give(backend, batch((20, 30, 3), (40, 60, 5)))
        backend.close()
        backend.close()
        with pytest.raises(BackendError, match="load"):
            give(backend, batch((20, 30, 3), (40, 60, 5)))

    def test_shapes_are_told_of_any_number_of_patches(self, particle_networks: ParticleNetworks) -> None:
        with closing(self.make(particle_networks)) as backend:
            backend.load(SHAPE)
            for n in (1, 3, 19):
                diameters_nm = np.resize([3.0, 6.0, 2.5, 5.5, 4.0], n)
                logits = backend.classify(backend.device.xp.asarray(patches(*diameters_nm)))
                assert isinstance(logits, np.ndarray)
                assert (logits.shape, logits.dtype) == ((n, 2), np.dtype(np.float32))
                if self.answers:
                    np.testing.assert_array_equal(logits.argmax(axis=1), diameters_nm > 4.5)

    def test_shapes_are_told_while_batches_are_on_their_way(
        self, particle_networks: ParticleNetworks
    ) -> None:
        """Networks that find no columns answer with a picture alone, which patches do not disturb."""
        with closing(self.make(particle_networks)) as backend:
            backend.load(SHAPE)
            for k in (2, 8):
                give(backend, batch((20, 30, k), (40, 60, k)))
            for k in (2, 8):
                output = backend.collect()
                before = output.denoised.copy()
                logits = backend.classify(backend.device.xp.asarray(patches(6.0, 3.0)))
                assert output.column_probability is output.count_logits is None
                assert bool((before == output.denoised).all())
                if self.answers:
                    assert float(output.denoised[0, 20, 30]) == pytest.approx(2 + k / 10, abs=VALUE_TOLERANCE)
                    assert logits.argmax(axis=1).tolist() == [1, 0]

    def test_patches_out_of_turn_are_refused(
        self, backend: Backend, particle_networks: ParticleNetworks
    ) -> None:
        backend.load(SHAPE)
        with pytest.raises(BackendError, match="tell no shapes"):
            backend.classify(backend.device.xp.asarray(patches(3.0)))
        with closing(self.make(particle_networks)) as other:
            if self.answers:
                with pytest.raises(BackendError, match="call load"):
                    other.classify(patches(3.0))
