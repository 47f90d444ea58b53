"""Capturing a batch's work as a CUDA graph, and checking that the graph does it.

A graph starts all kernels of both networks at the price of one. It is frozen: addresses and shapes are those
of the capture.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.backends.cuda_memory import BatchBuffers
from streamer.errors import BackendError

__all__ = ["capture"]

_NAN_BYTE = 0xFF  # four of them are a NaN


def capture(cupy: Any, enqueue: Callable[[], None], stream: Any, buffers: BatchBuffers) -> Any:
    """Capture what `enqueue` puts into `stream`, as a graph that was seen to write every output.

    TensorRT allocates and loads on its first run, which a capture does not allow: one run goes before. A
    graph may come out empty without any error (an engine on another device): its outputs are overwritten with
    NaN, the graph is launched, and the NaN must be gone.

    Raises
    ------
    BackendError
        If nothing was captured.
    """
    enqueue()
    stream.synchronize()
    graph = _captured(enqueue, stream)
    for output in buffers.outputs.values():
        output.data.memset_async(_NAN_BYTE, output.nbytes, stream)
    graph.launch(stream)
    stream.synchronize()
    silent = [name for name, output in buffers.outputs.items() if bool(cupy.isnan(output).any())]
    if silent:
        raise BackendError(
            f"the captured CUDA graph is empty: it does not compute {', '.join(silent)}; the engine may"
            " have been loaded on another GPU"
        )
    return graph


def _captured(enqueue: Callable[[], None], stream: Any) -> Any:
    stream.begin_capture()
    try:
        enqueue()
    except BaseException:
        with suppress(RuntimeError):  # the capture is void; the first error is the one to tell
            stream.end_capture()
        raise
    return stream.end_capture()
