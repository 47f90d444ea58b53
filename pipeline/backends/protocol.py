"""What an engine must do to run the networks for the analyser."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backend", "BackendInfo", "BatchShape", "NetworkOutput"]


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The one shape a backend is loaded for; smaller batches are filled up by the caller."""

    frames: int
    height: int  # a multiple of 16 [px]
    width: int  # a multiple of 16 [px]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What is stored with a run about the engine that analysed it."""

    name: str
    device: str
    precision: str
    version: str
    networks: dict[str, str]  # model file name → SHA-256


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """Both networks' answer to one batch; valid until the next `Backend.collect`.

    Attributes
    ----------
    denoised : numpy.ndarray of float32, shape (N, H, W)
        In units of the vacuum level.
    column_probability : numpy.ndarray of float32, shape (N, H, W)
        0 to 1, peaked at column centres.
    count_logits : numpy.ndarray of float32, shape (N, K, H, W)
        Class k stands for k + 1 atoms; softmax over K gives calibrated probabilities at a column's centre.
    """

    denoised: NDArray[np.float32]
    column_probability: NDArray[np.float32]
    count_logits: NDArray[np.float32]


class Backend(Protocol):
    """An engine that runs the denoiser and the column-height network on batches.

    Called by one thread, the analyser's: `load` once before the stream starts, then `submit` and `collect` in
    turn, at most one batch between them, and `close` at the end, also after an error (use
    `contextlib.closing`). Between `submit` and `collect` the engine computes while the caller receives and
    prepares the next batch.
    """

    def load(self, shape: BatchShape) -> BackendInfo:
        """Compile both networks for `shape`, warm up, and check names, types and shapes.

        Raises
        ------
        BackendError
            If the engine, a device or a model is missing or unfit.
        """

    def submit(self, frames: NDArray[np.float32]) -> None:
        """Start computing.

        Parameters
        ----------
        frames : numpy.ndarray of float32, shape (N, C, H, W)
            What `pipeline.preprocess.normalise` made; it must not change until `collect` has returned.
        """

    def collect(self) -> NetworkOutput:
        """Wait for the batch that was submitted.

        Raises
        ------
        BackendError
            If the engine failed, or an output holds NaN.
        """

    def close(self) -> None:
        """Release the device and its memory; may be called twice."""
