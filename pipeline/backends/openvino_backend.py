"""OpenVINO: the engine for CPUs, part of every installation.

Each network is compiled for two streams of half the cores, and all networks of a batch are started together:
up to four requests share the cores, each without waiting for a thread on another core. While they compute, no
thread of ours is needed, and the interpreter is free. One set of requests more than may be in flight takes
turns, so that an answer can be read meanwhile. The measurements behind this: docs/analysis.md.

The shape network sees one patch at a time, as there may be any number of them.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.checks import (
    check_batch,
    check_collect,
    check_logits,
    check_output,
    check_shapes,
    expect_shapes,
)
from pipeline.backends.device import HOST
from pipeline.backends.openvino_precision import fastest_precision
from pipeline.backends.protocol import IN_FLIGHT, BatchShape, NetworkOutput
from pipeline.backends.quiet_openvino import ov, shared_core
from pipeline.networks import INPUT_NAME, OUTPUT_NAMES, NetworkFile
from pipeline.particle_networks import PATCH_PX, AnyNetworks
from streamer.errors import BackendError
from streamer.records import AnalyserInfo

__all__ = ["OpenVinoBackend"]

_DEVICE = "CPU"
_STREAMS = 2  # of each network


@dataclass(frozen=True, slots=True)
class _Requests:
    """One batch's requests in the order they are started, the longest first; as views of them, the answer."""

    networks: tuple[Any, ...]
    output: NetworkOutput


class OpenVinoBackend:
    """Runs the ONNX files on the CPU.

    Parameters
    ----------
    networks : Networks or ParticleNetworks
    threads : int
        Threads of the engine; 0: one a core.
    precision : str
        ``bf16`` or ``f32``; empty: whichever this processor computes in faster. ``i8``: of networks with
        convolutions in whole numbers, what is not in these, in the faster of both.
    """

    def __init__(self, networks: AnyNetworks, threads: int = 0, precision: str = "") -> None:
        self.device = HOST
        if precision == "f16":
            raise BackendError(
                "OpenVINO computes in i8, bf16 or f32 on a CPU, not in f16; choose one of these"
            )
        self._networks = networks
        self._threads = threads
        self._core = shared_core()
        self._precision = precision or fastest_precision()
        self._computed_in = fastest_precision() if precision == "i8" else self._precision
        self._shape: BatchShape | None = None
        self._shapes: Any = None
        self._turns: deque[_Requests] = deque()
        self._in_flight: deque[tuple[_Requests, NDArray[np.float32]]] = deque()

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Compile the networks and run each set of requests once."""
        self.close()
        try:
            compiled = [self._compile(network, shape) for network in self._networks.per_frame]
            self._turns.extend(_requests(*compiled) for _ in range(IN_FLIGHT + 1))
            self._shapes = self._shape_request()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load the networks for {shape}: {error}") from error
        self._shape = shape
        vacuum = np.zeros((shape.frames, self._networks.channels, shape.height, shape.width), np.float32)
        for _ in range(len(self._turns)):
            self.submit(vacuum)
            check_shapes(self.collect(), shape, self._networks.max_count)
        device = str(self._core.get_property(_DEVICE, "FULL_DEVICE_NAME")).strip()
        return AnalyserInfo("openvino", device, self._precision, ov.__version__, self._networks.sha256)

    def submit(self, frames: NDArray[np.float32]) -> None:
        """Start the networks on `frames`, in place."""
        check_batch(frames, self._shape, self._networks.channels, len(self._in_flight))
        requests = self._turns[0]
        try:
            for request in requests.networks:
                request.set_input_tensor(ov.Tensor(frames, shared_memory=True))  # holds no reference
                request.start_async()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO refused a batch: {error}") from error
        self._turns.rotate(-1)
        self._in_flight.append((requests, frames))

    def ready(self) -> bool:
        """Look at the oldest batch's requests."""
        if not self._in_flight:
            return False
        with suppress(RuntimeError):  # its error is `collect`'s to tell
            return all(request.wait_for(0) for request in self._in_flight[0][0].networks)
        return True

    def collect(self) -> NetworkOutput:
        """Wait for the networks."""
        check_collect(len(self._in_flight))
        requests, _ = self._in_flight.popleft()
        try:
            for request in requests.networks:
                request.wait()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed on a batch: {error}") from error
        return check_output(requests.output)

    def classify(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the shape network on one patch after the other."""
        shapes = expect_shapes(self._networks.shapes)
        if self._shapes is None:
            raise BackendError("patches came before the networks were loaded; call load() first")
        try:
            answers = [self._shapes.infer([patch[None]])[0].copy() for patch in patches]
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed on a patch: {error}") from error
        return check_logits(np.concatenate(answers), len(patches), shapes)

    def close(self) -> None:
        """Wait for what still runs and drop the compiled networks."""
        while self._in_flight:
            requests, _ = self._in_flight.popleft()
            for request in requests.networks:
                with suppress(RuntimeError):
                    request.wait()
        self._shape = self._shapes = None
        self._turns.clear()

    def _compile(self, network: NetworkFile, shape: BatchShape) -> Any:
        model = self._core.read_model(network.path)
        model.reshape({INPUT_NAME: [shape.frames, network.own_channels, shape.height, shape.width]})
        if network.extra_channels:
            _look_at_first(model, network.channels)
        return self._core.compile_model(model, _DEVICE, self._options(_STREAMS))

    def _shape_request(self) -> Any:
        shapes = self._networks.shapes
        if shapes is None:
            return None
        model = self._core.read_model(shapes.path)
        model.reshape({shapes.input_name: [1, 1, PATCH_PX, PATCH_PX]})
        return self._core.compile_model(model, _DEVICE, self._options(1)).create_infer_request()

    def _options(self, streams: int) -> dict[str, str]:
        options = {"NUM_STREAMS": str(streams), "INFERENCE_PRECISION_HINT": self._computed_in}
        return options | ({"INFERENCE_NUM_THREADS": str(self._threads)} if self._threads else {})


def _look_at_first(model: Any, channels: int) -> None:
    """Let a model take batches of so many channels, and use the first of them."""
    op = ov.opset13
    (own,) = model.get_parameters()
    frames, own_channels, height, width = own.get_output_shape(0)
    batch = op.parameter([frames, channels, height, width], np.float32)
    batch.output(0).set_names({INPUT_NAME})
    first, stop, step, axis = (np.array([n]) for n in (0, own_channels, 1, 1))
    sliced = op.slice(batch, first, stop, step, axis)
    for user in own.output(0).get_target_inputs():
        user.replace_source_output(sliced.output(0))
    model.add_parameters([batch])
    model.remove_parameter(own)
    model.validate_nodes_and_infer_types()


def _requests(denoise: Any, heights: Any = None) -> _Requests:
    """Make one set; networks that find no columns leave out `heights`."""
    request = denoise.create_infer_request()
    (denoised,) = (request.get_tensor(name).data for name in OUTPUT_NAMES["denoise"])
    if heights is None:
        return _Requests((request,), NetworkOutput(denoised[:, 0]))
    counting = heights.create_infer_request()
    probability, logits = (counting.get_tensor(name).data for name in OUTPUT_NAMES["heights"])
    return _Requests((counting, request), NetworkOutput(denoised[:, 0], probability[:, 0], logits))
