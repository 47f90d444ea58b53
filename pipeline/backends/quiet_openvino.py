"""OpenVINO without its telemetry: import it from here, nowhere else directly.

``import openvino`` starts a thread that reports the use of OpenVINO's tools to an analytics server, and
leaves an identifier in the user's home folder, unless the package ``openvino_telemetry`` is missing (it is a
requirement of OpenVINO's wheel). A program beside a microscope reports to nobody: for this process the
package is missing.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes its import fail

import openvino as ov  # noqa: E402

__all__ = ["ov"]
