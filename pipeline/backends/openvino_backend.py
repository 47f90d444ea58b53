"""OpenVINO: the engine for CPUs, part of every installation.

Both networks of a batch are started together and share the threads; while they compute, no thread of ours is
needed, and the interpreter is free. Two sets of requests take turns, so that the answer to one batch can be
read while the next is computed. Choices and their measurements: docs/analysis.md.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.checks import check_batch, check_collect, check_output, check_shapes
from pipeline.backends.protocol import BatchShape, NetworkOutput
from pipeline.backends.quiet_openvino import ov
from pipeline.networks import INPUT_NAME, OUTPUT_NAMES, NetworkFile, Networks
from streamer.errors import BackendError
from streamer.records import AnalyserInfo

__all__ = ["OpenVinoBackend"]

_DEVICE = "CPU"


@dataclass(frozen=True, slots=True)
class _Requests:
    """One batch's requests and, as views of their memory, the answer."""

    denoise: Any
    heights: Any
    output: NetworkOutput


class OpenVinoBackend:
    """Runs the ONNX files on the CPU.

    Parameters
    ----------
    networks : Networks
    threads : int
        Threads of the engine; 0: one a core.
    precision : str
        ``bf16`` or ``f32``; empty: bf16 where the CPU computes in it, else f32.
    """

    def __init__(self, networks: Networks, threads: int = 0, precision: str = "") -> None:
        self._networks = networks
        self._threads = threads
        self._core = ov.Core()
        self._precision = precision or self._fastest_precision()
        self._shape: BatchShape | None = None
        self._turns: list[_Requests] = []
        self._pending: _Requests | None = None
        self._frames: NDArray[np.float32] | None = None

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Compile both networks and run each set of requests once."""
        self.close()
        try:
            compiled = [self._compile(n, shape) for n in (self._networks.denoise, self._networks.heights)]
            self._turns = [_requests(*compiled) for _ in range(2)]
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load the networks for {shape}: {error}") from error
        self._shape = shape
        vacuum = np.zeros((shape.frames, self._networks.channels, shape.height, shape.width), np.float32)
        for _ in self._turns:
            self.submit(vacuum)
            check_shapes(self.collect(), shape, self._networks.max_count)
        device = str(self._core.get_property(_DEVICE, "FULL_DEVICE_NAME")).strip()
        return AnalyserInfo("openvino", device, self._precision, ov.__version__, self._networks.sha256)

    def submit(self, frames: NDArray[np.float32]) -> None:
        """Start both networks on `frames`, in place."""
        check_batch(frames, self._shape, self._networks.channels, self._pending is not None)
        requests = self._turns[0]
        try:
            for request in (requests.heights, requests.denoise):
                request.set_input_tensor(ov.Tensor(frames, shared_memory=True))  # holds no reference
                request.start_async()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO refused a batch: {error}") from error
        self._pending, self._frames = requests, frames

    def collect(self) -> NetworkOutput:
        """Wait for both networks."""
        check_collect(self._pending is not None)
        requests, self._pending = self._turns[0], None
        self._turns.reverse()
        try:
            requests.heights.wait()
            requests.denoise.wait()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed on a batch: {error}") from error
        return check_output(requests.output)

    def close(self) -> None:
        """Wait for what still runs and drop the compiled networks."""
        if self._pending is not None:
            with suppress(RuntimeError):
                self._pending.heights.wait()
                self._pending.denoise.wait()
        self._pending = self._shape = self._frames = None
        self._turns = []

    def _compile(self, network: NetworkFile, shape: BatchShape) -> Any:
        model = self._core.read_model(network.path)
        model.reshape({INPUT_NAME: [shape.frames, network.channels, shape.height, shape.width]})
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self._precision}
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = str(self._threads)
        return self._core.compile_model(model, _DEVICE, options)

    def _fastest_precision(self) -> str:
        capabilities = self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        return "bf16" if "BF16" in capabilities else "f32"


def _requests(denoise: Any, heights: Any) -> _Requests:
    requests = denoise.create_infer_request(), heights.create_infer_request()
    (denoised,) = (requests[0].get_tensor(name).data for name in OUTPUT_NAMES["denoise"])
    probability, logits = (requests[1].get_tensor(name).data for name in OUTPUT_NAMES["heights"])
    return _Requests(*requests, NetworkOutput(denoised[:, 0], probability[:, 0], logits))
