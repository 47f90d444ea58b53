"""What HyperSpy and the EMD readers look for in a result file: other names for the same stack."""

from streamer.swmr import SwmrFile

__all__ = ["HYPERSPY_FRAME_AXIS", "lay_out_emd", "lay_out_hyperspy"]

HYPERSPY_FRAME_AXIS = "/Experiments/frames/axis-0"
"""Its attribute ``size`` is the number of frames; HyperSpy believes it, so it is rewritten at the end."""


def lay_out_hyperspy(
    file: SwmrFile,
    stack: str,
    title: str,
    shape: tuple[int, int],
    pixel_size_nm: float | None,
    row_time_s: float | None,
) -> None:
    """Make ``/Experiments/frames``, the layout of HyperSpy's own files (format version 3.3)."""
    file.attributes("/", file_format="HyperSpy", file_format_version="3.3")
    frames = "/Experiments/frames"
    file.group("/Experiments")
    file.group(frames, package="hyperspy", package_version="2")  # where the signal class comes from
    file.link(f"{frames}/data", f"{stack}/intensity")
    scale, units = (1.0, "px") if pixel_size_nm is None else (pixel_size_nm, "nm")
    axes = [
        ("time", 0, row_time_s or 1.0, "s" if row_time_s else "frame", True),
        ("y", shape[0], scale, units, False),
        ("x", shape[1], scale, units, False),
    ]
    for number, (name, size, step, unit, navigate) in enumerate(axes):
        file.group(
            f"{frames}/axis-{number}", "", name=name, size=size, scale=step, offset=0.0, units=unit,
            navigate=navigate, _type="UniformDataAxis",
        )  # fmt: skip
    file.group(f"{frames}/metadata")
    file.group(f"{frames}/metadata/General", title=title)
    file.group(f"{frames}/metadata/Signal", signal_type="")
    file.group(f"{frames}/original_metadata")


def lay_out_emd(file: SwmrFile, stack: str) -> None:
    """Make ``/emd/frames``, the layout of EMD 1.0 (emdfile, py4DSTEM)."""
    file.attributes("/", emd_group_type="file", version_major=1, version_minor=0)
    file.group("/emd", emd_group_type="root", python_class="Root")
    file.group("/emd/frames", emd_group_type="array", python_class="Array")
    for name, target in (("data", "intensity"), ("dim0", "time"), ("dim1", "axis_j"), ("dim2", "axis_i")):
        file.link(f"/emd/frames/{name}", f"{stack}/{target}")
