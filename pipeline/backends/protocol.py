"""What an engine must do to run the networks for the analyser."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.device import Device
from streamer.records import AnalyserInfo

__all__ = ["IN_FLIGHT", "Backend", "BatchShape", "NetworkOutput"]

Array = Any
"""An array of NumPy, or of the module of the backend's device."""

IN_FLIGHT = 2
"""Batches that may be submitted and not yet collected: one keeps the engine busy while another waits."""


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The one shape a backend is loaded for; a batch with fewer frames is filled up by the caller."""

    frames: int
    height: int  # a multiple of 16 [px]
    width: int  # a multiple of 16 [px]


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """The answer of the networks that every frame goes through, to one batch.

    The arrays belong to the backend: they may be read until the next `Backend.collect` or `Backend.load`
    begins, so while the batches after it are being computed.

    Attributes
    ----------
    denoised : array of float32, shape (N, H, W)
        In units of the vacuum level.
    column_probability : array of float32, shape (N, H, W)
        0 to 1, peaked at column centres.
    count_logits : array of float32, shape (N, K, H / s, W / s)
        Class k stands for k + 1 atoms; softmax over K gives calibrated probabilities at a column's centre.
        The network decides on s, a small whole number such as 1 or 2.

    Where the networks find no columns (`pipeline.particle_networks`), the last two are None.
    """

    denoised: Array
    column_probability: Array = None
    count_logits: Array = None


class Backend(Protocol):
    """An engine that runs the networks for whole frames on batches, and the shape network on patches.

    Called by one thread, the analyser's: `load` before the stream starts, and again when the frames' shape
    changes (nothing is being computed then); `submit` and `collect`, the oldest batch first, with at most
    `IN_FLIGHT` batches between them; `ready` at any time between these two; `close` at the end, also after an
    error (use `contextlib.closing`).
    Between `submit` and `collect` the engine computes while the caller receives and prepares the next batch,
    so `submit` returns at once and the engine's threads do not need the interpreter.

    After a `BackendError` from `submit` or `collect` that batch is given up; others are not touched. After a
    `DeviceLostError` only `close` may be called.

    Attributes
    ----------
    device : Device
        Where batches are made and answers are read. With `device.xp` other than NumPy everything below that
        is called an array lies there, in the stream that is current in the calling thread.
    """

    device: Device

    def load(self, shape: BatchShape) -> AnalyserInfo:
        """Compile all networks for `shape`, warm up, and check names, types and shapes.

        Raises
        ------
        BackendError
            If the engine, a device or a model is missing or unfit.
        """

    def submit(self, frames: Any) -> None:
        """Start computing.

        Parameters
        ----------
        frames : array of float32, shape (N, C, H, W), C-contiguous
            What `pipeline.preprocess.normalise` made, of the shape loaded; it must not change until this
            batch is collected.

        Raises
        ------
        BackendError
            If nothing is loaded, `IN_FLIGHT` batches wait to be collected, or shape or type are others.
        """

    def ready(self) -> bool:
        """Whether the oldest batch that was submitted is computed, or has failed: `collect` would not wait.

        Called every millisecond while there is room for another batch, so that one that comes in meanwhile is
        started at once; with nothing submitted the answer is False.
        """

    def collect(self) -> NetworkOutput:
        """Wait for the oldest batch that was submitted.

        Raises
        ------
        BackendError
            If there is none, the engine failed, or an output holds NaN or infinity.
        """

    def classify(self, patches: Any) -> NDArray[np.float32]:
        """Run the shape network, and wait for it; batches in flight are not disturbed.

        Called between `load` and `close`, only where the networks tell shapes.

        Parameters
        ----------
        patches : array of float32, shape (n, 1, 128, 128), C-contiguous
            What `pipeline.patches.cut_patches` made; n is at least 1.

        Returns
        -------
        numpy.ndarray of float32, shape (n, K), on the host
            Logits; `pipeline.patches.mean_of_orientations` of them are calibrated.

        Raises
        ------
        BackendError
            If there is no shape network, the engine failed, or the answer holds NaN or infinity.
        """

    def close(self) -> None:
        """Release the device, its threads and memory; may be called twice."""
