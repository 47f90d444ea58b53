"""Make the virtual environments of other people's detector simulators, which the tests here talk to.

Their dependencies do not agree with ours, so each lives in an environment of its own in the project's root;
so do files of other people's that are too large to be kept here.
Run ``python tests/integration/make_venvs.py`` once; until then the tests that need them are skipped.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DIRECT_ELECTRON",
    "FORMATS",
    "LIBERTEM",
    "MERLIN",
    "MERLIN_HEADERS",
    "MICROSCOPE_FILES",
    "NEXUS",
    "PVAPY",
    "READERS",
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
        venv.create(self.folder, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(self.python)]  # it needs none of its own
        install = [*pip, "install", "--quiet", "--disable-pip-version-check", *self.requirements]
        subprocess.run(install, check=True)
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
    """Files out of another package, which is not installed, in the folder `.venv-NAME`.

    `choice` are pip's options that choose which of the package's archives.
    """

    name: str
    requirement: str
    choice: tuple[str, ...]
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
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*pip, *self.choice, "--dest", folder, self.requirement], check=True)
            (archive,) = Path(folder).iterdir()
            unpacked = Path(folder, "unpacked")
            shutil.unpack_archive(archive, unpacked, "zip" if archive.suffix == ".whl" else None)
            for path in (
                path for pattern in self.patterns for path in unpacked.glob(f"{self.within}/{pattern}")
            ):
                target = self.folder / path.relative_to(unpacked)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
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
    # The last version that carries files was built for Python 3.10; it is only unpacked here.
    ("--only-binary", ":all:", "--python-version", "3.10", "--platform", "manylinux2014_x86_64"),
    "hyperspy/tests/io",
    ("FEI_*/*", "dm[34]_[23]D_data/*", "dm_stackbuilder_plugin/*", "emd_files/fei_example_tem_stack.emd",
     "tiff_files/test_loading*", "tiff_files/*.dm3"),
)  # fmt: skip
"""Small files that the microscopes' own programs wrote: DigitalMicrograph, TIA, Velox, and ImageJ."""

MERLIN_HEADERS = ForeignFiles("fpd", "fpd==0.2.5", ("--no-binary", "fpd"), "fpd-0.2.5/fpd", ("fpd_file.py",))
"""Among its authors' notes are headers out of files that several versions of Merlin's software wrote."""

FORMATS = ForeignVenv(
    "formats",
    (
        "rosettasciio[blockfile,zspy]==0.15.0",
        "h5py>=3.12",
        "hdf5plugin>=5",
        "mrcfile>=1.5",
        "msgspec>=0.19",
        "tifffile>=2024.8",
    ),
)
"""What reading Blockfile and ZSPY needs besides rosettasciio, and does not agree with what else is tested."""

NEXUS = ForeignVenv("nexus", ("nexgen==0.11.2", "fabio==2026.6.0"))
"""Writers of DECTRIS master files: Diamond Light Source's and the ESRF's."""

READERS = ForeignVenv(
    "readers", ("hyperspy==2.5.0", "silx==3.1.3", "nexusformat==2.1.0", "hdf5plugin>=5", "h5py>=3.12")
)
"""Other people's readers of result files."""

PVAPY = ForeignVenv("pva", ("pvapy==5.6.0",))
"""EPICS pvAccess: a simulated area detector and a monitor, for the benchmark beside others."""

if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:  # half of the time is waiting for the network
        everything = (
            TICKIT, LIBERTEM, MERLIN, DIRECT_ELECTRON, NEXUS, PVAPY, FORMATS, READERS, MICROSCOPE_FILES,
            MERLIN_HEADERS,
        )  # fmt: skip
        for made in [pool.submit(environment.make) for environment in everything]:
            made.result()
