"""Everything that a frame goes through, gone through once before the first frame comes.

On a GPU the first call of each function compiles its kernel, and the first transform of a size makes its
plan: seconds in all, which the first frames would have to wait. So an analyser analyses frames of its own
before it says that it is ready. Where something of that fails, another backend may take over.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.answers import Answers, unfollowed_of
from pipeline.assembly import FrameAssembly
from pipeline.backends import NetworkOutput
from pipeline.backends.device import Device
from pipeline.engine import Engine, Slot
from pipeline.particle_answers import ParticleAnswers
from pipeline.particle_networks import AnyNetworks, ParticleNetworks
from pipeline.prepare import PreparedFrame, prepare, unfit_size
from pipeline.preprocess import resampled_shape
from pipeline.steady import Steadier
from pipeline.tiling import tile_shape
from pipeline.views import make_view
from streamer.config import RunConfig
from streamer.errors import BackendError
from streamer.link import Task
from streamer.records import Compression, Frame, FrameHeader, SeriesKey

__all__ = ["expected_tile", "warm_up"]

_USUAL_PX = (512, 512)
_OTHER_TYPES = (np.uint8, np.uint32)  # of detectors' pixels; most have uint16
_SMALL_PX = (128, 128)  # of frames that are to compile kernels and nothing else
_COUNTS = (90, 110)  # of a pixel: some noise, as a frame without any has no noise level
_BINNED_PX = 64  # of pictures that are binned in any case
_OTHER_PIXEL = 1.25  # in the networks' pixels: such a frame is resampled
_SPACING_PX, _COLUMN_POWER = 16, 8  # of the columns that are put into the answer
_PARTICLE_A = 50.0


def expected_tile(config: RunConfig, networks: AnyNetworks) -> tuple[int, int]:
    """Return what the networks are loaded for before the first frame: what is expected, else 512 x 512 px."""
    shape, pixel_size_A = _expected(config, networks)
    return tile_shape(resampled_shape(shape, pixel_size_A, networks.pixel_size_A))


def warm_up(
    engine: Engine, answers: Answers | ParticleAnswers, config: RunConfig, networks: AnyNetworks
) -> None:
    """Analyse frames of noise as an analyser does, and forget the results.

    Parameters
    ----------
    engine : Engine
        Loaded for `expected_tile`.
    answers : Answers or ParticleAnswers
        Nobody else's: they remember.

    Raises
    ------
    BackendError
        If any step fails on the device.
    """
    with engine.device.guard("warming up"):
        frames = list(_prepared(engine.device, config, networks))
        frame = FrameAssembly(frames[-1])
        output = _with_something_to_find(_computed(engine, frame, config), config, networks, engine.device.xp)
        found = answers.find(output, config.analysis.batch_frames, engine.device.xp)
        for tile in frame.tiles:
            frame.put(tile, output, 0, found[0])
        result = answers.answer(frame)
        sizes_px = config.view.size_px, _BINNED_PX
        views = [make_view(f, frame.denoised, result, size) for f in frames for size in sizes_px]
        if config.analysis.followed_apart:
            unfollowed_of(frame, result, views[-1])


def _expected(config: RunConfig, networks: AnyNetworks) -> tuple[tuple[int, int], float]:
    """Return shape (height, width) and pixel size [Å] of the frames; of unfit ones, those of others."""
    pixel_size_A = config.source.pixel_size_A or networks.pixel_size_A
    shape = config.source.frame_px or _USUAL_PX
    if unfit_size(shape, pixel_size_A, networks.pixel_size_A):
        return _USUAL_PX, networks.pixel_size_A
    return shape, pixel_size_A


def _prepared(device: Device, config: RunConfig, networks: AnyNetworks) -> Iterator[PreparedFrame]:
    """Yield a frame of each type of pixel, with and without dead ones; the last two are as is expected."""
    shape, pixel_size_A = _expected(config, networks)
    target_A = networks.pixel_size_A
    yield prepare(_task(_SMALL_PX, np.uint16), _OTHER_PIXEL * target_A, target_A, device)
    for dtype in _OTHER_TYPES:
        for dead in (True, False):
            yield prepare(_task(_SMALL_PX, dtype, dead), target_A, target_A, device)
    steadier = Steadier.of(config.analysis) if config.analysis.alone else None
    for dead in (True, False):
        prepared = prepare(_task(shape, np.uint16, dead), pixel_size_A, target_A, device)
        yield prepared if steadier is None else steadier.steady(prepared)


def _task(shape: tuple[int, int], dtype: type[np.unsignedinteger[Any]], dead: bool = False) -> Task:
    image = np.random.default_rng(1).integers(*_COUNTS, shape, dtype)
    if dead:
        image[shape[0] // 2, shape[1] // 2] = np.iinfo(dtype).max
    header = FrameHeader(SeriesKey(0), 0, shape, image.dtype, Compression.NONE)
    return Task(Frame(header, memoryview(image.tobytes())), 0.0, None, None)


def _computed(engine: Engine, frame: FrameAssembly, config: RunConfig) -> NetworkOutput:
    """Return the answer to a batch full of the frame's first tile."""
    engine.start([Slot(frame, frame.tiles[0])] * config.analysis.batch_frames)
    _, answer = engine.finish()
    if isinstance(answer, BackendError):
        raise answer
    return answer


def _with_something_to_find(
    output: NetworkOutput, config: RunConfig, networks: AnyNetworks, xp: Any
) -> NetworkOutput:
    """Return the answer with columns, or a particle: of what finds nothing half is left out."""
    height, width = output.denoised.shape[1:]
    y, x = np.ogrid[:height, :width]
    if isinstance(networks, ParticleNetworks):
        radius_A = 5 * sqrt(np.prod(config.analysis.particle_size_nm))
        inside = np.hypot(y - height / 2, x - width / 2) * networks.pixel_size_A < radius_A
        return replace(output, denoised=_each(1 + _PARTICLE_A * networks.pedestal_per_A * inside, output, xp))
    waves = np.cos(2 * np.pi * y / _SPACING_PX) * np.cos(2 * np.pi * x / _SPACING_PX)
    return replace(output, column_probability=_each(waves.clip(0.0) ** _COLUMN_POWER, output, xp))


def _each(image: NDArray[np.float64], output: NetworkOutput, xp: Any) -> Any:
    """Return an image (H, W) as that of every frame of a batch, (N, H, W) float32, where the answer lies."""
    batch = np.broadcast_to(image.astype(np.float32), output.denoised.shape)
    return xp.asarray(np.ascontiguousarray(batch))
