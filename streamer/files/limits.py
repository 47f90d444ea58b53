"""What a file may claim before it is believed, and errors of libraries in one line.

A few damaged bytes make a file declare any number of frames of any size. Whatever is reserved for them is
compared first with what the file can hold.
"""

from math import prod
from pathlib import Path

from streamer.errors import UsageError
from streamer.files.protocol import FileInfo

__all__ = ["MOST_FRAMES", "expect_plausible_size", "expect_regular", "expect_sound", "one_line"]

MOST_FRAMES = 10_000_000
"""Days of a fast detector; more is a damaged number."""

_ALWAYS_BYTES = 64 * 2**20  # this much may always be reserved
_MOST_COMPRESSED = 2000  # deflate reaches 1032:1, LZ4 255:1, counted frames some 10:1
_LONGEST_TEXT = 300  # characters of a library's message; HDF5 writes several lines


def one_line(error: Exception) -> str:
    """Return a library's error with its kind, in one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def expect_regular(path: Path) -> None:
    """Refuse what is there but is no file: a pipe would be waited for, a device read without end.

    Raises
    ------
    UsageError
        If it is such a thing.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a device or pipe"
        raise UsageError(f"{path} is {what}, expected a file")


def expect_sound(info: FileInfo) -> None:
    """Check that a file says it has frames, not too many, each of at least one pixel.

    Raises
    ------
    UsageError
        If it does not.
    """
    if info.n_frames < 1 or min(info.shape) < 1:
        raise UsageError(f"{info.path} holds no frames: {info.n_frames} of {_size(info.shape)}")
    if info.n_frames > MOST_FRAMES:
        raise UsageError(
            f"{info.path} declares {info.n_frames:,} frames, expected at most {MOST_FRAMES:,}:"
            " it is damaged, copy it again"
        )


def expect_plausible_size(name: str, shape: tuple[int, ...], itemsize: int, stored_bytes: int) -> None:
    """Check that an array can come from the bytes that are stored for it, before room is made for it.

    Parameters
    ----------
    name : str
        Of what declares the array, for people.
    shape : tuple of int
    itemsize : int
        Bytes of an element.
    stored_bytes : int
        What there is in the file, compressed or not.

    Raises
    ------
    UsageError
        If no compression is that good.
    """
    declared = prod(shape) * itemsize
    if declared > max(_ALWAYS_BYTES, _MOST_COMPRESSED * stored_bytes):
        raise UsageError(
            f"{name} declares {_size(shape)} of {itemsize} bytes, {declared:,} bytes, where {stored_bytes:,}"
            " are stored: it is damaged, copy it again"
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
