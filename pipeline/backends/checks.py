"""What every backend checks of its caller and of its engine."""

from math import isfinite
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.protocol import IN_FLIGHT, BatchShape, NetworkOutput
from pipeline.particle_networks import ShapeFile
from streamer.errors import BackendError

__all__ = ["check_batch", "check_collect", "check_logits", "check_output", "check_shapes", "expect_shapes"]


def check_batch(
    frames: Any, shape: BatchShape | None, channels: int, in_flight: int, xp: ModuleType = np
) -> None:
    """Raise a `BackendError` unless this batch can be submitted now."""
    if shape is None:
        raise BackendError("a batch was submitted before the networks were loaded; call load() first")
    if in_flight >= IN_FLIGHT:
        raise BackendError(
            f"a batch was submitted while {in_flight} are being computed; call collect() first"
        )
    expected = (shape.frames, channels, shape.height, shape.width)
    fits = isinstance(frames, xp.ndarray) and frames.dtype == np.float32 and frames.flags.c_contiguous
    if not fits or frames.shape != expected:
        raise BackendError(
            f"a batch of {frames.dtype} {frames.shape}, expected C-contiguous float32 {expected} of"
            f" {xp.__name__}; load the networks for this shape"
        )


def check_collect(in_flight: int) -> None:
    """Raise a `BackendError` unless there is a batch to collect."""
    if not in_flight:
        raise BackendError("there is no batch to collect; call submit() first")


def check_output(output: NetworkOutput, xp: ModuleType = np) -> NetworkOutput:
    """Return `output`, or raise a `BackendError` if a NaN or an infinity is in it.

    A sum with one in it is none itself, and is made at the memory's speed without a temporary array. The sums
    of arrays of `xp` come to the host together.
    """
    names = ("denoised", "column_probability", "count_logits")[: 1 if output.count_logits is None else 3]
    with np.errstate(invalid="ignore"):
        sums = xp.stack([getattr(output, name).sum() for name in names]).tolist()
    for name, total in zip(names, sums, strict=True):
        if not isfinite(total):
            what = "NaN" if bool(xp.isnan(getattr(output, name)).any()) else "infinity"
            raise BackendError(
                f"the networks answered with {what} in {name}; the frame or the engine is unsound"
            )
    return output


def check_shapes(output: NetworkOutput, shape: BatchShape, max_count: int) -> None:
    """Raise a `BackendError` unless the networks answered in the types and shapes that were promised.

    A `max_count` of 0 says that they find no columns.
    """
    image = (shape.frames, shape.height, shape.width)
    for name in ("denoised", "column_probability") if max_count else ("denoised",):
        if (got := getattr(output, name)).shape != image or got.dtype != np.float32:
            raise BackendError(
                f"{name} is {got.dtype} {got.shape}, expected float32 {image}; check the export"
            )
    if not max_count:
        return
    logits = output.count_logits
    steps = {divmod(side, part) for side, part in zip(image[1:], logits.shape[2:], strict=True)}
    if logits.shape[:2] != (shape.frames, max_count) or len(steps) != 1 or next(iter(steps))[1]:
        raise BackendError(
            f"count_logits has shape {logits.shape}, expected ({shape.frames}, {max_count}, H / s, W / s) for"
            f" {shape.height} x {shape.width} px and one whole number s; check the export"
        )


def expect_shapes(shapes: ShapeFile | None) -> ShapeFile:
    """Return the shape network, or raise a `BackendError` if there is none."""
    if shapes is None:
        raise BackendError("these networks count columns and tell no shapes; choose others with --material")
    return shapes


def check_logits(logits: NDArray[np.float32], n_patches: int, shapes: ShapeFile) -> NDArray[np.float32]:
    """Return the shape network's answer, or raise a `BackendError` if it is not what was promised."""
    expected = (n_patches, len(shapes.classes))
    if logits.shape != expected or logits.dtype != np.float32:
        raise BackendError(
            f"{shapes.path.name} answered with {logits.dtype} {logits.shape}, expected float32 {expected}"
        )
    if not np.isfinite(logits).all():
        raise BackendError(f"{shapes.path.name} answered with NaN or infinity; the patch is unsound")
    return logits
