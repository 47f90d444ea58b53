"""Key pairs for encrypted connections, as files: a secret one that stays, a public one to be given away.

The files are ZeroMQ's own certificates (ZPL, as czmq and ``zmq.auth.load_certificate`` read them), so that
other programs can use them too. Keys are Curve25519's, written in Z85: 40 characters (ZeroMQ RFC 26 and 32).
"""

import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth.certs import load_certificate
from zmq.utils import z85

from streamer.errors import RunError, UsageError

__all__ = [
    "PUBLIC_SUFFIX",
    "SECRET_SUFFIX",
    "KeyPair",
    "expect_curve",
    "load_pair",
    "load_public",
    "make_key_files",
]

PUBLIC_SUFFIX = ".key"
SECRET_SUFFIX = ".key_secret"

_SECRET_MODE = 0o600
_PUBLIC_MODE = 0o644
_KEY_CHARACTERS = 40
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A machine's keys, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)


def make_key_files(stem: Path) -> tuple[Path, Path]:
    """Make ``STEM.key_secret``, which only its owner can read, and ``STEM.key``.

    On Windows a file's permissions are those of its folder: keep keys in the user's own.

    Returns
    -------
    tuple of pathlib.Path
        The secret file and the public one.

    Raises
    ------
    UsageError
        If one of them exists, or the folder does not.
    RunError
        If this ZeroMQ was built without CURVE.
    """
    secret_path, public_path = (
        stem.with_name(stem.name + suffix) for suffix in (SECRET_SUFFIX, PUBLIC_SUFFIX)
    )
    for path in (secret_path, public_path):
        if path.exists():
            raise UsageError(f"{path} exists: a key is never overwritten; choose another name")
    expect_curve()
    public, secret = zmq.curve_keypair()
    _write(secret_path, _certificate(public, secret), _SECRET_MODE)
    _write(public_path, _certificate(public), _PUBLIC_MODE)
    return secret_path, public_path


def load_pair(path: Path) -> KeyPair:
    """Read this machine's own keys from its secret file.

    Raises
    ------
    UsageError
        If the file is none, or others on this machine can read it.
    """
    public, secret = _load(path)
    if secret is None:
        raise UsageError(f"{path} holds no secret key: expected this machine's own NAME{SECRET_SUFFIX}")
    if sys.platform != "win32" and path.stat().st_mode & _OTHERS:
        raise UsageError(f"{path} can be read by other users of this machine: chmod 600 {path}")
    return KeyPair(public, secret)


def load_public(path: Path) -> bytes:
    """Read another machine's public key (Z85).

    Raises
    ------
    UsageError
        If the file holds none.
    """
    return _load(path)[0]


def expect_curve() -> None:
    """Check that this ZeroMQ can encrypt: the wheels of pyzmq can, a distribution's own need not."""
    if not zmq.has("curve"):
        raise RunError(
            "this ZeroMQ was built without CURVE, so it cannot encrypt: install pyzmq from its wheel"
        )


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} is no key file ({error}): atomstream keys NAME makes NAME{SECRET_SUFFIX} and"
            f" NAME{PUBLIC_SUFFIX}"
        ) from error
    for key in (public, secret):
        if key is not None and not _is_key(key):
            raise UsageError(f"{path} holds a key of {len(key)} characters that is none: expected 40, in Z85")
    return public, secret


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == _KEY_CHARACTERS and bool(z85.decode(key))
    except (ValueError, KeyError):
        return False


def _certificate(public: bytes, secret: bytes | None = None) -> str:
    kind = (
        "SECRET key: never leaves this machine"
        if secret
        else "public key: for those who connect, or are connected to"
    )
    lines = [f"#  Atomstream, {kind}", "", "metadata", "curve", f'    public-key = "{public.decode()}"']
    if secret:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return "\n".join([*lines, ""])


def _write(path: Path, text: str, mode: int) -> None:
    """Make a file that has its permissions from the first moment on."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
