"""The buttons of section Fine-tune that choose a file or folder: recipe, replay, where runs lie."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..shell.progress import ProgressStrip
from ..shell.section import SharedPanel, offer
from . import run as runs


class Choices:
    """Puts what is chosen into the parameters."""

    def __init__(self, panel: SharedPanel, ui: Any, strip: ProgressStrip) -> None:
        self._panel, self._ui, self._strip = panel, ui, strip
        ui.recipeButton.connect("clicked()", self._choose_recipe)
        ui.replayButton.connect("clicked()", self._choose_replay)
        ui.folderButton.connect("clicked()", self._choose_folder)

    def refresh(self) -> None:
        busy = self._panel.busy
        offer(self._ui.recipeButton, busy, _("Chooses a recipe file"))
        offer(self._ui.replayButton, busy, _("Chooses a manifest of cases to replay"))
        offer(self._ui.folderButton, busy, _("Chooses where new runs lie, or an earlier run to resume or to use"))

    def _choose_recipe(self) -> None:
        path = self._panel.services.dialogs.choose_file(_("Recipe"), _("Recipes (*.yaml *.yml)"))
        if path is not None:
            self._panel.parameters.finetune.recipe = str(path)

    def _choose_replay(self) -> None:
        path = self._panel.services.dialogs.choose_file(_("Cases to replay"), _("Manifests (*.yaml *.yml)"))
        if path is not None:
            self._panel.parameters.finetune.replay = str(path)

    def _choose_folder(self) -> None:
        folder = self._panel.services.dialogs.choose_folder(_("Folder for runs, or a run"))
        if folder is None:
            return
        # a user may point at one of the runs, to resume it, as well as at the folder of them all
        settings = self._panel.parameters.finetune
        if runs.state(folder) == runs.NEW:
            settings.folder, settings.run = str(folder), ""
        else:
            settings.folder, settings.run = str(folder.parent), str(folder)
        self._strip.clear()
        self._panel.refresh()
