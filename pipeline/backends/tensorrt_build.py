"""From an ONNX network to a TensorRT engine: parse, set the profile, build. It takes minutes."""

import logging
import time
from collections.abc import Callable
from typing import Any

from pipeline.backends.onnx_channels import looking_at_first
from pipeline.backends.onnx_opset import in_readable_opset
from pipeline.backends.onnx_precision import in_precision
from pipeline.backends.protocol import BatchShape
from pipeline.backends.tensorrt_api import (
    apply_precision,
    apply_tactics,
    made,
    network_flags,
    report_progress,
)
from pipeline.particle_networks import AnyFile
from streamer.errors import BackendError

__all__ = ["Progress", "build_engine", "input_shape"]

Progress = Callable[[str], None]
"""Takes a line that says how far the build is."""

_EVERY_S = 5.0
_log = logging.getLogger(__name__)


def build_engine(
    trt: Any, log: Any, network: AnyFile, shape: BatchShape, precision: str, say: Progress
) -> bytes:
    """Build the engine of one network for one shape.

    Parameters
    ----------
    trt : module
        TensorRT.
    log : object
        What `tensorrt_api.make_log` made.
    network : NetworkFile or ShapeFile
    shape : BatchShape
        The only shape the engine will accept: smallest, best and largest of its profile.
    precision : str
        ``f16``, ``bf16`` or ``f32``.
    say : callable
        Gets a line at the start, every few seconds where TensorRT tells, and at the end.

    Returns
    -------
    bytes
        The serialised engine.

    Raises
    ------
    BackendError
        If the network does not parse or the engine cannot be built; the text has TensorRT's own reasons.
    """
    name = network.path.name
    builder = made(lambda: trt.Builder(log), log, f"TensorRT cannot build engines here ({name})")
    definition = made(lambda: builder.create_network(network_flags(trt)), log, f"no network for {name}")
    parser = trt.OnnxParser(definition, log)
    model = in_readable_opset(looking_at_first(network.path.read_bytes(), network.extra_channels), name)
    if not parser.parse(in_precision(model, precision)):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BackendError(f"TensorRT {trt.__version__} cannot read {name}: {reasons}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the precision can be checked
    apply_tactics(trt, config)
    apply_precision(trt, definition, config, precision)
    profile = builder.create_optimization_profile()
    only = input_shape(network, shape)
    profile.set_shape(network.input_name, only, only, only)
    config.add_optimization_profile(profile)
    started = time.monotonic()
    say(f"building the {precision} engine of {name} for {only}: this takes minutes, once")
    report_progress(trt, config, _Throttled(name, say))
    plan = made(
        lambda: builder.build_serialized_network(definition, config), log, f"no engine was built of {name}"
    )
    say(f"built the engine of {name} in {time.monotonic() - started:.0f} s")
    return bytes(plan)


def input_shape(network: AnyFile, shape: BatchShape) -> tuple[int, int, int, int]:
    """Return the shape (N, C, H, W) of the network's input."""
    return shape.frames, network.channels, shape.height, shape.width


class _Throttled:
    """Says at most every five seconds how far the build is."""

    def __init__(self, name: str, say: Progress) -> None:
        self._name, self._say = name, say
        self._next_s = time.monotonic() + _EVERY_S

    def __call__(self, phase: str, step: int, steps: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _EVERY_S
            self._say(f"building the engine of {self._name}: {phase}, {step} of {steps}")
