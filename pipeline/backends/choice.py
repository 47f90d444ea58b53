"""Which backend a run gets, and why: what ``auto`` means, and when another one may take over."""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from pipeline.backends.cuda_device import device_count, why_no_device
from pipeline.backends.oriented import OrientedBackend
from pipeline.backends.protocol import Backend
from pipeline.backends.registry import make_backend
from pipeline.particle_networks import AnyNetworks
from streamer.config import AnalysisConfig
from streamer.errors import BackendError
from streamer.records import AnalyserInfo

__all__ = ["candidates", "start_backend"]

_PREFERENCE = ("tensorrt", "torch", "openvino")
_NEEDS = {"tensorrt": ("tensorrt", "cupy", "onnx", "filelock"), "torch": ("torch", "onnx")}

_log = logging.getLogger(__name__)


def start_backend(
    config: AnalysisConfig, networks: AnyNetworks, load: Callable[[Backend], AnalyserInfo], number: int = 1
) -> tuple[Backend, AnalyserInfo]:
    """Make the configured backend and load the networks; the caller closes it.

    Only with ``fallback`` another backend is tried where one cannot be loaded; what happened is then in the
    log, and in the `reason` of what is returned.

    Parameters
    ----------
    config : AnalysisConfig
    networks : Networks or ParticleNetworks
    load : callable
        Loads the networks into a backend.
    number : int
        Which of the run's analysers this is, from 1: on a machine with several GPUs they take turns.

    Raises
    ------
    UsageError
        If there is no backend of the configured name.
    BackendError
        If it cannot be loaded, nor any that may take its place.
    """
    names, reason = candidates(config.backend)
    for name in names:
        try:
            backend, info = _started(name, config, networks, load, number)
        except BackendError as error:
            if not config.fallback or name == names[-1]:
                raise
            _log.warning("%s cannot be used: %s; falling back", name, error)
            reason += f"; {name} failed: {error}"
        else:
            _log.info("%s on %s, %s: %s", info.backend, info.device, info.precision, reason)
            return backend, replace(info, reason=reason)
    raise AssertionError("there is always a candidate")


def candidates(name: str) -> tuple[list[str], str]:
    """Return the names to try, best first, and why the first is the first.

    ``auto`` takes TensorRT where a CUDA device and all packages are there, else PyTorch on the device, else
    OpenVINO. Nothing is imported to find out.
    """
    if name != "auto":
        later = _PREFERENCE[_PREFERENCE.index(name) + 1 :] if name in _PREFERENCE else ()
        return [name, *(n for n in later if not _why_not(n))], f"{name} was asked for"
    against = {n: _why_not(n) for n in _PREFERENCE}
    usable = [n for n in _PREFERENCE if not against[n]]
    better = _PREFERENCE[: _PREFERENCE.index(usable[0])]
    reason = "; ".join(f"{n}: {against[n]}" for n in better)
    return usable, f"auto chose {usable[0]}" + (f" ({reason})" if reason else "")


def _why_not(name: str) -> str:
    """Return why a backend cannot be chosen by itself; empty if it can."""
    if name == "openvino":
        return ""
    missing = [package for package in _NEEDS[name] if find_spec(package) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if reason := why_no_device():
        return reason
    return "this PyTorch is built for CPUs alone" if name == "torch" and not _torch_has_cuda() else ""


def _torch_has_cuda() -> bool:
    """Whether the installed PyTorch has its library for CUDA: on Windows the usual one has not."""
    spec = find_spec("torch")
    folder = Path(spec.origin or "").parent / "lib" if spec is not None else Path()
    return any(folder.glob("*torch_cuda*"))


def _started(
    name: str,
    config: AnalysisConfig,
    networks: AnyNetworks,
    load: Callable[[Backend], AnalyserInfo],
    number: int,
) -> tuple[Backend, AnalyserInfo]:
    folder = Path(config.engines) if config.engines else None
    gpu = config.gpu if config.gpu >= 0 else (number - 1) % max(1, device_count())
    backend = make_backend(name, networks, config.threads, config.precision, folder, config.on_device, gpu)
    if config.orientations > 1:
        backend = OrientedBackend(backend, config.orientations, networks.channels)
    try:
        return backend, load(backend)
    except BaseException:
        with closing(backend):
            raise
