"""A whole `atomstream demo` in processes of its own, for as long as something looks at it."""

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["demonstration"]

_PYTHON = (sys.executable, "-m", "pipeline.cli")
_ADDRESSES = (re.compile(r"atomstream gui (tcp://\S+)"), re.compile(r"atomstream tell (tcp://\S+)"))
_MANY_FRAMES = 1_000_000
_PATIENCE_S = 60


@contextlib.contextmanager
def demonstration(*options: str, out: Path | None = None) -> Iterator[str]:
    """Run the demonstration until the end of the block; gives the address for windows.

    Parameters
    ----------
    *options : str
        Of ``atomstream demo``. Every frame is analysed (policy wait).
    out : pathlib.Path or None
        Where it is recorded; None: nowhere that lasts.

    Raises
    ------
    RuntimeError
        If it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *_PYTHON, "demo", "--headless", "--policy", "wait", "--frames", str(_MANY_FRAMES),
            "--out", str(out or Path(folder) / "demo.nxs"), *options,
        ]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert process.stderr is not None
        rest = threading.Thread(target=process.stderr.read, daemon=True)  # so that it never blocks
        try:
            view, control = _addresses_of(process)
            rest.start()
            yield view
            subprocess.run([*_PYTHON, "tell", control, "stop"], check=True, stdout=subprocess.DEVNULL)
            process.wait(_PATIENCE_S)
        finally:
            process.kill()
            process.wait()
            if rest.ident is not None:
                rest.join()
            process.stderr.close()


def _addresses_of(process: subprocess.Popen[str]) -> list[str]:
    """Read where windows and commands go from what the run says first."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        found = [address.search(said) for address in _ADDRESSES]
        if all(found):
            return [match[1] for match in found if match]
    raise RuntimeError(f"the demonstration ended with status {process.wait()}:\n{said}")
