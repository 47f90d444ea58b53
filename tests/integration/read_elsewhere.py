"""Open a result file with other people's readers; runs in an environment that has them, and not our program.

``read_elsewhere.py FILE.nxs`` prints as JSON what silx, nexusformat and HyperSpy show when they are asked for
the file's default plot, or its signal.
"""

import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import hdf5plugin  # noqa: F401 - registers the filters
import hyperspy.api as hs
import nexusformat.nexus as nx
import numpy as np
import silx.io
import silx.io.nxdata


def silx_shows(path: str) -> dict[str, Any]:
    with silx.io.open(path) as file:
        data = silx.io.nxdata.get_default(file)
        assert data is not None, "no default plot"
        assert data.is_valid, data.issues
        axes = zip(data.axes_names, data.axes, strict=True)
        return shown(data.signal) | {"axes": [[name, *step(axis)] for name, axis in axes]}


def nexusformat_shows(path: str) -> dict[str, Any]:
    data = nx.nxload(path).get_default()
    axes = [[axis.nxname, *step(axis.nxdata), axis.attrs["units"]] for axis in data.nxaxes]
    return shown(data.nxsignal.nxdata) | {"axes": axes}


def hyperspy_shows(path: str) -> dict[str, Any]:
    signal = hs.load(path, reader="HSPY")
    (signal,) = signal if isinstance(signal, list) else (signal,)
    axes = [[axis.name, axis.offset, axis.scale, str(axis.units)] for axis in signal.axes_manager._axes]
    return shown(signal.data) | {"axes": axes}


def shown(frames: Any) -> dict[str, Any]:
    pixels = np.ascontiguousarray(frames[()])
    return {"shape": list(pixels.shape), "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}


def step(axis: Any) -> tuple[float, float]:
    """Return an axis' first value and its mean step."""
    values = np.asarray(axis[()], float)
    return float(values[0]), float(np.ptp(values) / (len(values) - 1))


READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "silx": silx_shows,
    "nexusformat": nexusformat_shows,
    "hyperspy": hyperspy_shows,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({name: read(sys.argv[1]) for name, read in READERS.items()}))
