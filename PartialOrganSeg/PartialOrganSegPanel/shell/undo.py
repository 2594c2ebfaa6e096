"""Whether a segment editor has something to take back."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

_BUTTON = "UndoButton"  # of the editor; neither the editor nor its node says otherwise what it can do


def why_no_undo(editor: slicer.qMRMLSegmentEditorWidget) -> str:
    """Why nothing can be taken back; empty where something can, or where an editor without that button does not say."""
    button = editor.findChild(qt.QWidget, _BUTTON)
    if button is None or button.enabled:
        return ""
    return _("There is nothing to take back.")
