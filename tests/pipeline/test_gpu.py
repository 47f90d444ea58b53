"""What only a GPU can show; skipped, with the reason, where there is none (``make gpu-test``).

Not compared: engines of different GPUs, and counts where two classes are equally probable.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from pipeline.backends import Backend, BatchShape, NetworkOutput, make_backend
from pipeline.backends.tensorrt_backend import TensorRtBackend
from pipeline.columns import measure_batch
from pipeline.drift import DriftMeter
from pipeline.intake import Intake
from pipeline.networks import Networks
from pipeline.particle_networks import AnyNetworks
from pipeline.particles import find_particles
from pipeline.patches import cut_patches, in_all_orientations, without_neighbours
from pipeline.prepare import prepare
from pipeline.preprocess import normalise
from pipeline.steady import Steadier
from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from streamer.errors import BackendError
from tests.pipeline.backend_suite import NAMES, BackendSuite, give, take
from tests.pipeline.reference import (  # noqa: F401  fixtures
    SHAPE,
    equal_counts,
    frames,
    on_onnxruntime,
    reference,
    shipped,
)
from tests.pipeline.test_columns import draw_maps
from tests.pipeline.test_drift import particle
from tests.pipeline.test_intake import message
from tests.pipeline.test_particles import LIMITS_NM, PEDESTAL, PIXEL_A, ball, picture
from tests.pipeline.test_prepare import noise, task

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]  # an engine takes minutes to build
Note = Callable[[str, object], None]
"""Keeps a figure with the results (`tests.gpu_report`)."""


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


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
    record_property: Note,
) -> None:
    """All pixels of all outputs, in units of each output's own spread."""
    with closing(MAKERS[name](shipped, engines=engines)) as backend:
        if name == "tensorrt bf16" and not hasattr(import_module("tensorrt").DataType, "BF16"):
            with pytest.raises(BackendError, match="knows no bfloat16"):
                backend.load(SHAPE)
            return
        backend.load(SHAPE)
        give(backend, frames)
        output = take(backend)
    for part in NAMES:
        expected = getattr(reference, part)
        worst = float(np.abs(getattr(output, part) - expected).max() / expected.std())
        record_property(part, worst)
        assert worst < TOLERANCES[name.split()[1]], f"{part} is off by {worst:.2g} of its spread"


def movie(size_px: int, n_frames: int, dose_e_per_A2: float) -> NDArray[Any]:
    """The demonstration's first frames; of another dose the same frames."""
    settings = MovieSettings(size_px=size_px, dose_e_per_A2=dose_e_per_A2)
    return np.stack([frame.image for frame in islice(Movie(settings, load_states()), n_frames)])


@pytest.mark.parametrize(("size_px", "n_frames", "share"), [(512, 8, 0.999)])
@pytest.mark.parametrize("name", ["tensorrt f16", "torch f16"])
def test_a_movie_in_half_precision(
    name: str,
    size_px: int,
    n_frames: int,
    share: float,
    shipped: Networks,  # noqa: F811
    engines: Path,
    record_property: Note,
) -> None:
    """This share of columns keep their counts, and the PSNR its 0.1 dB, against ONNX Runtime in float32."""
    truth = movie(size_px, n_frames, 1e6).astype(np.float32)
    truth /= np.median(truth.mean(-1), axis=-1)[:, None, None]
    batch = normalise(movie(size_px, n_frames, 1000.0)).frames
    with closing(MAKERS[name](shipped, engines=engines)) as backend:
        backend.load(BatchShape(*[batch.shape[i] for i in (0, 2, 3)]))
        give(backend, batch)
        answers = on_onnxruntime(shipped, batch), take(backend)
    errors = [float(((answer.denoised - truth) ** 2).mean()) for answer in answers]
    tables = [
        [found.table for found in measure_batch(a.column_probability, a.count_logits, 0.5, 8.0)]
        for a in answers
    ]
    same, total = equal_counts(*tables)
    change_dB = float(10 * np.log10(errors[0] / errors[1]))
    record_property(name, {"equal_counts": same, "columns": total, "PSNR_change_dB": change_dB})
    assert total > 20 * n_frames
    assert same >= share * total, f"{same} of {total}"
    assert abs(change_dB) < 0.1


