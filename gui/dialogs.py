"""Questions to the person: which file, which address, where to save."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QWidget

from streamer.control import NOTE_BYTES
from streamer.errors import UsageError

__all__ = ["ask_for_address", "ask_for_note", "ask_for_result_file", "save_as"]


def ask_for_result_file(parent: QWidget) -> str:
    """Return the path of the file that was chosen, empty if none."""
    name, _ = QFileDialog.getOpenFileName(parent, "Open", "", "Result files (*.nxs);;All files (*)")
    return name


def ask_for_address(parent: QWidget) -> str:
    """Return the address that was typed, empty if none."""
    question = "Address that the run has printed:"
    text, given = QInputDialog.getText(parent, "Connect", question, text="tcp://")
    return text.strip() if given else ""


def ask_for_note(parent: QWidget) -> str:
    """Return the note that was typed, empty if none; one that is too long for the file is given back."""
    question, text = "Note, with the time of this moment and the frame it belongs to:", ""
    while True:
        text, given = QInputDialog.getText(parent, "Note", question, text=text)
        note = text.strip()
        if not given or (n_bytes := len(note.encode())) <= NOTE_BYTES:
            return note if given else ""
        question = f"A note has room for {NOTE_BYTES} bytes, and this has {n_bytes}. Please shorten it:"


def save_as(parent: QWidget, proposed: str, kind: str, save: Callable[[Path], None]) -> None:
    """Ask where to, and save; a failure is told, not raised.

    Parameters
    ----------
    proposed : str
        File name with its suffix, which is added to a name that is typed without it.
    kind : str
        What the dialog calls such files.
    save : callable
        Writes the file.
    """
    suffix = Path(proposed).suffix
    name, _ = QFileDialog.getSaveFileName(parent, "Save", proposed, f"{kind} (*{suffix})")
    path = Path(name) if name.lower().endswith(suffix) else Path(name + suffix)
    if not name or (path != Path(name) and path.exists() and not _may_replace(parent, path)):
        return
    try:
        save(path)
    except UsageError as error:
        QMessageBox.warning(parent, "Not saved", str(error))


def _may_replace(parent: QWidget, path: Path) -> bool:
    """Ask what the dialog could not: it did not know of the suffix."""
    answer = QMessageBox.question(parent, "Save", f"{path.name} is there already. Replace it?")
    return answer is QMessageBox.StandardButton.Yes
