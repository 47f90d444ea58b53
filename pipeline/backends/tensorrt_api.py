"""Where TensorRT 8.6, 10 and 11 differ, and what all of them share; nothing else here asks for the version.

=====================  =======================  ==========================  ======================
                       8.6                      10                          11
=====================  =======================  ==========================  ======================
half precision         flag FP16; layers        the model's own types,      the model's own types,
                       must be pinned           flag STRONGLY_TYPED         nothing else exists
bfloat16               unknown                  known                       known
explicit batch         a flag                   the only way                the only way
progress of a build    no                       yes                         yes
kernels of cuBLAS,     must be left out         must be left out            do not exist
cuDNN
=====================  =======================  ==========================  ======================

Every name used here is checked against the bindings of five versions (``tests/pipeline/cuda_api``).
"""

import logging
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

from streamer.errors import BackendError

__all__ = [
    "apply_precision",
    "apply_tactics",
    "import_tensorrt",
    "made",
    "make_log",
    "network_flags",
    "refuse_unknown_precision",
    "report_progress",
]

_OLDEST, _NEWEST = (8, 6), 11
_log = logging.getLogger(__name__)


def import_tensorrt() -> Any:
    """Import TensorRT and check that its version is one this program was written for.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    BackendError
        If its version is another.
    """
    trt = import_module("tensorrt")
    version = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if version < _OLDEST or version[0] > _NEWEST:
        raise BackendError(
            f"TensorRT {trt.__version__} is installed, expected 8.6, 10 or 11; install one of these, or"
            " choose another backend"
        )
    return trt


def refuse_unknown_precision(trt: Any, precision: str) -> None:
    """Raise a `BackendError` if this TensorRT cannot compute in `precision`."""
    if precision == "bf16" and not hasattr(trt.DataType, "BF16"):
        raise BackendError(f"TensorRT {trt.__version__} knows no bfloat16; choose the precision f16 or f32")


def network_flags(trt: Any) -> int:
    """Return the flags of a network with explicit batch whose tensors keep the model's types."""
    kinds = trt.NetworkDefinitionCreationFlag
    if hasattr(kinds, "STRONGLY_TYPED"):
        return 1 << int(kinds.STRONGLY_TYPED)
    return 1 << int(kinds.EXPLICIT_BATCH)


def apply_precision(trt: Any, network: Any, config: Any, precision: str) -> None:
    """Have the engine compute in the types of the model, whose tensors are `precision` already.

    Float32 means float32: TF32, which rounds to ten bits, is switched off. A weakly typed TensorRT (8.6)
    needs leave for half precision, and then takes for each layer whichever is the faster: they are pinned one
    by one. What has no kernel in its type gets another instead of failing the build; the finished engine's
    layers are looked at (`pipeline.backends.tensorrt_inspect`).
    """
    if precision == "f32":
        config.clear_flag(trt.BuilderFlag.TF32)
    elif not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        _pin_types(trt, network)


def apply_tactics(trt: Any, config: Any) -> None:
    """Leave out kernels of cuBLAS and cuDNN, which need not be installed, and which convolutions do not need.

    Later versions do so by themselves, or know no others than their own.
    """
    sources = trt.TacticSource
    if hasattr(sources, "CUBLAS"):
        others = sum(1 << int(s) for s in (sources.CUBLAS, sources.CUBLAS_LT, sources.CUDNN))
        config.set_tactic_sources(config.get_tactic_sources() & ~others)


def _pin_types(trt: Any, network: Any) -> None:
    """Pin statistics that the model keeps in float32, and convolutions that it has in half precision."""
    kinds = trt.LayerType
    statistics = (kinds.NORMALIZATION, kinds.REDUCE, kinds.UNARY, kinds.ELEMENTWISE, kinds.ACTIVATION)
    weighted = (kinds.CONVOLUTION, kinds.DECONVOLUTION, kinds.MATRIX_MULTIPLY)
    pinned = {trt.DataType.FLOAT: statistics, trt.DataType.HALF: weighted}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        dtype = layer.get_output(0).dtype
        if layer.type in pinned.get(dtype, ()):
            layer.precision = dtype


def make_log(trt: Any) -> Any:
    """Return a logger for TensorRT that passes warnings on and keeps what it said last.

    TensorRT says in its log, and nowhere else, why a build failed: ``reason`` is its last errors, or, as a
    device that does not answer is only a warning to it, its last warning.
    """
    severity = trt.ILogger.Severity

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=3)
            self.warning = ""

        @property
        def reason(self) -> str:
            return "; ".join(self.errors) or self.warning or "TensorRT gives no reason"

        def log(self, level: Any, text: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self.errors.append(text.strip())
            elif level == severity.WARNING:
                self.warning = text.strip()
                _log.info("TensorRT: %s", text.strip())

    return Log()


def made(make: Callable[[], Any], log: Any, what: str) -> Any:
    """Return what `make` returns; TensorRT returns None for a failure, its constructors raise TypeError.

    Raises
    ------
    BackendError
        With what TensorRT's log has to say.
    """
    try:
        thing = make()
    except TypeError as error:  # "pybind11::init(): factory function returned nullptr"
        raise BackendError(f"{what}: {log.reason}") from error
    if thing is None:
        raise BackendError(f"{what}: {log.reason}")
    return thing


def report_progress(trt: Any, config: Any, progress: Any) -> bool:
    """Have a build report its progress, where this TensorRT can.

    Parameters
    ----------
    progress : callable
        Called with a phase's name, the step done and the number of steps, from TensorRT's thread.

    Returns
    -------
    bool
        Whether it will be called.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return False

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps.get(phase_name, 0))
            return True  # go on building

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    config.progress_monitor = Monitor()
    return True
