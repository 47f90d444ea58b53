"""Whether an engine really computes in the precision it was asked for.

TensorRT may build in float32 whatever it was told, with a warning at most. Its inspector lists the layers of
the finished engine with the types of their weights, inputs and outputs; how they are spelt depends on the
version ("Half", "Two wide channel vectorized row major FP16 format").
"""

import json
import re
from collections import Counter
from typing import Any

from streamer.errors import BackendError

__all__ = ["check_precision", "layer_types"]

_SPELLINGS = {
    "f16": re.compile(r"\b(half|fp16|float16)\b", re.I),
    "bf16": re.compile(r"\b(bf16|bfloat16)\b", re.I),
    "f32": re.compile(r"\b(float|fp32|float32|tf32)\b", re.I),
}
_WEIGHTED = re.compile(r"conv|gemm|matmul|matrix", re.I)


def check_precision(trt: Any, engine: Any, context: Any, name: str, precision: str) -> None:
    """Compare the layers of an engine with the precision it is named after.

    Raises
    ------
    BackendError
        If no layer computes in it, or most layers with weights compute in another.
    """
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context  # whose shapes are set: else types are not told
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    found = layer_types(text)
    others = found.total() - found[precision]
    if not found[precision] or others > found[precision]:
        kinds = ", ".join(f"{n} in {kind}" for kind, n in found.most_common()) or "none that says its type"
        raise BackendError(
            f"the engine of {name} was asked for in {precision}, but of its layers with weights there are"
            f" {kinds}; refused: choose another precision, or another version of TensorRT"
        )


def layer_types(information: str) -> Counter[str]:
    """Count the layers with weights by the type they compute in.

    Where the inspector names no layer as one with weights (some versions fuse a whole network into layers of
    their own), all layers are counted.
    """
    told = json.loads(information, strict=False)  # the names of fused layers may hold control characters
    layers = [layer for layer in told.get("Layers", []) if isinstance(layer, dict)]
    weighted = [layer for layer in layers if _has_weights(layer)]
    return Counter(kind for layer in weighted or layers if (kind := _type_of(layer)))


def _has_weights(layer: dict[str, Any]) -> bool:
    kinds = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}"
    return "Weights" in layer or _WEIGHTED.search(kinds) is not None


def _type_of(layer: dict[str, Any]) -> str | None:
    """Return a layer's type: its weights', else its inputs', else its outputs'."""
    weights = layer.get("Weights")
    texts = [str(weights.get("Type", ""))] if isinstance(weights, dict) else []
    for side in ("Inputs", "Outputs"):
        texts += [str(t.get("Format/Datatype", "")) for t in layer.get(side, []) if isinstance(t, dict)]
    for text in texts:
        for kind, spelling in _SPELLINGS.items():
            if spelling.search(text):
                return kind
    return None
