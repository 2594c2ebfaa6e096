"""Installs a model through the library's command, for the sections that do so. One at a time, as all runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code

from .job import Outcome
from .problem_text import without_hint
from .progress import ProgressStrip
from .section import SharedPanel


def short_digests(text: str) -> str:
    """The text with checksums cut to twelve digits: a line cannot be broken in them. The log has all digits."""
    return re.sub(r"\b([0-9a-fA-F]{12})[0-9a-fA-F]{20,}\b", r"\1...", text)


class Installation:
    """Runs `models install` or `models import`; asks before an installed model of that name is replaced.

    `on_end(name)` gets the installed model's name, or an empty text when none was installed; the strip says why.
    """

    def __init__(self, panel: SharedPanel, strip: ProgressStrip, on_end: Callable[[str], None]) -> None:
        self._panel, self._strip, self._on_end = panel, strip, on_end
        self._arguments: list[str] = []
        self._installed: dict[str, Any] = {}

    def start(self, source: str, sha256: str = "") -> None:
        """`source`: folder, zip or URL; `sha256`: what the zip must have, empty for anything."""
        self._arguments = ["models", "install", source]
        if sha256:
            self._arguments += ["--sha256", sha256]
        self._launch()

    def start_import(self, folder: Path, label_map: str) -> None:
        """Makes a model of an nnU-Net v2 results folder. `label_map`: a shipped map from its labels to ours, empty for
        its labels as they are."""
        self._arguments = ["models", "import", "nnunet", str(folder)]
        if label_map:
            self._arguments += ["--map", label_map]
        self._launch()

    def _launch(self) -> None:
        self._strip.started(_("Installing ..."))
        self._panel.run(self._arguments, self._strip.progress, self._result, self._ended)

    def _result(self, event: dict[str, Any]) -> None:
        self._installed = event

    def _ended(self, outcome: Outcome) -> None:
        problem = outcome.problem
        if problem is not None and problem.code is Code.MODEL_INSTALLED and "--replace" not in self._arguments:
            question = without_hint(problem)
            if self._panel.services.dialogs.ask(_("Install"), question, [("replace", _("Replace it"))]) == "replace":
                self._arguments.append("--replace")
                self._launch()
                return
            # the command has failed, but the user has decided: no log is offered for that
            outcome = Outcome("cancelled", _("Not installed: {reason}.").format(reason=question), outcome.log)
        if outcome.state != "done":
            self._strip.ended(outcome, short_digests(outcome.message))
            self._on_end("")
            return
        self._panel.models_changed()
        name = self._installed["name"]
        self._strip.ended(outcome, _("Installed: {name} {version}.").format(
            name=name, version=self._installed["version"]))
        self._on_end(name)
