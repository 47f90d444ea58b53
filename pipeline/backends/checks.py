"""What every backend checks of its caller and of its engine."""

from math import isfinite, isnan
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.backends.protocol import IN_FLIGHT, BatchShape, NetworkOutput
from streamer.errors import BackendError

__all__ = ["check_batch", "check_collect", "check_output", "check_shapes"]


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

    The maximum of an array with a NaN is NaN, and is found at the memory's speed without a temporary array.
    The three maxima of arrays of `xp` come to the host together.
    """
    names = ("denoised", "column_probability", "count_logits")
    largest = xp.stack([getattr(output, name).max() for name in names]).tolist()
    for name, value in zip(names, largest, strict=True):
        if not isfinite(value):
            what = "NaN" if isnan(value) else "infinity"
            raise BackendError(
                f"the networks answered with {what} in {name}; the frame or the engine is unsound"
            )
    return output


def check_shapes(output: NetworkOutput, shape: BatchShape, max_count: int) -> None:
    """Raise a `BackendError` unless the networks answered in the types and shapes that were promised."""
    image = (shape.frames, shape.height, shape.width)
    for name in ("denoised", "column_probability"):
        if (got := getattr(output, name)).shape != image or got.dtype != np.float32:
            raise BackendError(
                f"{name} is {got.dtype} {got.shape}, expected float32 {image}; check the export"
            )
    logits = output.count_logits
    steps = {divmod(side, part) for side, part in zip(image[1:], logits.shape[2:], strict=True)}
    if logits.shape[:2] != (shape.frames, max_count) or len(steps) != 1 or next(iter(steps))[1]:
        raise BackendError(
            f"count_logits has shape {logits.shape}, expected ({shape.frames}, {max_count}, H / s, W / s) for"
            f" {shape.height} x {shape.width} px and one whole number s; check the export"
        )
