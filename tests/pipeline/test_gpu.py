"""What only a GPU can show; skipped, with the reason, where there is none (``make gpu-test``).

Not compared: engines of different GPUs, and counts where two classes are equally probable.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends import Backend, BatchShape, NetworkOutput, make_backend
from pipeline.backends.tensorrt_backend import TensorRtBackend
from pipeline.columns import measure_batch
from pipeline.networks import Networks, find_networks
from pipeline.particle_networks import AnyNetworks
from pipeline.particles import find_particles
from pipeline.patches import cut_patches, without_neighbours
from pipeline.prepare import prepare
from tests.pipeline.backend_suite import NAMES, BackendSuite, give, take
from tests.pipeline.test_backends import frames, reference, shipped  # noqa: F401  fixtures
from tests.pipeline.test_columns import draw_maps
from tests.pipeline.test_particles import LIMITS_NM, PEDESTAL, PIXEL_A, ball, picture
from tests.pipeline.test_precision import equal_counts
from tests.pipeline.test_prepare import noise, task

pytestmark = pytest.mark.gpu
SHAPE = BatchShape(2, 96, 128)


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


class _Gpu(BackendSuite):
    name = "tensorrt"

    @pytest.fixture(autouse=True)
    def _folder(self, engines: Path) -> None:
        pytest.importorskip("tensorrt")
        pytest.importorskip("cupy")
        self.engines = engines


class TestTensorRtOnDevice(_Gpu):
    def make(self, networks: AnyNetworks) -> Backend:
        return TensorRtBackend(networks, engines=self.engines)


class TestTensorRtFromHost(_Gpu):
    def make(self, networks: AnyNetworks) -> Backend:
        return TensorRtBackend(networks, engines=self.engines, on_device=False)


class TestTensorRtFloat32(_Gpu):
    def make(self, networks: AnyNetworks) -> Backend:
        return TensorRtBackend(networks, precision="f32", engines=self.engines)


class TestTorchCuda(BackendSuite):
    name = "torch"

    def make(self, networks: AnyNetworks) -> Backend:
        return make_backend("torch", networks)


MAKERS: dict[str, Callable[..., Backend]] = {
    "tensorrt f32": partial(TensorRtBackend, precision="f32"),
    "tensorrt f16": partial(TensorRtBackend, precision="f16"),
    "tensorrt bf16": partial(TensorRtBackend, precision="bf16"),
    "torch f32": lambda networks, engines: make_backend("torch", networks, precision="f32"),
    "torch f16": lambda networks, engines: make_backend("torch", networks, precision="f16"),
}
TOLERANCES = {"f32": 2e-3, "f16": 0.05, "bf16": 0.3}


@pytest.mark.parametrize("name", MAKERS)
def test_parity_with_onnxruntime(
    name: str,
    shipped: Networks,  # noqa: F811
    frames: NDArray[np.float32],  # noqa: F811
    reference: NetworkOutput,  # noqa: F811
    engines: Path,
) -> None:
    """All pixels of all outputs, in units of each output's own spread."""
    with closing(MAKERS[name](shipped, engines=engines)) as backend:
        backend.load(SHAPE)
        give(backend, frames)
        output = take(backend)
    for part in NAMES:
        expected = getattr(reference, part)
        worst = np.abs(getattr(output, part) - expected).max() / expected.std()
        assert worst < TOLERANCES[name.split()[1]], f"{part} is off by {worst:.2g} of its spread"


def test_tensorrt_torch_and_openvino_count_the_same(engines: Path) -> None:
    """Equal counts on 99.9 % of a movie's columns, in half precision."""
    from itertools import islice

    from pipeline.preprocess import normalise
    from simulator.demo_states import load_states
    from simulator.movie import Movie, MovieSettings

    networks = find_networks(None, "ceria")
    movie = Movie(MovieSettings(size_px=512, dose_e_per_A2=1000.0), load_states())
    batch = normalise(np.stack([frame.image for frame in islice(movie, 8)])).frames
    tables: dict[str, list[Any]] = {}
    for name, make in {
        "tensorrt": partial(TensorRtBackend, networks, engines=engines),
        "torch": partial(make_backend, "torch", networks),
        "openvino": partial(make_backend, "openvino", networks, precision="f32"),
    }.items():
        with closing(make()) as backend:
            backend.load(BatchShape(*[batch.shape[i] for i in (0, 2, 3)]))
            give(backend, batch)
            output = take(backend)
            maps = output.column_probability, output.count_logits
            tables[name] = [found.table for found in measure_batch(*maps, 0.5, 8.0)]
    for name in ("tensorrt", "torch"):
        same, total = equal_counts(tables["openvino"], tables[name])
        assert same >= 0.999 * total, f"{name}: {same} of {total}"


