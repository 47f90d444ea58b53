"""Engines from the cache, built where there is none or it does not load."""

import logging
from pathlib import Path
from typing import Any

from pipeline.backends.protocol import BatchShape
from pipeline.backends.tensorrt_api import made, refuse_unknown_precision
from pipeline.backends.tensorrt_build import Progress, build_engine
from pipeline.backends.tensorrt_cache import EngineKey, read_engine, write_engine
from pipeline.backends.tensorrt_turns import turn_to_build
from pipeline.particle_networks import AnyFile
from streamer.errors import BackendError

__all__ = ["Engines"]

_log = logging.getLogger(__name__)


class Engines:
    """Gives engines for networks, shapes and precisions on one GPU.

    Parameters
    ----------
    trt : module
        TensorRT.
    log : object
        What `tensorrt_api.make_log` made.
    gpu : tuple of str
        The device's name and compute capability.
    folder : pathlib.Path
        The cache.
    say : callable, optional
        Takes lines about builds; the log by default.
    """

    def __init__(
        self, trt: Any, log: Any, gpu: tuple[str, str], folder: Path, say: Progress | None = None
    ) -> None:
        self._trt, self._log, self.gpu, self._folder = trt, log, gpu, folder
        self._say = say or _log.warning  # shown without any configuration: a build takes minutes
        # Where CUDA does not answer this crashes the process: the caller has asked the device for its name.
        self._runtime = made(lambda: trt.Runtime(log), log, "TensorRT does not start")

    def get(self, network: AnyFile, shape: BatchShape, precision: str) -> Any:
        """Return the `ICudaEngine` of a network; waits while another process builds it.

        Raises
        ------
        BackendError
            If it cannot be built, or a fresh one does not load.
        """
        refuse_unknown_precision(self._trt, precision)
        key = EngineKey.of(network, shape, precision, self._trt.__version__, self.gpu)
        engine = self._kept(key)
        if engine is None:
            with turn_to_build(self._folder / key.file_name, self._say):
                engine = self._kept(key)
                if engine is None:
                    engine = self._built(key, network, shape, precision)
        return engine

    def path(self, network: AnyFile, shape: BatchShape, precision: str) -> Path:
        """Return where the engine of a network is kept."""
        key = EngineKey.of(network, shape, precision, self._trt.__version__, self.gpu)
        return self._folder / key.file_name

    def _kept(self, key: EngineKey) -> Any:
        """Return the engine in the cache; None if there is none, or it does not load."""
        plan = read_engine(self._folder, key)
        return self._runtime.deserialize_cuda_engine(plan) if plan else None

    def _built(self, key: EngineKey, network: AnyFile, shape: BatchShape, precision: str) -> Any:
        if (self._folder / key.file_name).exists():
            self._say(f"the cached engine {key.file_name} is damaged or does not load; it is built again")
        plan = build_engine(self._trt, self._log, network, shape, precision, self._say)
        self._keep(key, plan)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(
                f"the engine just built of {network.path.name} does not load: {self._log.reason}"
            )
        return engine

    def _keep(self, key: EngineKey, plan: bytes) -> None:
        """Write the cache; a full disk costs the next run its minutes, not this one its engine."""
        try:
            write_engine(self._folder, key, plan)
        except OSError as error:
            self._say(
                f"the engine cannot be kept in {self._folder}: {error.strerror}; it is used all the same"
            )
