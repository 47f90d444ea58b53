"""Settings and layout on disk, as an ini file in the user's configuration folder."""

import dataclasses
import logging
from pathlib import Path

import msgspec
from PySide6.QtCore import QByteArray, QSettings, QStandardPaths

from gui.settings import Settings

__all__ = ["default_ini", "load_bytes", "load_settings", "open_ini", "save_bytes", "save_settings"]

_log = logging.getLogger("atomstream.gui")


def default_ini() -> Path:
    """Return where this user's file is; the application's name must be set before."""
    folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.AppConfigLocation)
    return Path(folder) / "window.ini"


def open_ini(path: Path) -> QSettings:
    """Open the file; it is made when something is saved."""
    return QSettings(str(path), QSettings.Format.IniFormat)


def load_settings(ini: QSettings) -> Settings:
    """Read settings; a value that is missing, damaged or no longer known is the default, with a warning."""
    settings = Settings()
    for field in dataclasses.fields(Settings):
        text = ini.value(f"settings/{field.name}", "", str)
        if not isinstance(text, str) or not text:
            continue
        try:
            value = msgspec.json.decode(text, type=type(getattr(settings, field.name)))
            settings = dataclasses.replace(settings, **{field.name: value})
        except (ValueError, TypeError) as error:  # TypeError: of a list, what is in it
            _log.warning("%s: %s is ignored: %s", ini.fileName(), field.name, error)
    return settings


def save_settings(ini: QSettings, settings: Settings) -> None:
    """Write every setting, readable and editable."""
    for field in dataclasses.fields(Settings):
        text = msgspec.json.encode(getattr(settings, field.name)).decode()
        ini.setValue(f"settings/{field.name}", text)


def load_bytes(ini: QSettings, name: str) -> QByteArray:
    """Read a widget's state, empty if there is none."""
    value = ini.value(f"layout/{name}", QByteArray())
    return value if isinstance(value, QByteArray) else QByteArray()


def save_bytes(ini: QSettings, name: str, state: QByteArray) -> None:
    """Write a widget's state."""
    ini.setValue(f"layout/{name}", state)
