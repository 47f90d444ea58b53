"""From a backend's name to the backend; an engine is imported only when it is asked for."""

from importlib import import_module

from pipeline.backends.protocol import Backend
from pipeline.networks import Networks
from streamer.errors import BackendError, UsageError

__all__ = ["BACKENDS", "make_backend"]

BACKENDS = {
    "openvino": "openvino_backend:OpenVinoBackend",
    "tensorrt": "tensorrt_backend:TensorRtBackend",
    "torch": "torch_backend:TorchBackend",
    "null": "null_backend:NullBackend",
}
"""Module and class of each backend, in this package."""

_AUTOMATIC = "openvino"


def make_backend(name: str, networks: Networks, threads: int = 0) -> Backend:
    """Make the backend that the configuration names; nothing is compiled yet.

    Parameters
    ----------
    name : str
        One of `BACKENDS`, or ``auto``: the engine that is part of every installation.
    networks : Networks
    threads : int
        CPU threads of the engine; 0: its own choice.

    Raises
    ------
    UsageError
        If there is no backend of this name.
    BackendError
        If its engine is not installed.
    """
    name = _AUTOMATIC if name == "auto" else name
    if name not in BACKENDS:
        raise UsageError(f"no backend {name!r}; choose auto or one of {', '.join(BACKENDS)}")
    module, _, kind = BACKENDS[name].partition(":")
    try:
        factory = getattr(import_module(f"pipeline.backends.{module}"), kind)
        backend: Backend = factory(networks, threads)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"the {name} backend needs {error.name}, which is not installed here; install it, or choose"
            f" another backend (openvino is always there)"
        ) from error
    return backend
