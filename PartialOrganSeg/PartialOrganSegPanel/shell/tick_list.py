"""A window in which any number of lines of a long list are ticked, with a field to find some of them."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

WIDTH, HEIGHT = 560, 420


class TickList:
    """`dialog` is the window; `items` are pairs of a key and what is shown of it, none of them ticked at first."""

    def __init__(self, parent: qt.QWidget | None, title: str, text: str, items: Sequence[tuple[str, str]]) -> None:
        self._keys = [key for key, _shown in items]
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(title)
        self.dialog.resize(WIDTH, HEIGHT)
        layout = qt.QVBoxLayout(self.dialog)
        label = qt.QLabel(text)
        label.wordWrap = True
        self.find = qt.QLineEdit()
        self.find.placeholderText = _("Find")
        self.list = qt.QListWidget()
        for _key, shown in items:
            item = qt.QListWidgetItem(shown)
            item.setCheckState(qt.Qt.Unchecked)
            self.list.addItem(item)
        self.tick_all = qt.QPushButton(_("Tick all that are shown"))
        buttons = qt.QDialogButtonBox()
        self.ok = buttons.addButton(qt.QDialogButtonBox.Ok)
        buttons.addButton(qt.QDialogButtonBox.Cancel)
        for widget in (label, self.find, self.list, self.tick_all, buttons):
            layout.addWidget(widget)
        self.find.connect("textChanged(QString)", self._look_for)
        self.tick_all.connect("clicked()", self._tick_shown)
        self.list.connect("itemChanged(QListWidgetItem*)", self._ticks_changed)
        buttons.connect("accepted()", self.dialog.accept)
        buttons.connect("rejected()", self.dialog.reject)
        self._ticks_changed(None)

    def ticked(self) -> list[str]:
        """Keys of the ticked lines in the list's order, also of those that are not shown at the moment."""
        return [key for number, key in enumerate(self._keys) if self._is_ticked(number)]

    def _is_ticked(self, number: int) -> bool:
        return bool(self.list.item(number).checkState() == qt.Qt.Checked)

    def _look_for(self, text: str) -> None:
        for number in range(len(self._keys)):
            item = self.list.item(number)
            item.setHidden(text.casefold() not in item.text().casefold())

    def _tick_shown(self) -> None:
        for number in range(len(self._keys)):
            item = self.list.item(number)
            if not item.isHidden():
                item.setCheckState(qt.Qt.Checked)

    def _ticks_changed(self, _item: qt.QListWidgetItem | None) -> None:
        self.ok.enabled = bool(self.ticked())
