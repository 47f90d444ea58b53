"""One network's engine, ready to be put into a stream."""

from collections.abc import Mapping
from typing import Any

from pipeline.backends.protocol import BatchShape
from pipeline.backends.tensorrt_build import input_shape
from pipeline.backends.tensorrt_inspect import check_precision
from pipeline.particle_networks import AnyFile
from streamer.errors import BackendError

__all__ = ["NetworkRunner"]


class NetworkRunner:
    """An engine with its execution context, for one shape.

    Parameters
    ----------
    trt : module
        TensorRT.
    engine : object
        An `ICudaEngine`; it is held as long as the context.
    network : NetworkFile or ShapeFile
        What the engine was built of.
    shape : BatchShape
    precision : str
        What the engine is said to compute in; it is checked.

    Raises
    ------
    BackendError
        If the engine is of another network, shape or precision.
    """

    def __init__(self, trt: Any, engine: Any, network: AnyFile, shape: BatchShape, precision: str) -> None:
        self._name = network.path.name
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BackendError(
                f"TensorRT has no memory for the engine of {self._name}; lower --batch, or free the GPU of"
                " other programs"
            )
        self._input, self.outputs = network.input_name, network.output_names
        self._check_tensors(trt)
        if not self._context.set_input_shape(self._input, input_shape(network, shape)):
            raise BackendError(f"the engine of {self._name} does not take {input_shape(network, shape)}")
        check_precision(trt, engine, self._context, self._name, precision)

    def output_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an output."""
        return tuple(self._context.get_tensor_shape(name))

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Put the network into `stream` (a handle), reading and writing at these addresses of the device.

        Raises
        ------
        BackendError
            If TensorRT refuses; it says so by its return value alone.
        """
        for name in (self._input, *self.outputs):
            if not self._context.set_tensor_address(name, addresses[name]):
                raise BackendError(f"TensorRT refused the address of {name} for the engine of {self._name}")
        if not self._context.execute_async_v3(stream):
            raise BackendError(f"TensorRT did not start the engine of {self._name} on a batch")

    def _check_tensors(self, trt: Any) -> None:
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if sorted(names) != sorted((self._input, *self.outputs)):
            raise BackendError(
                f"the engine of {self._name} has the tensors {', '.join(names)}, expected"
                f" {', '.join((self._input, *self.outputs))}"
            )
        for name in names:
            if (kind := self._engine.get_tensor_dtype(name)) != trt.DataType.FLOAT:
                raise BackendError(f"{name} of the engine of {self._name} is {kind}, expected float32")
