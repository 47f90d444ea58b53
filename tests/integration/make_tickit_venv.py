"""Make the virtual environment of tickit-devices, an EIGER simulator that nobody here wrote.

It needs an older cbor2 than ours, so it lives in an environment of its own, `.venv-tickit` in the project's
root. Run ``python tests/integration/make_tickit_venv.py`` once; until then the tests that need it are
skipped.
"""

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["TICKIT_PYTHON", "is_made", "make"]

_FOLDER = Path(__file__).parents[2] / ".venv-tickit"
_REQUIREMENTS = ("tickit-devices==0.4.1", "cbor2<6")

TICKIT_PYTHON = _FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
"""The environment's interpreter."""

_DONE = _FOLDER / ".complete"


def is_made() -> bool:
    """Whether the environment is there and complete."""
    return _DONE.exists()


def make() -> None:
    """Make the environment unless it is there."""
    if is_made():
        return
    venv.create(_FOLDER, with_pip=True, clear=True)
    subprocess.run(
        [TICKIT_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_REQUIREMENTS],
        check=True,
    )
    _DONE.touch()


if __name__ == "__main__":
    make()
