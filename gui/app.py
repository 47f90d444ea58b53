"""Start the window: from the command line, or as a child process of a run."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from gui.feed import Feed
from gui.file_session import FileSession
from gui.history import History
from gui.persist import default_ini, load_settings, open_ini
from gui.session import LiveSession
from gui.settings import Model
from gui.window import AnalysisWindow
from streamer.worker import Control

__all__ = ["application", "run", "run_window"]

_STOP_CHECK_MS = 100


def run(address_or_file: str, *, stop: Callable[[], bool] | None = None, ini: Path | None = None) -> int:
    """Show a running analysis, or a result file, until its window is closed.

    Parameters
    ----------
    address_or_file : str
        ``tcp://HOST:PORT`` of a run's view hub, or a ``.nxs`` file.
    stop : callable or None
        Asked ten times a second; the window closes when it returns true.
    ini : pathlib.Path or None
        Where settings and layout are kept; None: in the user's configuration folder.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    UsageError
        If the address is none, or the file cannot be read.
    """
    session = _session(address_or_file)
    app = application()
    settings = open_ini(default_ini() if ini is None else ini)
    window = AnalysisWindow(session, Model(load_settings(settings)), settings)
    window.show()
    timer = QTimer()
    if stop is not None:
        timer.timeout.connect(lambda: app.closeAllWindows() if stop() else None)
        timer.start(_STOP_CHECK_MS)
    status = app.exec()
    timer.stop()
    app.closeAllWindows()
    return status


def _session(address_or_file: str) -> LiveSession | FileSession:
    if "://" in address_or_file:
        return LiveSession(Feed(address_or_file), History())
    return FileSession(Path(address_or_file))


def run_window(control: Control, address_or_file: str) -> None:
    """Show a running analysis in a child process: a target for `streamer.worker.Worker`.

    It ends when the person closes the window or the run asks it to.
    """
    control.ready()
    run(address_or_file, stop=control.stopping)
    control.finished({})


def application() -> QApplication:
    """Return the application, made at the first call; Ctrl-C ends it."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    app = QApplication(sys.argv[:1])
    app.setApplicationName("Atomstream")
    app.setOrganizationName("atomstream")
    app.setStyle("Fusion")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: app.quit())
    return app
