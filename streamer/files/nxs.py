"""Our own result files: the recorded frames, sent on exactly as they were received."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.errors import UsageError
from streamer.files.hdf5 import Stack, open_hdf5, scalar
from streamer.files.limits import MOST_FRAMES
from streamer.files.protocol import Chunk, FileInfo
from streamer.plain import optional_count, positive

__all__ = ["RecordedRun", "is_recorded_run"]

_INTENSITY = "/entry/stack/intensity"
_SERIES = "/entry/process/series"


class RecordedRun:
    """A ``.nxs`` file written by this program.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If it is not such a file, or not readable.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_hdf5(path)
        try:
            self._stack = Stack(self._file[_INTENSITY])
            self._info = _describe(path, self._file, self._stack)
        except KeyError as error:
            self.close()
            raise UsageError(f"{path} has no {_INTENSITY}: it is not a recorded run") from error
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> FileInfo:
        """What the run's series said of itself."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Read one frame."""
        return self._stack.frame(index)

    def chunk(self, index: int) -> Chunk | None:
        """Return one frame's payload as it was received."""
        return self._stack.chunk(index)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_recorded_run(file: h5py.File) -> bool:
    """Whether the file was written by this program."""
    return "/entry/ledger" in file and _INTENSITY in file


def _describe(path: Path, file: h5py.File, stack: Stack) -> FileInfo:
    pixel_size_nm = positive(scalar(file, f"{_SERIES}/pixel_size_nm"))
    frame_time_s, frame_time_from = _frame_time(file)
    return FileInfo(
        path=path,
        format="atomstream result file",
        n_frames=stack.n_frames,
        shape=stack.shape,
        dtype=stack.dtype,
        pixel_size_A=None if pixel_size_nm is None else _angstroms(pixel_size_nm),
        pixel_size_from=f"{_SERIES}/pixel_size_nm" if pixel_size_nm else "the recorded run did not know it",
        frame_time_s=frame_time_s,
        frame_time_from=frame_time_from,
        largest_is_no_data=True,
        saturation_value=optional_count(scalar(file, f"{_SERIES}/saturation_value")),
    )


def _angstroms(length_nm: float) -> float:
    """Return the length [Å] that was divided by ten when it was stored, not one that is nearly the same.

    A repeated analysis gives the same results only at the same pixel size, and 10 × (x / 10) is not always x.
    """
    shortest = float(f"{10 * length_nm:.15g}")
    return shortest if shortest / 10 == length_nm else 10 * length_nm


def _frame_time(file: h5py.File) -> tuple[float | None, str]:
    """Return the time [s] from one frame in the file to the next, of which the run may have kept every n-th.

    It is the frame time that the source announced, else the median interval of the frames.
    """
    announced = positive(scalar(file, f"{_SERIES}/frame_time_s"))
    if announced is not None:
        step = int(_median_step(file, "indices_image") or 1)
        kept = f" x {step}, as ids are {step} apart" if step > 1 else ""
        return step * announced, f"{_SERIES}/frame_time_s{kept}"
    median = _median_step(file, "time")
    if median is None:
        return None, "the recorded run did not know it"
    return median, "/entry/stack/time (median interval)"


def _median_step(file: h5py.File, name: str) -> float | None:
    """Return how far frames are apart in one of the stack's tables; those of an event are not in order."""
    column = file.get(f"/entry/stack/{name}")
    is_given = isinstance(column, h5py.Dataset) and column.ndim == 1 and column.size <= MOST_FRAMES
    steps = np.diff(np.sort(column[()])) if is_given else np.empty(0)
    return positive(float(np.percentile(steps, 50, method="lower"))) if steps.size else None
