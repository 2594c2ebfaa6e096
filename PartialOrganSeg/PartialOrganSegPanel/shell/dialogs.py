"""Questions and messages as Slicer's own windows. In testing mode nothing waits: the first choice is the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _


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
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
        return _path(folder)

    def choose_file(self, title: str, pattern: str, new_name: str = "") -> Path | None:
        if slicer.app.testingEnabled():
            return None
        ask = qt.QFileDialog.getOpenFileName
        if new_name:
            ask = qt.QFileDialog.getSaveFileName
        return _path(ask(slicer.util.mainWindow(), title, new_name, pattern))


def _path(text: str) -> Path | None:
    """What a file dialog returns: an empty text for Cancel."""
    if not text:
        return None
    return Path(text)
