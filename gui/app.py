"""Start the window: from the command line, or as a child process of a run."""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox

from gui.feed import Feed
from gui.file_session import FileSession
from gui.history import History
from gui.persist import default_ini, load_settings, open_ini
from gui.session import LiveSession
from gui.settings import Model
from gui.window import AnalysisWindow
from streamer.curve import ClientKeys, client_keys
from streamer.errors import UsageError
from streamer.worker import Control

__all__ = ["application", "give_way", "open_window", "run", "run_window"]

_STOP_CHECK_MS = 100
_NICE = 15  # a window that takes half a core leaves a run on two busy ones 0.98 of its speed


def run(
    address_or_file: str,
    *,
    stop: Callable[[], bool] | None = None,
    ini: Path | None = None,
    key: str = "",
    server_key: str = "",
) -> int:
    """Show a running analysis, or a result file, until its window is closed.

    Parameters
    ----------
    address_or_file : str
        ``tcp://HOST:PORT`` of a run's view hub, or a ``.nxs`` file.
    stop : callable or None
        Asked ten times a second; the window closes when it returns true.
    ini : pathlib.Path or None
        Where settings and layout are kept; None: in the user's configuration folder.
    key, server_key : str
        For encrypted runs: this machine's secret key file, and the run's public one.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    UsageError
        If the address is none, or a file cannot be read.
    """
    app = application()
    window = open_window(address_or_file, default_ini() if ini is None else ini, client_keys(key, server_key))
    window.first_shown.connect(give_way)
    timer = QTimer()
    if stop is not None:
        timer.timeout.connect(lambda: app.closeAllWindows() if stop() else None)
        timer.start(_STOP_CHECK_MS)
    status = app.exec()
    timer.stop()
    app.closeAllWindows()
    return status


def open_window(address_or_file: str, ini: Path, keys: ClientKeys | None = None) -> AnalysisWindow:
    """Open one more window.

    Raises
    ------
    UsageError
        If the address is none, or the file cannot be read.
    """
    settings = open_ini(ini)
    window = AnalysisWindow(_session(address_or_file, keys), Model(load_settings(settings)), settings)
    window.open_wanted.connect(lambda wanted: _open_or_tell(window, wanted, ini, keys))
    window.show()
    return window


def _open_or_tell(parent: AnalysisWindow, wanted: str, ini: Path, keys: ClientKeys | None) -> None:
    try:
        open_window(wanted, ini, keys)
    except UsageError as error:
        QMessageBox.warning(parent, "Not opened", str(error))


def give_way() -> None:
    """Lower this process' priority: where processors are short, the run comes before its picture."""
    process = psutil.Process()
    with suppress(psutil.Error, OSError):
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if psutil.WINDOWS else _NICE)


def _session(address_or_file: str, keys: ClientKeys | None) -> LiveSession | FileSession:
    if "://" in address_or_file:
        return LiveSession(Feed(address_or_file, keys), History())
    return FileSession(Path(address_or_file))


def run_window(control: Control, address_or_file: str, key: str = "", server_key: str = "") -> None:
    """Show a running analysis in a child process: a target for `streamer.worker.Worker`.

    It ends when the person closes the window or the run asks it to.
    """
    control.ready()
    run(address_or_file, stop=control.stopping, key=key, server_key=server_key)
    control.finished({})


def application() -> QApplication:
    """Return the application, made at the first call; Ctrl-C ends it."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    app = QApplication(sys.argv[:1])
    app.setApplicationName("atomstream")
    app.setApplicationDisplayName("Atomstream")
    app.setStyle("Fusion")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Later, from the event loop: it comes in the midst of a drawing, whose window it would close.
        signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, app.quit))
    return app
