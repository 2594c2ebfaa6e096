"""Questions and messages as Slicer's own windows. In testing mode nothing waits: the first choice is the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from . import settings
from .tick_list import TickList

_FOLDER = "PartialOrganSeg/Folder/"  # before the title of a dialog, in Slicer's settings: where it was used last


class SlicerDialogs:
    """See `services.Dialogs`."""

    def ask(self, title: str, text: str, choices: Sequence[tuple[str, str]]) -> str | None:
        if slicer.app.testingEnabled():
            logging.info("testing mode: %s -> %s", title, choices[0][0])
            return choices[0][0]
        # buttons are compared, not their roles: all choices have the same one
        box = qt.QMessageBox(slicer.util.mainWindow())
        box.setIcon(qt.QMessageBox.Question)
        box.setWindowTitle(title)
        box.setText(text)
        buttons = [(key, box.addButton(label, qt.QMessageBox.AcceptRole)) for key, label in choices]
        box.addButton(qt.QMessageBox.Cancel)
        box.exec_()
        return next((key for key, button in buttons if box.clickedButton() == button), None)

    def show_log(self, title: str, text: str) -> None:
        if slicer.app.testingEnabled():
            logging.info("testing mode: %s\n%s", title, text)
            return
        dialog = qt.QDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(title)
        dialog.resize(700, 400)
        layout = qt.QVBoxLayout(dialog)
        view = qt.QPlainTextEdit(dialog)
        view.setReadOnly(True)
        view.setPlainText(text or _("Nothing was said."))
        layout.addWidget(view)
        dialog.exec_()

    def choose_folder(self, title: str) -> Path | None:
        if slicer.app.testingEnabled():
            return None
        folder = _path(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, _last_folder(title)))
        if folder is not None:
            _remember(title, folder)
        return folder

    def choose_file(self, title: str, pattern: str, new_name: str = "") -> Path | None:
        if slicer.app.testingEnabled():
            return None
        ask, start = qt.QFileDialog.getOpenFileName, _last_folder(title)
        if new_name:
            ask, start = qt.QFileDialog.getSaveFileName, str(Path(start) / new_name)
        path = _path(ask(slicer.util.mainWindow(), title, start, pattern))
        if path is not None:
            _remember(title, path.parent)
        return path

    def choose_files(self, title: str, pattern: str) -> list[Path]:
        if slicer.app.testingEnabled():
            return []
        names = qt.QFileDialog.getOpenFileNames(slicer.util.mainWindow(), title, _last_folder(title), pattern)
        paths = [Path(name) for name in names]
        if paths:
            _remember(title, paths[0].parent)
        return paths

    def choose_some(self, title: str, text: str, items: Sequence[tuple[str, str]]) -> list[str] | None:
        if slicer.app.testingEnabled():
            return [key for key, _shown in items]
        ticks = TickList(slicer.util.mainWindow(), title, text, items)
        if not ticks.dialog.exec_():
            return None
        return ticks.ticked()


def _path(text: str) -> Path | None:
    """What a file dialog returns: an empty text for Cancel."""
    if not text:
        return None
    return Path(text)


def _last_folder(title: str) -> str:
    """Where a dialog of this title was used last; empty for Qt's own choice."""
    folder = settings.read_setting(_FOLDER + title) or ""
    if not Path(folder).is_dir():  # another disk, or gone
        return ""
    return folder


def _remember(title: str, folder: Path) -> None:
    settings.write_setting(_FOLDER + title, str(folder))
