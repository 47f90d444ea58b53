"""Whether there is a CUDA device, asked of its driver alone: no library has to be installed or loaded.

``import torch`` and ``import tensorrt`` take seconds and hundreds of megabytes; a machine without a device
should not pay for finding that out. The two functions are part of the driver's stable interface (CUDA Driver
API, "Initialization" and "Device Management").
"""

import ctypes
import sys

__all__ = ["device_count", "why_no_device"]

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_DEVICE = 100


def device_count() -> int:
    """Return the number of CUDA devices; 0 if there is no driver."""
    return 0 if why_no_device() else _count()[1]


def why_no_device() -> str:
    """Return why no CUDA device can be used; empty if one can."""
    try:
        status, count = _count()
    except OSError:
        return f"no NVIDIA driver ({_DRIVER}) on this machine"
    if status not in (0, _NO_DEVICE):
        return f"the NVIDIA driver does not answer (CUDA error {status})"
    return "" if status == 0 and count else "the NVIDIA driver sees no CUDA device"


def _count() -> tuple[int, int]:
    """Return the driver's status and its number of devices."""
    driver = ctypes.CDLL(_DRIVER)
    count = ctypes.c_int(0)
    status = int(driver.cuInit(0)) or int(driver.cuDeviceGetCount(ctypes.byref(count)))
    return status, count.value
