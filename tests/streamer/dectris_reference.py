"""An independent decoder of Stream V2, written like DECTRIS's own example client."""

from typing import Any

import cbor2
import numpy as np
import pytest

_TYPES = {64: "u1", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8", 85: "<f4"}


def decode(message: bytes) -> Any:
    """Decode a message in full: arrays become numpy arrays."""
    return cbor2.loads(message, tag_hook=_hook)


def _hook(tag: cbor2.CBORTag, immutable: bool) -> Any:
    if tag.tag == 40:
        dimensions, values = tag.value
        return values.reshape(dimensions)
    if tag.tag in _TYPES:
        return np.frombuffer(tag.value, _TYPES[tag.tag])
    if tag.tag == 56500:
        algorithm, item_bytes, encoded = tag.value
        dectris = pytest.importorskip("dectris.compression", reason="it has no wheels")
        return dectris.decompress(encoded, algorithm, elem_size=item_bytes)
    return tag
