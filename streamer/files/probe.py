"""An HDF5 file opened in a process of its own first: HDF5 reads some damaged ones in circles, or crashes.

A block of zeros in a heap or a tree is enough, and no Python code can interrupt the library then. So the
command opens a file here before it does so itself, and waits no longer than a limit.
"""

import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

from streamer.errors import AtomstreamError, UsageError
from streamer.files.open import open_file

__all__ = ["attempt", "expect_harmless"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PROGRAM = "import sys; from streamer.files.probe import attempt; attempt(*sys.argv[1:])"
_WINDOWS_CRASH = 0xC0000000  # statuses from here on are of severity "error"; elsewhere a signal is negative
_LIMIT_S = 120.0  # masters with thousands of data files on a slow disk take their time


def expect_harmless(path: Path, format: str = "", dataset: str = "", limit_s: float = _LIMIT_S) -> None:
    """Check that opening a file and reading its first frame comes to an end, well or not.

    Parameters
    ----------
    path : pathlib.Path
    format, dataset : str
        As for `streamer.files.open_file`.
    limit_s : float
        How long that may take [s].

    Raises
    ------
    UsageError
        If it takes longer, or the process crashes.
    """
    if not _is_hdf5(path):
        return
    command = [sys.executable, "-c", _PROGRAM, str(path), format, dataset]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"{path} could not be opened within {limit_s:g} s: it is damaged, or its disk is very slow;"
            " copy it again"
        ) from error
    if done.returncode < 0 or done.returncode >= _WINDOWS_CRASH:
        raise UsageError(f"{path} is damaged: HDF5 crashes when it reads it, copy it again")


def _is_hdf5(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def attempt(path: str, format: str, dataset: str) -> None:
    """Open a file and read a frame: the child process. What else is wrong, its parent finds as well."""
    with suppress(AtomstreamError), closing(open_file(Path(path), format, dataset)) as file:
        if file.chunk(0) is None:
            file.frame(0)
