"""Keys of section Scribble: each clicks a button, so that it does nothing while the button is disabled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt

KEYS = {"paint": "Shift+S", "erase": "Shift+E", "background": "Shift+B", "next": "Shift+O", "undo": "Shift+U"}


class StrokeKeys:
    """Connects the buttons NAMEStrokesButton with their actions; the keys act while they are switched on."""

    def __init__(self, widget: qt.QWidget, ui: Any, actions: Mapping[str, Callable[[], None]]) -> None:
        self.shortcuts = []
        for name, action in actions.items():
            button = getattr(ui, f"{name}StrokesButton")
            button.connect("clicked()", action)
            if name in KEYS:
                shortcut = qt.QShortcut(qt.QKeySequence(KEYS[name]), widget)
                shortcut.connect("activated()", button.click)
                shortcut.setEnabled(False)
                self.shortcuts.append(shortcut)

    def set(self, active: bool) -> None:
        """Whether they act."""
        for shortcut in self.shortcuts:
            shortcut.setEnabled(active)
