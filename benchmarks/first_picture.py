"""How long after a demonstration's first frame its window shows a picture: `atomstream demo` as it is.

A window lowers its priority when its first picture is there (`gui.app`), which can be seen from outside; when
the first frame was received stands in the file.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import psutil

__all__ = ["first_picture"]

FRAMES = 60
PATIENCE_S = 120.0
_LOOK_S = 0.02


def first_picture() -> dict[str, Any]:
    """Start a demonstration with its window, drawn offscreen, and report the delay [s]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.nxs"
        command = [sys.executable, "-m", "pipeline.cli", "demo", "--frames", str(FRAMES), "--out", str(path)]
        environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": folder}
        silent = subprocess.DEVNULL
        started = time.time()
        process = subprocess.Popen(command, env=environment, stdout=silent, stderr=silent)
        try:
            shown = _when_shown(psutil.Process(process.pid))
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        with h5py.File(path) as file:
            received = float(file["/entry/ledger/t_received"][0])
    return {
        "first_frame_after_start_s": round(received - started, 2),
        "first_picture_after_first_frame_s": round(shown - received, 2),
    }


def _when_shown(run: psutil.Process) -> float:
    """Return the Unix time [s] at which one of the run's processes has lowered its priority."""
    usual, deadline = run.nice(), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any(_nice(child) not in (usual, None) for child in run.children(recursive=True)):
            return time.time()
        time.sleep(_LOOK_S)
    raise TimeoutError(f"no window has shown a picture within {PATIENCE_S:g} s")


def _nice(process: psutil.Process) -> int | None:
    try:
        return int(process.nice())
    except psutil.NoSuchProcess:
        return None
