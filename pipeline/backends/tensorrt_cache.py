"""Built engines on disk, each under everything it depends on.

An engine fits one network file, one TensorRT to the last digit, one GPU model, one operating system, one
precision and one shape. All of that is its key; the file's name carries a digest of it, and the file begins
with the key and the engine's own digest, so that a truncated or foreign file is never handed to TensorRT.
"""

import hashlib
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipeline.backends.protocol import BatchShape
from pipeline.particle_networks import AnyFile

__all__ = ["EngineKey", "default_folder", "read_engine", "write_engine"]

_MAGIC = b"atomstream engine 1\n"
_DIGEST_BYTES = 65  # SHA-256 in hexadecimal and the end of the line


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine depends on.

    `profile` is the input's shape (N, C, H, W).
    """

    network: str
    onnx_sha256: str
    tensorrt: str
    gpu: str
    compute_capability: str
    system: str
    precision: str
    profile: tuple[int, int, int, int]

    @classmethod
    def of(
        cls, network: AnyFile, shape: BatchShape, precision: str, tensorrt: str, gpu: tuple[str, str]
    ) -> Self:
        """Make the key of one network's engine; `gpu` is the device's name and compute capability."""
        profile = (shape.frames, network.channels, shape.height, shape.width)
        system = f"{platform.system()} {platform.machine()}"
        return cls(network.path.stem, network.sha256, tensorrt, *gpu, system, precision, profile)

    @property
    def file_name(self) -> str:
        """A name for people, with a digest of the whole key."""
        size = "x".join(str(side) for side in self.profile)
        return f"{self.network}-{self.precision}-{size}-{hashlib.sha256(self.text).hexdigest()[:16]}.engine"

    @property
    def text(self) -> bytes:
        """The key as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()


def default_folder() -> Path:
    """Return where engines are kept if the configuration does not say: the user's cache."""
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local" / "atomstream" / "engines"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "atomstream" / "engines"
    return Path.home() / ".cache" / "atomstream" / "engines"


def read_engine(folder: Path, key: EngineKey) -> bytes | None:
    """Return the engine kept under `key`; None if there is none, or its file is damaged."""
    try:
        content = (folder / key.file_name).read_bytes()
    except OSError:
        return None
    head = _head(key)
    digest, engine = content[len(head) :][:_DIGEST_BYTES], content[len(head) + _DIGEST_BYTES :]
    return engine if content.startswith(head) and digest == _digest(engine) else None


def write_engine(folder: Path, key: EngineKey, engine: bytes) -> Path:
    """Keep `engine` under `key`, replacing what was there in one step; a reader never sees half a file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_head(key) + _digest(engine) + engine)
        path = folder / key.file_name
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _head(key: EngineKey) -> bytes:
    return _MAGIC + key.text + b"\n"


def _digest(engine: bytes) -> bytes:
    return hashlib.sha256(engine).hexdigest().encode() + b"\n"
