"""The widgets of correcting live: the button *Correct with strokes*, its state, *Cancel*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..shell.section import SharedPanel, offer
from .at_hand import AtHand
from .correcting import LiveCorrection


class LivePart:
    """`draw()` starts the brush, for nobody presses the button to do something else next."""

    def __init__(self, panel: SharedPanel, ui: Any, at_hand: AtHand, draw: Callable[[], None]) -> None:
        self._panel, self._ui, self._draw = panel, ui, draw
        self.correction = LiveCorrection(at_hand, panel.services.new_process, panel.about_to_edit, self.show)
        ui.correctButton.connect("clicked()", self._switch)
        ui.cancelCorrectionButton.connect("clicked()", self.correction.cancel)

    def start(self) -> None:
        """Strokes correct from now on."""
        if not self.correction.on and not self._why_not():
            self.correction.start()
            self._draw()
        self._panel.refresh()

    def _switch(self) -> None:
        if self.correction.on:
            self.correction.stop()
            self._panel.refresh()
        else:
            self.start()

    def _why_not(self) -> str:
        if self._panel.missing:
            return _("Python packages are missing: install them above.")
        return self.correction.why_not()

    def show(self) -> None:
        """Brings the widgets up to date."""
        correction, why = self.correction, ""
        if not correction.on:
            why = self._why_not()
        offer(self._ui.correctButton, why,
              _("Each stroke corrects this CT at once, and no other CT; pressed again, strokes are only drawn"))
        self._ui.correctButton.checked = correction.on
        self._ui.correctLabel.text = correction.text
        self._ui.correctLabel.setVisible(bool(correction.text))
        self._ui.cancelCorrectionButton.setVisible(correction.working)
