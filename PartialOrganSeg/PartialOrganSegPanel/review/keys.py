"""Keys of section Review: those of its buttons, those of the segment editor, and one page that names them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..shell.section import SharedPanel

KEYS = {"acceptButton": "Shift+A", "absentButton": "Shift+X", "backButton": "Shift+P", "nextButton": "Shift+N",
        "undoButton": "Shift+Z", "onlyButton": "Shift+Y"}


class ReviewKeys:
    """Act while the section can be seen; those of the segment editor `editor` unless another one draws."""

    def __init__(self, widget: qt.QWidget, ui: Any, editor: Any, editor_tag: str,
                 actions: Mapping[str, Callable[[], None]]) -> None:
        self._ui, self._editor, self._editor_tag = ui, editor, editor_tag
        self._of_editor = False
        self.shortcuts = []
        for name, action in actions.items():
            button = getattr(ui, name)
            button.connect("clicked()", action)
            # the key clicks the button, so that it does nothing while the button is disabled
            shortcut = qt.QShortcut(qt.QKeySequence(KEYS[name]), widget)
            shortcut.connect("activated()", button.click)
            shortcut.setEnabled(False)
            self.shortcuts.append(shortcut)

    def set(self, module_open: bool) -> None:
        """Brings them up to date; after the module was opened or left, the section folded, another editor used."""
        visible = module_open and not self._ui.reviewCollapsible.collapsed
        for shortcut in self.shortcuts:
            shortcut.setEnabled(visible)
        of_editor = visible and not self._another_editor_draws()
        if of_editor == self._of_editor:
            return
        self._of_editor = of_editor
        if of_editor:
            self._editor.installKeyboardShortcuts()
        else:
            self._editor.uninstallKeyboardShortcuts()

    def _another_editor_draws(self) -> bool:
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
        return any(node.GetActiveEffectName() and node.GetSingletonTag() != self._editor_tag for node in nodes)


def keyboard_map() -> str:
    """All keys of the panel, a line each."""
    groups = [
        (_("Review"), [("Shift+A", _("accept the organ")), ("Shift+X", _("the organ is absent")),
                       ("Shift+P", _("back to predicted")), ("Shift+Z", _("undo")),
                       ("Shift+N", _("next organ to check")), ("Shift+Y", _("show only this organ, or all"))]),
        (_("Strokes"), [("Shift+S", _("draw strokes")), ("Shift+E", _("erase strokes")),
                        ("Shift+B", _("strokes of background")), ("Shift+O", _("next organ without a stroke")),
                        ("Shift+U", _("undo"))]),
        (_("Segment editor, in Review"), [("1 ... 9", _("choose an effect")), ("Esc", _("no effect")),
                                          (_("Shift + wheel"), _("size of the brush")), ("Ctrl+Z", _("undo")),
                                          ("Ctrl+Y", _("redo"))]),
        (_("Slices"), [(_("wheel, Up, Down"), _("through the slices")), (_("Ctrl + wheel"), _("zoom")),
                       ("V", _("show or hide the slice in 3D")), ("R", _("fit the slice to its view"))])]
    lines = []
    for title, keys in groups:
        lines += [title, *(f"    {key:<16} {text}" for key, text in keys), ""]
    return "\n".join(lines)


def show_keyboard_map(panel: SharedPanel) -> None:
    """On one page, to read and copy."""
    panel.services.dialogs.show_log(_("Keys"), keyboard_map())