def test_tensorrt_s_graphs_change_nothing(
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
        torch = pytest.importorskip("torch")
        assert torch.cuda.is_available(), "this PyTorch sees no GPU: it would compute on the CPU"
        return make_backend("torch", networks)


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


def test_cupy_finds_no_columns_where_there_are_none(gpu: Any) -> None:
    maps = [np.stack(m) for m in zip(*(draw_maps([], 2) for _ in range(2)), strict=True)]
    found = measure_batch(*(gpu.xp.asarray(m) for m in maps), 0.5, 6.0, gpu.xp)
    assert [len(one.table) for one in found] == [0, 0]


@pytest.mark.parametrize("noise", [0.05, 1.2])
def test_cupy_measures_the_drift_that_numpy_measures(noise: float, gpu: Any) -> None:
    rng = np.random.default_rng(5)
    here, there = DriftMeter(), DriftMeter()
    for k in range(30):
        frame = particle(0.4 * k, -0.3 * k, -1.0 if k == 9 else 1.0)
        frame = frame + rng.normal(0, noise, frame.shape).astype(np.float32)
        assert there.shift_px(gpu.xp.asarray(frame), gpu.xp) == pytest.approx(here.shift_px(frame), abs=1e-3)


def test_cupy_holds_frames_steady_as_numpy(gpu: Any) -> None:
    here, there = Steadier(4), Steadier(4)
    rng = np.random.default_rng(6)
    for k in range(8):
        image = rng.poisson(30 * (1 + particle(0.5 * k, -0.25 * k))).astype(np.uint16)
        ours = here.steady(prepare(task(image), 0.2, 0.2))
        theirs = there.steady(prepare(task(image), 0.2, 0.2, gpu))
        assert theirs.drift_px == pytest.approx(ours.drift_px, abs=1e-3)
        np.testing.assert_allclose(theirs.frame.get(), ours.frame, atol=1e-3)


def test_four_threads_decode_for_cupy_what_one_decodes(gpu: Any) -> None:
    images = [noise((500, 700)) for _ in range(40)]
    waiting = [message(image, k) for k, image in enumerate(images)]
    intake = Intake(lambda _: waiting.pop(0) if waiting else [], gpu, 4)
    with closing(intake):
        for image in images:
            incoming = intake.next(0)
            prepared = prepare(incoming.task, 0.2, 0.2, gpu, incoming.pixels)  # type: ignore[union-attr, arg-type]
            np.testing.assert_array_equal(prepared.image.get(), image)


@pytest.mark.slow
@pytest.mark.parametrize("n_batches", [10_000])
def test_many_tensorrt_batches_leave_nothing_behind(
    n_batches: int, tiny_networks: Networks, engines: Path, record_property: Note
) -> None:
    cupy = pytest.importorskip("cupy")
    shape = BatchShape(4, 256, 256)
    with closing(TensorRtBackend(tiny_networks, engines=engines)) as backend:
        backend.load(shape)
        batch = backend.device.zeros((4, 2, 256, 256))
        free, held = [], []
        for k in range(n_batches):
            backend.submit(batch)
            backend.collect()
            if k in (n_batches // 100, n_batches - 1):
                free.append(cupy.cuda.runtime.memGetInfo()[0])
                held.append(psutil.Process().memory_info().rss)
        record_property("bytes", {"device": free[0] - free[1], "host": held[1] - held[0]})
        assert free[0] - free[1] < 2**20, "on the device"
        assert held[1] - held[0] < 32 * 2**20, "on the host"


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
        in_all_orientations(
            without_neighbours(cut_patches(xp.asarray(image), *places, xp=xp), expected, 4, xp=xp), xp
        )
        for xp in (np, cupy)
    ]
    np.testing.assert_allclose(cupy.asnumpy(patches[1]), patches[0], atol=1e-4)


def test_cupy_finds_no_particle_in_a_picture_of_nothing() -> None:
    cupy = pytest.importorskip("cupy")
    assert len(find_particles(cupy.asarray(picture()), PIXEL_A, PEDESTAL, LIMITS_NM, cupy)) == 0
