"""The window as a process: it starts, ends when asked or closed, and leaves the interpreter in peace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PySide6.QtWidgets import QApplication

from gui.app import open_window, run_window
from gui.window import AnalysisWindow
from streamer.worker import Worker, WorkerState
from tests.gui.conftest import show_until
from tests.gui.publisher import Particle, Publisher, make_status, make_view

SCRIPT = """
import sys, time
from pathlib import Path
from gui.app import run
end = time.monotonic() + 1.0
sys.exit(run(sys.argv[1], stop=lambda: time.monotonic() > end, ini=Path(sys.argv[2])))
"""


FOR_LONG = """
import sys
from pathlib import Path
from gui.app import run
run(sys.argv[1], ini=Path(sys.argv[2]))
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


def test_several_runs_are_shown_at_once_each_in_its_own_window(
    app: QApplication, no_widgets_left: None, publisher: Publisher, tmp_path: Path
) -> None:
    with Publisher() as other:
        first = open_window(publisher.address, tmp_path / "w.ini")
        first.open_wanted.emit(other.address)  # what the Open menu does
        windows = [w for w in app.topLevelWidgets() if isinstance(w, AnalysisWindow)]
        (second,) = [w for w in windows if w is not first]
        for source, window, size, frame_id in ((publisher, first, 128, 3), (other, second, 64, 77)):
            source.wait_subscriber()
            source.send(make_view(Particle(size=size), frame_id, size=size))
            show_until(window, lambda window=window: window.session.history.newest is not None)
        assert "frame 3  ·  128 × 128" in first.panels.map.detail.text()
        assert "frame 77  ·  64 × 64" in second.panels.map.detail.text()
        first.close()
        other.send(make_view(Particle(size=64), 78, size=64))
        show_until(second, lambda: "frame 78 " in second.panels.map.detail.text())
        second.close()


def test_the_priority_is_lowered_after_the_first_picture(publisher: Publisher, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FOR_LONG, publisher.address, str(tmp_path / "w.ini")]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        usual = psutil.Process().nice()
        publisher.wait_subscriber(30.0)
        assert psutil.Process(process.pid).nice() == usual
        deadline = time.monotonic() + 30
        while psutil.Process(process.pid).nice() == usual:
            assert time.monotonic() < deadline
            publisher.send(make_view(Particle(size=128), 1, size=128))
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes to the whole console there")
def test_ctrl_c_closes_the_window_as_a_person_does(publisher: Publisher, tmp_path: Path) -> None:
    ini = tmp_path / "w.ini"
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also from a script
    command = [sys.executable, "-c", heard + FOR_LONG, publisher.address, str(ini)]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        publisher.wait_subscriber(30.0)
        time.sleep(1.0)  # it is in its event loop
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert ini.exists(), "settings and layout are kept"


def test_the_interpreter_exits_cleanly_again_and_again(publisher: Publisher, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """PySide6 6.12 loses references to None and True on Python 3.11, which then aborts."""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    for attempt in range(3):
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
