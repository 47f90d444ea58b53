"""A network in ONNX's opset 17, the newest that every TensorRT reads as it is meant.

Opset 18 made the axes of ``ReduceMean`` and its like an input. TensorRT 8.6 does not look at that input and
reduces over all axes, the batch too, without a word (NVIDIA/TensorRT issue 3467: a check was announced for
10.0; onnx-tensorrt reads it in 10.6). In opset 17 they are an attribute, which every version reads.
"""

from streamer.errors import BackendError

__all__ = ["in_readable_opset"]

_OPSET = 17


def in_readable_opset(onnx_bytes: bytes, name: str) -> bytes:
    """Return the model in opset 17, or as it is where its opset is not newer.

    Parameters
    ----------
    onnx_bytes : bytes
    name : str
        Of the network, for the message.

    Raises
    ------
    BackendError
        If it has an operator that opset 17 cannot express.
    ModuleNotFoundError
        If ``onnx`` is not installed.
    """
    import onnx
    from onnx import version_converter

    model = onnx.load_from_string(onnx_bytes)
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) <= _OPSET:
        return onnx_bytes
    try:
        older = version_converter.convert_version(model, _OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        raise BackendError(f"{name} cannot be written in ONNX's opset {_OPSET}: {error}") from error
    return bytes(older.SerializeToString())
