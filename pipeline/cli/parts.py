"""Parts of the program that the pipeline does not know and only some verbs need, imported by name."""

from importlib import import_module
from pathlib import Path
from typing import Any

from streamer.errors import RunError, UsageError

__all__ = ["expect_data_set", "load"]


def load(module: str, extra: str = "") -> Any:
    """Import a module.

    Parameters
    ----------
    module : str
    extra : str
        The extra of the installation that brings what it needs.

    Raises
    ------
    RunError
        If something it needs is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        wanted = f"atomstream[{extra}]" if extra else "atomstream"
        raise RunError(f"this needs {error.name}, which is not installed: pip install '{wanted}'") from error


def expect_data_set(material: str, data: Path) -> None:
    """Check that a file is a data set, and of the material that a network is, or is to be, of.

    Raises
    ------
    UsageError
        If it is none, or of another material.
    """
    found = load("simulator.dataset", "train").material_of(data)
    if found != material:
        raise UsageError(
            f"{data} is of {found}, not of {material}: give another --data, or --material {found}"
        )
