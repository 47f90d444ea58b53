"""The analysis on a GPU's arrays, on the double: the same functions, the same answers, nothing left there."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backends.cuda_intake import CudaDevice
from pipeline.backends.device import HOST
from pipeline.columns import measure_batch
from pipeline.maps import to_frame_grid
from pipeline.particles import _measured
from pipeline.prepare import prepare
from pipeline.steady import Steadier
from pipeline.views import at_frame_pixels, binned, to_uint8
from streamer.config import RecordConfig, RunConfig, SourceConfig, ViewConfig
from streamer.errors import DeviceLostError, PayloadError
from streamer.records import FrameResult
from tests.pipeline.analyser_run import PATIENCE_S, analyser_run, config_for
from tests.pipeline.cuda_double import CudaDouble
from tests.pipeline.cupy_double import make_cupy
from tests.pipeline.tensorrt_double import Faults, make_tensorrt
from tests.pipeline.test_analyser import COLUMNS, SHAPE, dark_spot, expect_columns, image
from tests.pipeline.test_columns import draw_maps
from tests.pipeline.test_prepare import task
from tests.pipeline.tiny_networks import write_networks


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble(seed=7)
    monkeypatch.setitem(sys.modules, "cupy", make_cupy(double))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(double, "11.4", Faults()))
    return double


@pytest.fixture
def gpu(cuda: CudaDouble) -> CudaDevice:
    return CudaDevice(sys.modules["cupy"])


def noisy(shape: tuple[int, int] = (96, 128), seed: int = 1) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).poisson(30.0, shape).astype(np.uint16)


@pytest.mark.parametrize("pixel_size_A", [0.2, 0.13])
@pytest.mark.parametrize("masked", [False, True])
def test_a_frame_is_prepared_as_on_the_host(pixel_size_A: float, masked: bool, gpu: CudaDevice) -> None:
    frame = noisy()
    if masked:
        frame[10:20, 30:40] = 65535
    ours, theirs = (prepare(task(frame), pixel_size_A, 0.2, device) for device in (HOST, gpu))
    assert isinstance(theirs.frame, gpu.xp.ndarray)
    np.testing.assert_allclose(theirs.frame.get(), ours.frame, atol=1e-5)
    assert theirs.noise == pytest.approx(ours.noise, rel=1e-6)
    assert theirs.level_counts == pytest.approx(ours.level_counts, rel=1e-6)
    assert (theirs.valid is None) == (not masked)


def test_stages_are_used_again_only_after_their_copies(gpu: CudaDevice) -> None:
    frames = [noisy(seed=seed) for seed in range(12)]
    prepared = [prepare(task(frame), 0.2, 0.2, gpu) for frame in frames]
    for frame, one in zip(frames, prepared, strict=True):
        np.testing.assert_array_equal(one.image.get(), frame)
    prepare(task(noisy((64, 64))), 0.2, 0.2, gpu)
    with pytest.raises(PayloadError):
        prepare(task(noisy(), payload=b"\0" * 40), 0.2, 0.2, gpu)


def test_columns_of_a_batch_are_those_of_its_frames(gpu: CudaDevice) -> None:
    planted = [[(30.0, 40.5, 3, 0.9), (60.0, 80.0, 5, 0.8)], [], [(50.2, 50.0, 7, 1.0)]]
    maps = [draw_maps(columns, 2) for columns in planted]
    batch = [np.stack(m) for m in zip(*maps, strict=True)]
    alone = [measure_batch(p[None], logits[None], 0.5, 6.0)[0].table for p, logits in maps]
    together = measure_batch(batch[0], batch[1], 0.5, 6.0)
    on_gpu = measure_batch(*(gpu.xp.asarray(m) for m in batch), 0.5, 6.0, gpu.xp)
    for one, two, three, columns in zip(alone, together, on_gpu, planted, strict=True):
        assert len(one) == len(columns)
        assert isinstance(three.table, np.ndarray)
        for name in one.dtype.names or ():
            np.testing.assert_array_equal(one[name], two.table[name])
            np.testing.assert_allclose(three.table[name], one[name], rtol=1e-6)


def test_frames_are_held_steady(gpu: CudaDevice) -> None:
    on_host, on_gpu = Steadier(3), Steadier(3)
    for shift in (0, 4, 7):
        moved = task(np.roll(image(), (shift, -shift), (0, 1)))
        ours = on_host.steady(prepare(moved, 0.2, 0.2))
        theirs = on_gpu.steady(prepare(moved, 0.2, 0.2, gpu))
        assert theirs.drift_px == pytest.approx(ours.drift_px, abs=1e-3)
        assert theirs.noise == pytest.approx(ours.noise, rel=1e-5)
        np.testing.assert_allclose(theirs.frame.get(), ours.frame, atol=1e-4)


def test_maps_and_pictures(gpu: CudaDevice) -> None:
    frame = image().astype(np.float32) / 2000
    there = gpu.xp.asarray(frame)
    for function, more in (
        (to_frame_grid, [(300, 400)]),
        (binned, [3]),
        (at_frame_pixels, [(384, 512), 2, (192, 256)]),
    ):
        np.testing.assert_allclose(
            function(there, *more, gpu.xp).get(),
            function(frame, *more),
            rtol=1e-5,  # type: ignore[operator]
        )
    assert (to_uint8(there, gpu.xp)[0] == to_uint8(frame)[0]).all()


def test_a_picture_without_particles_is_measured(gpu: CudaDevice) -> None:
    """CuPy counts no empty array."""
    labels = np.zeros((16, 16), np.int32)
    for xp in (np, gpu.xp):
        assert len(_measured(xp.asarray(labels), 0, 1, (1.0, 100.0), xp)) == 0
    labels[3:6, 4:9] = 1
    here, there = (_measured(xp.asarray(labels), 1, 1, (1.0, 100.0), xp) for xp in (np, gpu.xp))
    assert len(there) == 1
    np.testing.assert_allclose([there.y, there.x, there.area], [here.y, here.x, here.area])


def on_gpu_double(folder: Path, cache: Path, **analysis: object) -> RunConfig:
    return config_for(folder, backend="tensorrt", engines=str(cache), **analysis)


@pytest.mark.parametrize("batch_frames", [1, 3])
@pytest.mark.parametrize("on_device", [True, False])
def test_the_whole_analysis(
    on_device: bool, batch_frames: int, cuda: CudaDouble, tiny_folder: Path, tmp_path: Path
) -> None:
    config = on_gpu_double(tiny_folder, tmp_path, on_device=on_device, batch_frames=batch_frames)
    record = RecordConfig(path="somewhere.nxs", maps_every=2)
    config = msgspec.structs.replace(config, record=record, view=ViewConfig(size_px=128))
    with analyser_run(config) as run:
        for i in range(7):
            run.send(image([(30.0, 40.0 + i, 1 + i % 8), (71.0, 140.0, 1)]), i)
        results = [run.result() for _ in range(7)]
        for r in results:
            expect_columns(r, [(30.0, 40.0 + r.frame_id, 1 + r.frame_id % 8), (71.0, 140.0, 1)])
            assert (r.denoised is not None) == (r.frame_id % 2 == 0)
            assert r.denoised is None or isinstance(r.denoised, np.ndarray)
        assert run.info is not None
        assert (run.info.backend, run.info.reason) == ("tensorrt", "tensorrt was asked for")
        view = run.show(image())
        assert view.raw.shape == view.denoised.shape == (96, 128)
    assert cuda.live_bytes == 0, "memory was left on the device"


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_frames": 3, "average_frames": 3}, {"denoise_frames": 3}, {"analysers": 2}],
    ids=["alone", "averaged", "denoised from three", "one of several"],
)
@pytest.mark.parametrize(("pixel_size_A", "dtype"), [(0.2, np.uint16), (0.15, np.uint16), (0.2, np.uint32)])
def test_the_first_frames_compile_nothing(
    pixel_size_A: float,
    dtype: type[np.unsignedinteger[Any]],
    options: dict[str, Any],
    cuda: CudaDouble,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    """What they call, with dead pixels, maps and a window open, was called before the analyser was ready."""
    config = msgspec.structs.replace(
        on_gpu_double(tiny_folder, tmp_path, **options),
        source=SourceConfig(frame_px=SHAPE, pixel_size_A=pixel_size_A),
        record=RecordConfig(path="some.nxs", maps_every=1),
        view=ViewConfig(size_px=128),
    )
    frame = image().astype(dtype)
    frame[3, 5] = np.iinfo(dtype).max
    with analyser_run(config) as run:
        assert run.said.get(timeout=PATIENCE_S)[0] == "ready"
        warm = set(cuda.kernels)
        if options.get("analysers") == 2:
            run.send(frame, 0)
            run.unfollowed()
        else:
            run.show(frame)
            run.show(image().astype(dtype))
    kind, counters = run.said.get(timeout=PATIENCE_S)
    assert (kind, counters["network_loads"]) == ("finished", 1), "they were loaded for the frames' size"
    assert ("argmax", "float32 2D") in warm
    assert cuda.kernels - warm == set()


def test_kernels_that_cannot_be_compiled_are_a_reason_to_fall_back(
    cuda: CudaDouble, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first frame, not with it: a run that may use another backend does so."""

    class CompileException(Exception):
        pass

    def fail(*args: Any, **options: Any) -> None:
        raise CompileException("cannot open source file cuda_fp16.h")

    monkeypatch.setattr(sys.modules["cupy"], "median", fail, raising=False)
    with analyser_run(on_gpu_double(tiny_folder, tmp_path), sound=False) as run:
        assert "CuPy cannot compile its kernels while warming up: cannot open" in str(run.error())
    with analyser_run(on_gpu_double(tiny_folder, tmp_path, fallback=True)) as run:
        kind, ready = run.said.get(timeout=PATIENCE_S)
        assert (kind, ready["backend"]) == ("ready", "openvino")
        assert "tensorrt failed: CuPy cannot compile" in ready["reason"]


