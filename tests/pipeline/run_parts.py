"""Processes that stand in for a run's sender and window in the tests of the supervisor: real ones."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import analyser
from pipeline.prepare import prepare
from simulator.sender import SenderSettings, send_stream
from streamer.errors import RunError
from streamer.flag import SharedFlag
from streamer.ingest import run_ingest
from streamer.records import SeriesKey
from streamer.worker import Control

SHAPE = (64, 64)


def send_frames(control: Control, n_frames: int, rate_hz: float, begin: SharedFlag, error: str = "") -> None:
    """Send small frames, as many and as fast as asked for; with `error`, fail after them, before the end."""
    settings = SenderSettings(
        rate_hz=rate_hz,
        n_planned=n_frames + bool(error),  # the one that it fails over is missing
        pixel_size_A=0.2,
        key=SeriesKey(1, "test"),
        linger_s=5.0,
    )

    def bound(endpoint: str) -> None:
        control.ready(address=f"dectris2://{endpoint.removeprefix('tcp://')}")
        while not begin.wait(0.05) and not control.stopping():
            pass

    counts = send_stream(_noise(n_frames, error), settings, control.stopping, bound)
    control.finished({"frames": counts.frames, "late": counts.late})


def send_and_fail(control: Control, n_frames: int, begin: SharedFlag) -> None:
    """Send some frames, and fail before the series' end."""
    send_frames(control, n_frames, 50.0, begin, "the detector caught fire")


def _noise(n_frames: int, error: str) -> Iterator[NDArray[np.uint16]]:
    rng = np.random.default_rng(1)
    for _ in range(n_frames):
        yield rng.poisson(12.0, SHAPE).astype(np.uint16)
    if error:
        raise RunError(error)


def window_closed_after(control: Control, seconds: float, address: str) -> None:
    """A window that its user closes."""
    control.ready()
    time.sleep(seconds)
    control.finished({})


def window_closed_on(control: Control, sign: str, address: str) -> None:
    """A window that its user closes when a file named `sign` appears."""
    control.ready()
    while not Path(sign).exists() and not control.stopping():
        time.sleep(0.02)
    control.finished({"by user": Path(sign).exists()})


def window_that_crashes(control: Control, address: str) -> None:
    """A window that does not come up."""
    raise RunError("no display")


def send_images(control: Control, path: str, begin: SharedFlag) -> None:
    """Send the images of an ``.npy`` file, shape (n, height, width)."""
    images = np.load(path)
    settings = SenderSettings(
        rate_hz=50.0, n_planned=len(images), pixel_size_A=0.2, key=SeriesKey(1, "test"), linger_s=5.0
    )

    def bound(endpoint: str) -> None:
        control.ready(address=f"dectris2://{endpoint.removeprefix('tcp://')}")
        while not begin.wait(0.05) and not control.stopping():
            pass

    counts = send_stream(images, settings, control.stopping, bound)
    control.finished({"frames": counts.frames, "late": counts.late})


def window_that_stays(control: Control, sign: str, address: str) -> None:
    """A window that is open until it is killed; a file named `sign` tells its process id."""
    control.ready()
    Path(sign).write_text(str(os.getpid()))
    while not control.stopping():
        time.sleep(0.02)
    control.finished({})


def ingest_that_closes_slowly(control: Control, *args: Any) -> None:
    """Ingest whose end comes a second after it has told the analysers that the run is over."""

    class Slow(Control):
        def finished(self, summary: Mapping[str, Any]) -> None:
            time.sleep(1.0)
            super().finished(summary)

    run_ingest(Slow(control._stop, control._report), *args)


def ingest_whose_source_fails(control: Control, *args: Any) -> None:
    """Ingest that names what became of its source a moment after it has handed over its summary."""
    run_ingest(control, *args)
    time.sleep(1.0)
    raise RunError("the source hung up")


def analyser_that_takes_its_time(control: Control, *args: Any) -> None:
    """An analyser that needs nearly two seconds for a frame, as for a very large one."""

    def slow(*frame: Any) -> Any:
        time.sleep(1.7)
        return prepare(*frame)

    analyser.prepare = slow
    analyser.run_analyser(control, *args)


def analyser_that_only_loads(control: Control, *args: Any) -> None:
    """An analyser that does not hear that the run is over while it loads its networks."""
    while True:
        time.sleep(1.0)


def analyser_that_loads(control: Control, *args: Any) -> None:
    """An analyser whose networks are not there yet when the run ends."""
    while not control.stopping():
        time.sleep(0.02)
    control.finished({})