def test_graphs_change_nothing(
    shipped: Networks,  # noqa: F811
    frames: NDArray[np.float32],  # noqa: F811
    engines: Path,
) -> None:
    answers = []
    for graphs in (False, True):
        with closing(TensorRtBackend(shipped, engines=engines, graphs=graphs)) as backend:
            backend.load(SHAPE)
            give(backend, frames)
            answers.append(take(backend))
    for part in NAMES:
        np.testing.assert_array_equal(getattr(answers[0], part), getattr(answers[1], part))


@pytest.fixture
def gpu() -> Iterator[Any]:
    cupy = pytest.importorskip("cupy")
    from pipeline.backends.cuda_intake import CudaDevice

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        yield CudaDevice(cupy)
        stream.synchronize()


@pytest.mark.parametrize("pixel_size_A", [0.2, 0.13])
def test_cupy_prepares_as_numpy(pixel_size_A: float, gpu: Any) -> None:
    image = noise((500, 700))
    image[10:20, 30:40] = 65535
    ours, theirs = prepare(task(image), pixel_size_A, 0.2), prepare(task(image), pixel_size_A, 0.2, gpu)
    np.testing.assert_allclose(theirs.frame.get(), ours.frame, atol=1e-4)
    assert theirs.noise == pytest.approx(ours.noise, rel=1e-5)


def test_cupy_finds_the_columns_that_numpy_finds(gpu: Any) -> None:
    planted = [[(30.0, 40.5, 3, 0.9), (60.0, 80.0, 5, 0.8)], [], [(50.2, 50.0, 7, 1.0)]]
    maps = [np.stack(m) for m in zip(*(draw_maps(columns, 2) for columns in planted), strict=True)]
    ours = measure_batch(*maps, 0.5, 6.0)
    theirs = measure_batch(*(gpu.xp.asarray(m) for m in maps), 0.5, 6.0, gpu.xp)
    for one, two in zip(ours, theirs, strict=True):
        for column in one.table.dtype.names:
            np.testing.assert_allclose(two.table[column], one.table[column], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_batches_leave_nothing_behind(tiny_networks: Networks, engines: Path) -> None:
    cupy = pytest.importorskip("cupy")
    shape = BatchShape(4, 256, 256)
    with closing(TensorRtBackend(tiny_networks, engines=engines)) as backend:
        backend.load(shape)
        batch = backend.device.zeros((4, 2, 256, 256))
        free = []
        for k in range(10_000):
            backend.submit(batch)
            backend.collect()
            if k in (100, 9_999):
                free.append(cupy.cuda.runtime.memGetInfo()[0])
        assert free[0] - free[1] < 2**20


def test_cupy_finds_the_same_particles_as_numpy() -> None:
    cupy = pytest.importorskip("cupy")
    image = picture(ball((130, 130), 4.0), ball((380, 60), 4.0), ball((330, 350), 6.0))
    expected, found = (
        find_particles(xp.asarray(image), PIXEL_A, PEDESTAL, LIMITS_NM, xp) for xp in (np, cupy)
    )
    assert len(expected) == 3
    for name in ("y", "x", "area", "axes", "touches_border", "outline"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-3, atol=2.0)
    places = expected.y, expected.x, 4
    patches = [
        without_neighbours(cut_patches(xp.asarray(image), *places, xp=xp), expected, 4, xp=xp)
        for xp in (np, cupy)
    ]
    np.testing.assert_allclose(cupy.asnumpy(patches[1]), patches[0], atol=1e-4)
