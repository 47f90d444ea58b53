"""Names for result files: nothing that exists is ever overwritten."""

from pathlib import Path
from uuid import uuid4

from streamer.errors import RecordingError, UsageError
from streamer.file_layout import FileSpec
from streamer.result_file import ResultWriter

__all__ = ["ResultFiles", "expect_new_file", "expect_room_for"]

_SUFFIXES = (".nxs", ".hspy")
_MOST_SIBLINGS = 10_000


def expect_new_file(path: Path) -> None:
    """Check, before a run starts, that a result file can be made at `path`.

    Raises
    ------
    UsageError
        If it exists, or its name does not tell other programs what it is.
    RecordingError
        If its folder does not exist or cannot be written to.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path} must end in .nxs (or .hspy), by which other programs choose their reader")
    if path.exists():
        raise UsageError(f"{path} exists and is not overwritten: choose another name, or move it away")
    if not path.parent.is_dir():
        raise RecordingError(f"the folder {path.parent} does not exist: make it first")
    expect_room_for(path)


def expect_room_for(path: Path) -> None:
    """Make an empty file beside it for a moment: permissions alone say too little, on Windows nothing.

    Raises
    ------
    RecordingError
        If that cannot be done.
    """
    probe = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise RecordingError(
            f"the folder {path.parent} cannot be written to ({error.strerror}): choose another with --out"
        ) from error


class ResultFiles:
    """Makes a file for each series of a run: NAME, NAME-2, NAME-3 and so on.

    Frames that came without a start message go to NAME-nostart, so that what a detector still had in its
    queue from an earlier acquisition does not take the name of the one that was to be recorded.

    Parameters
    ----------
    path : pathlib.Path or None
        The file that was asked for; None: nothing is recorded.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def wanted(self) -> bool:
        """Whether anything is to be recorded."""
        return self._path is not None

    def new(self, spec: FileSpec, announced: bool) -> ResultWriter | None:
        """Make the next file, under the first name that is not taken."""
        if self._path is None:
            return None
        kind = "" if announced else "-nostart"
        for number in range(1, _MOST_SIBLINGS):
            name = f"{self._path.stem}{kind}{f'-{number}' if number > 1 else ''}{self._path.suffix}"
            path = self._path.with_name(name)
            try:
                if not path.exists():  # HDF5 makes a new file or none; this only finds a free name
                    return ResultWriter(path, spec)
            except FileExistsError:  # another program was faster
                continue
        raise RecordingError(f"no free name beside {self._path}")
