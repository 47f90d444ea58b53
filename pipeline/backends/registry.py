"""From a backend's name to the backend; an engine is imported only when it is asked for."""

from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.backends.protocol import Backend
from pipeline.particle_networks import AnyNetworks
from streamer.errors import BackendError, UsageError

__all__ = ["BACKENDS", "make_backend"]

BACKENDS = {
    "openvino": "openvino_backend:OpenVinoBackend",
    "tensorrt": "tensorrt_backend:TensorRtBackend",
    "torch": "torch_backend:TorchBackend",
    "null": "null_backend:NullBackend",
}
"""Module and class of each backend, in this package."""


def make_backend(
    name: str,
    networks: AnyNetworks,
    threads: int = 0,
    precision: str = "",
    engines: Path | None = None,
    on_device: bool = True,
    gpu: int = 0,
) -> Backend:
    """Make the backend of this name; nothing is compiled yet.

    Parameters
    ----------
    name : str
        One of `BACKENDS`.
    networks : Networks or ParticleNetworks
    threads : int
        CPU threads of the engine; 0: its own choice.
    precision : str
        ``f16``, ``bf16``, ``f32``, or ``i8`` (OpenVINO's alone); empty: the engine's own choice.
    engines : pathlib.Path or None
        Where TensorRT keeps what it has built; None: the user's cache.
    on_device : bool
        With TensorRT: whether frames are prepared and columns found on the GPU.
    gpu : int
        Which CUDA device, where one is used.

    Raises
    ------
    UsageError
        If there is no backend of this name.
    BackendError
        If its engine is not installed, or does not know the precision.
    """
    if name not in BACKENDS:
        raise UsageError(f"no backend {name!r}; choose auto or one of {', '.join(BACKENDS)}")
    if precision == "i8" and name not in ("openvino", "null"):
        raise BackendError(f"the {name} backend does not compute in i8; choose f16, bf16 or f32, or openvino")
    module, _, kind = BACKENDS[name].partition(":")
    more: dict[str, Any] = {"engines": engines, "on_device": on_device} if name == "tensorrt" else {}
    if name in ("tensorrt", "torch"):
        more["gpu"] = gpu
    try:
        factory = getattr(import_module(f"pipeline.backends.{module}"), kind)
        backend: Backend = factory(networks, threads, precision, **more)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"the {name} backend needs {error.name}, which is not installed here; install it, or choose"
            f" another backend (openvino is always there)"
        ) from error
    return backend