def test_what_leaves_the_gpu_is_less_than_a_frame(
    cuda: CudaDouble, tiny_folder: Path, tmp_path: Path
) -> None:
    """Tables and summaries: the frame has 49152 pixels."""
    with analyser_run(on_gpu_double(tiny_folder, tmp_path)) as run:
        run.send(image(), 0)
        run.result()
        before = cuda.downloaded_bytes
        run.send(image(), 1)
        run.result()
    assert 0 < cuda.downloaded_bytes - before < 8192


def test_a_lost_gpu_fails_its_frames_and_ends_the_analyser(
    cuda: CudaDouble, tiny_folder: Path, tmp_path: Path
) -> None:
    with analyser_run(on_gpu_double(tiny_folder, tmp_path), sound=False) as run:
        run.send(image(), 0)
        assert isinstance(run.answer(), FrameResult)
        cuda.sticky = 719
        run.send(image(), 1)
        assert run.failure().reason.startswith("backend: the GPU was lost while")
        assert isinstance(run.error(), DeviceLostError)


def test_nan_fails_its_frame_and_the_run_goes_on(cuda: CudaDouble, tmp_path: Path) -> None:
    folder = write_networks(tmp_path / "networks", fragile=True)
    with analyser_run(on_gpu_double(folder, tmp_path / "engines")) as run:
        for i, frame in enumerate((image(), dark_spot(), image())):
            run.send(frame, i)
        answers = {a.frame_id: a for a in (run.answer() for _ in range(3))}
        assert "NaN in denoised" in answers[1].reason  # type: ignore[union-attr]
        for i in (0, 2):
            expect_columns(answers[i], COLUMNS)  # type: ignore[arg-type]
