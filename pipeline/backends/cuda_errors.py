"""CUDA's errors in this program's words: one place that knows the status codes.

A sticky error (an illegal address, a device that fell off the bus) breaks the process' context: every later
call fails too, so the analyser ends at once. Numbers: ``cudaError_t``, CUDA Runtime API, "Data types".
"""

from collections.abc import Iterator
from contextlib import contextmanager

from streamer.errors import BackendError, DeviceLostError

__all__ = ["cuda_errors"]

_MEMORY = 2
_LOST = {
    3, 4, 46, 100, 101, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 802, 999,
}  # fmt: skip


@contextmanager
def cuda_errors(doing: str) -> Iterator[None]:
    """Turn errors of CUDA, as CuPy and PyTorch raise them, into a `BackendError`.

    Parameters
    ----------
    doing : str
        What was being done, for the message: "uploading a batch".

    Raises
    ------
    DeviceLostError
        If no later call can succeed.
    BackendError
        If memory ran out, or for any other error.
    """
    try:
        yield
    except BackendError:
        raise
    except MemoryError as error:
        raise _out_of_memory(doing, error) from error
    except RuntimeError as error:
        status = _status(error)
        if status == _MEMORY or type(error).__name__ == "OutOfMemoryError":
            raise _out_of_memory(doing, error) from error
        if status in _LOST:
            raise DeviceLostError(
                f"the GPU was lost while {doing} ({error}); see the system's log (Xid), and start again"
            ) from error
        raise BackendError(f"the GPU failed while {doing}: {error}") from error
    except Exception as error:
        if type(error).__name__ != "CompileException":
            raise
        first = str(error).strip().partition("\n")[0]
        raise BackendError(
            f"CuPy cannot compile its kernels while {doing}: {first}; install it with its CUDA parts"
            " (the [gpu] extra)"
        ) from error


def _status(error: RuntimeError) -> int | None:
    """Return the CUDA status of CuPy's and PyTorch's exceptions, if they carry one.

    cuBLAS and cuFFT have numbers of their own: their errors say nothing about the device.
    """
    if not type(error).__name__.startswith(("CUDA", "Accelerator")):
        return None
    for name in ("status", "error_code"):
        if isinstance(status := getattr(error, name, None), int):
            return status
    return None


def _out_of_memory(doing: str, error: Exception) -> BackendError:
    return BackendError(
        f"the GPU ran out of memory while {doing} ({error}); lower --batch, or free the GPU of other programs"
    )
