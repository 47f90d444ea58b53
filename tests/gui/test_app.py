"""The window as a process: it starts, ends when asked or closed, and leaves the interpreter in peace."""

import os
import subprocess
import sys
import time

import pytest

from gui.app import run_window
from streamer.worker import Worker, WorkerState
from tests.gui.publisher import Particle, Publisher, make_status, make_view

SCRIPT = """
import sys, time
from pathlib import Path
from gui.app import run
end = time.monotonic() + 1.0
sys.exit(run(sys.argv[1], stop=lambda: time.monotonic() > end, ini=Path(sys.argv[2])))
"""


def test_as_a_worker_it_ends_when_asked(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    worker = Worker("window", run_window, publisher.address)
    worker.wait_ready(30.0)
    publisher.wait_subscriber(30.0)
    for k in range(5):
        publisher.send(make_view(Particle(size=128), k, size=128))
    worker.request_stop()
    worker.join(20.0)
    assert worker.state is WorkerState.FINISHED, worker.error
    worker.close()
    assert list(tmp_path.rglob("window.ini"))


def test_the_interpreter_exits_cleanly_again_and_again(publisher: Publisher, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """PySide6 6.12 loses references to None and True on Python 3.11, which then aborts."""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    for attempt in range(4):
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            "-c",
            SCRIPT,
            publisher.address,
            str(tmp_path / "w.ini"),
        ]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        publisher.wait_subscriber(30.0)
        publisher.send(make_status(missing=1))
        for k in range(20):
            publisher.send(make_view(Particle(size=128), k, size=128))
            time.sleep(0.01)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, f"attempt {attempt}: {errors[-1500:]}"


def test_signals_and_settings_keep_the_reference_counts_of_none_true_and_false(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """What makes PySide6 6.12 abort: each call takes references that were never given."""
    from PySide6.QtCore import QObject, QSettings, Signal

    class Sender(QObject):
        told = Signal(bool)

    sender = Sender()
    sender.told.connect(lambda on: None)
    ini = QSettings(str(tmp_path / "x.ini"), QSettings.Format.IniFormat)
    before = [sys.getrefcount(value) for value in (None, True, False)]
    for _ in range(500):
        sender.told.emit(True)
        sender.told.emit(False)
        ini.setValue("a", True)
    after = [sys.getrefcount(value) for value in (None, True, False)]
    assert all(now > then - 250 for now, then in zip(after, before, strict=True))


def test_a_wrong_address_is_one_line_and_status_two() -> None:
    command = [sys.executable, "-m", "gui", "tcp//nowhere"]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
