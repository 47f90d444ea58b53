"""A look at a folder of Zarr arrays: a chunk whose file is lost is read as zeros, without a word.

(Zarr storage specification, version 2: ``.zarray`` describes an array as JSON; beside and below it each chunk
is a file, and names that begin with a dot are no chunks.)
"""

import json
from math import prod
from pathlib import Path

from streamer.errors import UsageError

__all__ = ["survey_zarr"]


def survey_zarr(path: Path) -> tuple[str, ...]:
    """Return a note for each array of images some of whose chunks have no file.

    Chunks of zeros need not be written, so this is no damage for certain.

    Raises
    ------
    UsageError
        If the description of an array cannot be read.
    """
    described = sorted(path.rglob(".zarray"))
    return tuple(note for each in described if (note := _note(each.parent, each)))


def _note(folder: Path, description: Path) -> str:
    try:
        array = json.loads(description.read_bytes())
        shape, chunks = array["shape"], array["chunks"]
        n_chunks = prod(-(-n // step) for n, step in zip(shape, chunks, strict=True))
    except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError) as error:
        raise UsageError(f"{description} is damaged ({error}): copy it again") from error
    n_files = sum(1 for each in folder.rglob("*") if each.is_file() and not each.name.startswith("."))
    if len(shape) < 2 or n_files >= n_chunks:
        return ""
    return f"{n_chunks - n_files} of {n_chunks} chunks of {folder} have no file: their pixels are zeros"
