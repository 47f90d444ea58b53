"""A result file in the window while a real run still writes it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from benchmarks.demonstration import demonstration
from gui import file_session
from gui.file_session import FileSession
from gui.settings import Model, Settings
from gui.window import AnalysisWindow
from streamer.errors import UsageError
from tests.gui.conftest import process_events


def session_when_there(path: Path, frames: int) -> FileSession:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            session = FileSession(path)
        except UsageError:
            time.sleep(0.2)
            continue
        if len(session.history.rows) >= frames:
            return session
        time.sleep(0.5)
    raise AssertionError("the run has recorded nothing")


def wait(window: AnalysisWindow, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        window.tick()
        process_events()
        time.sleep(0.02)


def newest_id(window: AnalysisWindow) -> int:
    return int(window.session.history.rows["frame_id"][-1])


def test_a_file_that_grows_is_followed_until_it_is_closed(
    app: QApplication, no_widgets_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_session, "_RELOAD_S", 0.3)
    path = tmp_path / "growing.nxs"
    with demonstration("--fps", "8", "--size", "256", out=path):
        window = AnalysisWindow(session_when_there(path, 4), Model(Settings()))
        window.stop_timer()
        window.show()
        window.tick()
        header = window.panels.header
        assert header.light.text() == "REC"
        assert "frame 0 " in window.panels.map.detail.text()
        assert header.live.isVisible()
        QTest.mouseClick(header.live, Qt.MouseButton.LeftButton)
        first = newest_id(window)
        wait(window, lambda: newest_id(window) >= first + 5)
        assert f"frame {newest_id(window):,}".replace(",", "\u2009") in window.panels.map.detail.text()
        QTest.keyClick(window, Qt.Key.Key_Left)
        held = window.panels.map.detail.text()
        later = newest_id(window)
        wait(window, lambda: newest_id(window) > later)
        assert window.panels.map.detail.text() == held
    wait(window, lambda: header.light.text() == "SAVED")
    assert not header.live.isVisible()
    assert not window.panels.alarm.isVisible()
    window.close()
