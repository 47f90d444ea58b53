"""OpenVINO without its telemetry, and its one core: import it from here, nowhere else directly.

``import openvino`` starts a thread that reports the use of OpenVINO's tools to an analytics server, and
leaves an identifier in the user's home folder, unless the package ``openvino_telemetry`` is missing (it is a
requirement of OpenVINO's wheel). A program beside a microscope reports to nobody: for this process the
package is missing.

The core lives as long as the process. On processors with AMX its plugin gives the thread that makes it
another stack for signals, and frees that stack where it is destroyed: if that is another thread (a cyclic
object that another thread's garbage collection finds is enough), the next signal, a Ctrl-C, ends the process
(seen with OpenVINO 2026.4).
"""

import sys
from functools import cache
from typing import Any

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes its import fail

import openvino as ov  # noqa: E402

__all__ = ["ov", "shared_core"]


@cache
def shared_core() -> Any:
    """Return the process's OpenVINO core; nobody destroys it."""
    return ov.Core()
