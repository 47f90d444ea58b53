"""The shape network with TensorRT: patches in one shape of batch, in a stream of its own, waited for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.protocol import BatchShape
from pipeline.backends.tensorrt_engines import Engines
from pipeline.backends.tensorrt_runner import NetworkRunner
from pipeline.particle_networks import PATCH_PX, ShapeFile

__all__ = ["PATCH_SHAPE", "ShapeRunner"]

PATCHES = 8
"""Patches of a batch; a smaller one is filled up."""
PATCH_SHAPE = BatchShape(PATCHES, PATCH_PX, PATCH_PX)


class ShapeRunner:
    """Runs the shape network; makes its engine, and owns its buffers on the device.

    Parameters
    ----------
    trt, cupy : module
        TensorRT and CuPy.
    engines : Engines
    shapes : ShapeFile
    precision : str
        Of the engine.
    """

    def __init__(self, trt: Any, cupy: Any, engines: Engines, shapes: ShapeFile, precision: str) -> None:
        self._cupy = cupy
        engine = engines.get(shapes, PATCH_SHAPE, precision)
        self._runner = NetworkRunner(trt, engine, shapes, PATCH_SHAPE, precision)
        (output,) = self._runner.outputs
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._there = cupy.cuda.Event(block=True, disable_timing=True)
        self._patches = cupy.zeros((PATCHES, 1, PATCH_PX, PATCH_PX), cupy.float32)
        self._logits = cupy.zeros(self._runner.output_shape(output), cupy.float32)
        cupy.cuda.get_current_stream().synchronize()  # the zeros are written
        self._addresses = {shapes.input_name: self._patches.data.ptr, output: self._logits.data.ptr}

    def __call__(self, patches: Any) -> NDArray[np.float32]:
        """Return the logits of `patches` (n, 1, 128, 128), of the host or the device; on the host."""
        parts = [self._answer(patches[i : i + PATCHES]) for i in range(0, len(patches), PATCHES)]
        return np.concatenate(parts)

    def _answer(self, patches: Any) -> NDArray[np.float32]:
        if isinstance(patches, np.ndarray):
            batch = np.zeros(self._patches.shape, np.float32)
            batch[: len(patches)] = patches
            self._patches.set(batch, stream=self._stream)
        else:
            batch = self._cupy.zeros(self._patches.shape, self._cupy.float32)
            batch[: len(patches)] = patches
            self._cupy.cuda.get_current_stream().record(self._there)
            self._stream.wait_event(self._there)
            self._patches.data.copy_from_device_async(batch.data, batch.nbytes, self._stream)
        self._runner.enqueue(self._addresses, self._stream.ptr)
        logits = np.empty(self._logits.shape, np.float32)
        self._logits.get(stream=self._stream, out=logits)
        return logits[: len(patches)]
