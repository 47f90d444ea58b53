"""Both networks in one engine instead of two that follow one another: whether TensorRT makes more of that.

The program runs two engines in one CUDA graph. If ``one_engine`` is the faster in ``results/gpu.json``, that
is worth changing.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from benchmarks.gpu_parts import engine_alone, rate
from pipeline.backends import BatchShape
from pipeline.backends.tensorrt_backend import TensorRtBackend
from pipeline.networks import INPUT_NAME, Networks, read_header

__all__ = ["OneNetwork", "fused", "one_engine"]


@dataclass(frozen=True, slots=True)
class OneFile:
    """A network with the outputs of both, in the place of `pipeline.networks.NetworkFile`."""

    path: Path
    sha256: str
    channels: int
    output_names: tuple[str, ...]
    input_name: str = INPUT_NAME
    extra_channels: int = 0

    @property
    def own_channels(self) -> int:
        """It looks at all channels."""
        return self.channels


@dataclass(frozen=True, slots=True)
class OneNetwork:
    """That network alone, in the place of `pipeline.networks.Networks`."""

    per_frame: tuple[OneFile]
    channels: int
    max_count: int
    sha256: dict[str, str]
    shapes: None = None


def fused(networks: Networks, folder: Path) -> OneNetwork:
    """Write both networks into one file: one input, the outputs of both."""
    model, other = (onnx.load(network.path) for network in networks.per_frame)
    other = onnx.compose.add_prefix(other, "heights/", rename_inputs=False, rename_outputs=False)
    model.graph.node.extend(other.graph.node)
    model.graph.initializer.extend(other.graph.initializer)
    model.graph.output.extend(other.graph.output)
    onnx.checker.check_model(model)
    path = folder / "both.onnx"
    onnx.save(model, path)
    header, sha256 = read_header(path)
    file = OneFile(path, sha256, networks.channels, tuple(tensor.name for tensor in header.outputs))
    return OneNetwork((file,), networks.channels, networks.max_count, {path.name: sha256})


def one_engine(networks: Networks, shape: BatchShape, seconds: float) -> dict[str, float] | None:
    """Return what `benchmarks.gpu_parts.rate` says of that engine alone; it is built or from the cache."""
    with TemporaryDirectory() as folder:
        both = fused(networks, Path(folder))
        with closing(TensorRtBackend(both)) as backend:  # type: ignore[arg-type]
            backend.load(shape)
            step = engine_alone(backend)
            return rate(step, shape.frames, seconds) if step else None
