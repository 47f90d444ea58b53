"""What an ONNX file says about itself, read without the ``onnx`` package.

The runtime needs the names and shapes of inputs and outputs and the metadata before it hands a file to any
engine, and each engine would show them differently (TensorRT not at all). A file is one Protocol Buffers
message; only the fields below are entered, the weights are stepped over. Field numbers are those of
``onnx/onnx.proto`` (ONNX 1.x; they never change).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from streamer.errors import BackendError

__all__ = ["OnnxHeader", "TensorInfo", "read_onnx_header"]

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_INPUT, _GRAPH_OUTPUT = 11, 12
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_DIMENSION, _DIMENSION_VALUE = 1, 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_FLOAT = 1

Field: TypeAlias = tuple[int, int | memoryview]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of the graph; a free dimension is None."""

    name: str
    is_float32: bool
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """Inputs and outputs in the file's order, and the metadata."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]


def read_onnx_header(data: bytes, name: str) -> OnnxHeader:
    """Read the header of the ONNX file with the content `data`; `name` is for messages.

    Raises
    ------
    BackendError
        If the bytes are not an ONNX model.
    """
    try:
        model = list(_fields(memoryview(data)))
        graph = _inside(_parts(model, _MODEL_GRAPH))
        return OnnxHeader(
            tuple(_tensor(part) for part in _parts(graph, _GRAPH_INPUT)),
            tuple(_tensor(part) for part in _parts(graph, _GRAPH_OUTPUT)),
            dict(_entry(part) for part in _parts(model, _MODEL_METADATA)),
        )
    except (IndexError, ValueError) as error:
        raise BackendError(f"{name} is not an ONNX model ({error}); export it again") from error


def _tensor(message: memoryview) -> TensorInfo:
    value = list(_fields(message))
    kind = _inside(_parts(value, _VALUE_TYPE))
    tensor = _inside(_parts(kind, _TYPE_TENSOR))
    shape = _inside(_parts(tensor, _TENSOR_SHAPE))
    return TensorInfo(
        "".join(_text(part) for part in _parts(value, _VALUE_NAME)),
        (_TENSOR_ELEMENT, _FLOAT) in tensor,
        tuple(_dimension(dimension) for dimension in _parts(shape, _SHAPE_DIMENSION)),
    )


def _dimension(message: memoryview) -> int | None:
    values = [v for number, v in _fields(message) if number == _DIMENSION_VALUE and isinstance(v, int)]
    return values[0] if values else None


def _entry(message: memoryview) -> tuple[str, str]:
    fields = list(_fields(message))
    return (
        "".join(_text(part) for part in _parts(fields, _ENTRY_KEY)),
        "".join(_text(part) for part in _parts(fields, _ENTRY_VALUE)),
    )


def _text(part: memoryview) -> str:
    return bytes(part).decode()


def _parts(fields: list[Field], number: int) -> Iterator[memoryview]:
    """Yield the messages and strings among `fields` that have this number."""
    return (value for n, value in fields if n == number and isinstance(value, memoryview))


def _inside(messages: Iterator[memoryview]) -> list[Field]:
    """Return the fields of all `messages` in one list."""
    return [field for message in messages for field in _fields(message)]


def _fields(message: memoryview) -> Iterator[Field]:
    """Yield (number, value) of each field; fixed-width values are stepped over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire_type == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError(f"field {number} ends {at + size - len(message)} bytes beyond the file")
            yield number, message[at : at + size]
            at += size
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire_type}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
