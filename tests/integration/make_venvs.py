"""Make the virtual environments of other people's detector simulators, which the tests here talk to.

Their dependencies do not agree with ours, so each lives in an environment of its own in the project's root.
Run ``python tests/integration/make_venvs.py`` once; until then the tests that need them are skipped.
"""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DIRECT_ELECTRON", "LIBERTEM", "MERLIN", "TICKIT", "ForeignVenv"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class ForeignVenv:
    """An environment `.venv-NAME` with the given requirements."""

    name: str
    requirements: tuple[str, ...]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def missing(self) -> str:
        """Why tests that need the environment are skipped; empty if it is there and complete."""
        if self._done.exists():
            return ""
        return f"{self.requirements[0]} is not installed: run python tests/integration/make_venvs.py"

    def make(self) -> None:
        """Make the environment unless it is there."""
        if not self.missing:
            return
        venv.create(self.folder, with_pip=True, clear=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *self.requirements], check=True)
        self._done.touch()

    @property
    def folder(self) -> Path:
        """Where it is."""
        return _ROOT / f".venv-{self.name}"

    @property
    def _done(self) -> Path:
        return self.folder / ".complete"


TICKIT = ForeignVenv("tickit", ("tickit-devices==0.4.1", "cbor2<6"))
"""DECTRIS Stream V1 and V2, with the REST interface that starts a series."""

LIBERTEM = ForeignVenv("libertem", ("libertem-dectris==0.3.2",))
"""DECTRIS Stream V1, sender and receiver."""

MERLIN = ForeignVenv("merlin", ("libertem-live==0.3.0",))
"""Quantum Detectors MerlinEM."""

DIRECT_ELECTRON = ForeignVenv(
    "de",
    ("deapi==5.3.1", "cbor2>=6.1", "h5py>=3.12", "hdf5plugin>=5", "msgspec>=0.19", "psutil>=6", "pyzmq>=26",
     "threadpoolctl>=3.5", "tqdm>=4.66"),
)  # fmt: skip
"""Direct Electron's client and simulated server, and what recording needs to run beside them."""

if __name__ == "__main__":
    for environment in (TICKIT, LIBERTEM, MERLIN, DIRECT_ELECTRON):
        environment.make()
