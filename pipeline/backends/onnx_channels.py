"""A network that is given more channels than it needs: the ONNX model itself is told to look at the first."""

import numpy as np

from pipeline.networks import INPUT_NAME

__all__ = ["looking_at_first"]

_OWN = "own_frames"


def looking_at_first(onnx_bytes: bytes, extra_channels: int) -> bytes:
    """Return the model with an input that has so many channels more, behind those it uses.

    Raises
    ------
    ModuleNotFoundError
        If ``onnx`` is not installed.
    """
    if not extra_channels:
        return onnx_bytes
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(onnx_bytes)
    (batch,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = [_OWN if name == INPUT_NAME else name for name in node.input]
    channels = batch.type.tensor_type.shape.dim[1]
    limits = {"first_channel": 0, "own_channels": channels.dim_value, "channel_axis": 1}
    model.graph.initializer.extend(numpy_helper.from_array(np.array([n]), name) for name, n in limits.items())
    model.graph.node.insert(0, helper.make_node("Slice", [INPUT_NAME, *limits], [_OWN]))
    channels.dim_value += extra_channels
    return bytes(model.SerializeToString())
