"""The file of one series, as long as the disk plays along: a failure ends recording, and nothing else."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from streamer.disk_space import NoRoomError
from streamer.errors import MessageError

if TYPE_CHECKING:
    from pathlib import Path

    from streamer.result_file import ResultWriter

__all__ = ["SeriesFile"]

_DISK_ERRORS = (OSError, RuntimeError, ValueError)  # what h5py raises when HDF5 cannot write

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class SeriesFile:
    """A file that may never have been, or have been given up; its user need not ask.

    Parameters
    ----------
    last_words : callable
        Told the file and the error when recording fails while the file can still be closed: it must close it.
    given_up : callable
        Told the error after the file was given up.

    Attributes
    ----------
    path : pathlib.Path or None
        Of the file, once there is one; it stays when the file is closed or given up.
    error : str
        Why recording failed; empty if it did not.
    """

    def __init__(
        self, last_words: "Callable[[ResultWriter, str], None]", given_up: Callable[[str], None]
    ) -> None:
        self.path: Path | None = None
        self.error = ""
        self._writer: ResultWriter | None = None
        self._last_words = last_words
        self._given_up = given_up

    @property
    def writable(self) -> bool:
        """Whether there is a file, and it has not been given up."""
        return self._writer is not None

    def open(self, make: "Callable[[], ResultWriter | None]") -> None:
        """Make the file, if one is wanted and can be made."""
        try:
            self._writer = make()
        except _DISK_ERRORS as error:
            self._fail(error)
        if self._writer is not None:
            self.path = self._writer.path

    def discard(self) -> None:
        """Remove a file without frames, in order to make another."""
        self.do(lambda writer: writer.discard(), None)
        self._writer = None

    def do(self, action: "Callable[[ResultWriter], _T]", otherwise: _T) -> _T:
        """Do something with the file; return `otherwise` if there is none, or none any more.

        Raises
        ------
        MessageError
            If that is what the action raised: then the frame was damaged, not the disk.
        """
        if self._writer is None:
            return otherwise
        try:
            return action(self._writer)
        except MessageError:
            raise
        except _DISK_ERRORS as error:
            self._fail(error)
            return otherwise

    def close(self, finish: "Callable[[ResultWriter], None]") -> None:
        """Let `finish` close the file."""
        self.do(finish, None)
        self._writer = None

    def _fail(self, error: Exception) -> None:
        """Give the file up, loudly; what was flushed is safe."""
        writer, self._writer = self._writer, None
        self.error = str(error)
        _log.error("RECORDING HAS STOPPED", exc_info=error)
        try:
            if writer is not None and isinstance(error, NoRoomError):
                self._last_words(writer, self.error)
                writer = None
        except _DISK_ERRORS as second:
            _log.error("the file could not be closed", exc_info=second)
        if writer is not None:
            writer.abandon()
        self._given_up(self.error)
