"""Parts of the program that the pipeline does not know and only some verbs need, imported by name."""

from importlib import import_module
from typing import Any

from streamer.errors import RunError

__all__ = ["load"]


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
