"""A window on a real socket, and the rule that a test leaves no widget behind."""

import gc
import time
from collections.abc import Callable, Iterator

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication

from gui.app import application
from gui.feed import Feed
from gui.history import History, Limits
from gui.session import LiveSession
from gui.settings import Model, Settings
from gui.window import AnalysisWindow
from tests.gui.publisher import Publisher


@pytest.fixture(scope="session")
def app() -> QApplication:
    qt = application()
    qt.setQuitOnLastWindowClosed(False)
    return qt


@pytest.fixture
def no_widgets_left(app: QApplication) -> Iterator[None]:
    before = set(map(id, app.topLevelWidgets()))
    yield
    delete_closed()
    left = [widget for widget in app.topLevelWidgets() if id(widget) not in before]
    assert not left, f"the test left widgets behind: {left}"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as made:
        yield made


OpenWindow = Callable[..., AnalysisWindow]


@pytest.fixture
def open_window(app: QApplication, no_widgets_left: None, publisher: Publisher) -> Iterator[OpenWindow]:
    """Open windows on the publisher; they draw only when the test says so, and are closed at its end."""
    opened: list[AnalysisWindow] = []

    def make(
        settings: Settings | None = None, *, limits: Limits | None = None, **more: object
    ) -> AnalysisWindow:
        session = LiveSession(Feed(publisher.address), History(limits))
        window = AnalysisWindow(session, Model(settings or Settings()), **more)  # type: ignore[arg-type]
        window.stop_timer()
        window.resize(1280, 800)
        window.show()
        publisher.wait_subscriber()
        opened.append(window)
        process_events()
        return window

    yield make
    for window in filter(shiboken6.isValid, opened):
        window.close()
    opened.clear()
    delete_closed()
    gc.collect()


def process_events() -> None:
    for _ in range(3):
        QCoreApplication.processEvents()


def delete_closed() -> None:
    process_events()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    process_events()


def show_until(window: AnalysisWindow, done: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Let the window take in and draw until `done`; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "the window did not get there in time"
        window.tick()
        process_events()
        time.sleep(0.002)
    window.tick()
    window.draw_timeline()
    process_events()
