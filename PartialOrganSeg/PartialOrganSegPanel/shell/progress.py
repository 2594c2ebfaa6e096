"""The strip that shows a run: text, bar and, after a failure, *Show log*. Shared by the sections that run something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
from slicer.i18n import tr as _

from .job import Outcome, Progress

if TYPE_CHECKING:
    from .services import Dialogs

FULL = 1000


class ProgressStrip:
    """Lays itself into `parent` (a plain QWidget of the .ui file)."""

    def __init__(self, parent: qt.QWidget, dialogs: Dialogs) -> None:
        self._dialogs = dialogs
        self._log = ""
        layout = qt.QVBoxLayout(parent)
        layout.setContentsMargins(0, 0, 0, 0)
        self.bar = qt.QProgressBar()
        self.text = qt.QLabel()
        self.text.wordWrap = True
        self.log_button = qt.QPushButton(_("Show log"))
        self.log_button.toolTip = _("All output of the run")
        for widget in (self.bar, self.text, self.log_button):
            layout.addWidget(widget)
        self.log_button.connect("clicked()", self._show_log)
        self.clear()

    def clear(self) -> None:
        """Nothing runs and there is nothing to say."""
        self.bar.hide()
        self.log_button.hide()
        self.say("")

    def started(self, text: str) -> None:
        """A run began; its length is not known yet."""
        self.log_button.hide()
        # Qt shows a range of nothing as a bar that moves to and fro
        self.bar.setRange(0, 0)
        self.bar.show()
        self.say(text)

    def progress(self, progress: Progress) -> None:
        # a bar counts in whole numbers, so a share of a stage becomes thousandths
        self.bar.setRange(0, FULL)
        self.bar.value = 0
        if progress.total:
            self.bar.value = round(FULL * progress.done / progress.total)
        self.say(progress.text())

    def ended(self, outcome: Outcome, text: str) -> None:
        """The run is over: `text` says how, *Show log* is offered after a failure."""
        self._log = outcome.log
        self.bar.hide()
        self.log_button.setVisible(outcome.state == "failed")
        self.say(text)

    def say(self, text: str) -> None:
        """One or a few lines below the bar."""
        self.text.text = text
        self.text.setVisible(bool(text))

    def _show_log(self) -> None:
        self._dialogs.show_log(_("Log of the run"), self._log)
