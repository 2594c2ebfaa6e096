"""Section Models: the installed ones with licence, label space and figures; install, verify and remove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from PartialOrganSegLib.resources import resource

from ..shell.chosen_model import choose_model
from ..shell.job import Outcome
from ..shell.model_cards import downloadable_models, installed_models
from ..shell.model_install import Installation, short_digests
from ..shell.organ_table import Cell, prepare, put
from ..shell.progress import ProgressStrip
from ..shell.section import Section, offer
from .remove import remove_model, why_not_remove
from .text import card_html, download_html

NAME, VERSION, ORGANS, LICENCE = range(4)
DIGITS = frozenset("0123456789abcdefABCDEF")


class ModelsSection(Section):
    """The button *Install* turns into *Cancel* while it works."""

    NAME = "Models"

    def setup(self) -> None:
        self._running = ""  # what of ours runs: "install", "verify" or nothing
        self._models = installed_models()
        self._downloads = downloadable_models()
        self._verified: list[str] = []
        self.strip = ProgressStrip(self.ui.modelsProgress, self.panel.services.dialogs)
        table = self.ui.modelTable
        prepare(table, [_("Model"), _("Version"), _("Organs"), _("Licence")], stretched=(NAME, LICENCE))
        table.connect("itemSelectionChanged()", self._show_card)
        self.ui.sourceEdit.connect("textChanged(QString)", self._typed)
        self.ui.checksumEdit.connect("textChanged(QString)", self._typed)
        self.ui.fileButton.connect("clicked()", self._choose_file)
        self.ui.installModelButton.connect("clicked()", self._install_or_cancel)
        self.ui.verifyButton.connect("clicked()", self._verify)
        self.ui.removeButton.connect("clicked()", self._remove)
        self.ui.useModelButton.connect("clicked()", self._use)
        self.ui.downloadButton.connect("clicked()", self._download)
        self.ui.nnunetButton.connect("clicked()", self._import_nnunet)

    # --- moments

    def bound(self) -> None:
        if not self._running:  # an installation outlives the import of a scene
            self.strip.clear()

    def refresh(self) -> None:
        self._list()
        if self._running == "install":
            self.ui.installModelButton.text = _("Cancel")
            offer(self.ui.installModelButton, "", _("Ends the installation; nothing is changed"))
        else:
            self.ui.installModelButton.text = _("Install")
            offer(self.ui.installModelButton, self._why_not_install(),
                  _("Checks every file and copies the model to your own models"))
        offer(self.ui.fileButton, self.panel.busy, _("Chooses the zip file of a model"))
        offer(self.ui.nnunetButton, self.panel.busy, _("Makes a model of a results folder of nnU-Net version 2"))
        not_installed = ""
        if not self._selected:
            not_installed = _("Select a model first.")
        elif self._selected in self._downloads:
            not_installed = _("The model is not installed yet: download it.")
        why = self.panel.busy or not_installed
        to_download = self.panel.busy
        if not to_download and self._selected not in self._downloads:
            to_download = _("Select a model that is not installed yet.")
        offer(self.ui.downloadButton, to_download, _("Downloads and installs the selected model, after a question"))
        offer(self.ui.useModelButton, not_installed, _("Chooses the model in section Segment, also in new scenes"))
        offer(self.ui.verifyButton, why, _("Compares every file of the selected model with its checksum"))
        offer(self.ui.removeButton, why or why_not_remove(self._models[self._selected]),
              _("Deletes the selected model, after a question"))

    def closing(self) -> None:
        self._running = ""

    # --- the list

    @property
    def _selected(self) -> str:
        """Name of the selected model, empty when there is none."""
        item = self.ui.modelTable.item(self.ui.modelTable.currentRow(), NAME)
        if item is None:
            return ""
        return item.text()

    def _list(self) -> None:
        """Reads the models anew: they may have been installed elsewhere."""
        before, self._models = self._models, installed_models()
        table = self.ui.modelTable
        if self._models == before and table.rowCount == len(before) + len(self._downloads):
            return
        self._downloads = downloadable_models()
        # while the table changes its rows, the selected one means nothing
        selected = self._selected
        lines = [(card.name, card.version, str(len(card.organs)), card.licence) for card in self._models.values()]
        # which version that is and which organs it knows is seen when it is there
        lines += [(card.name, _("to download"), "", card.licence) for card in self._downloads.values()]
        table.blockSignals(True)
        table.setRowCount(len(lines))
        for row, texts in enumerate(lines):
            for column, text in enumerate(texts):
                put(table, row, column, Cell(text, text))
        table.blockSignals(False)
        if selected not in self._models:
            selected = next(iter(self._models), "")
        self._select(selected)

    def _select(self, name: str) -> None:
        row = -1
        if name in self._models:
            row = list(self._models).index(name)
        self.ui.modelTable.setCurrentCell(row, NAME)
        self._show_card()

    def _show_card(self) -> None:
        card, text = self._models.get(self._selected), _("No model is installed.")
        if card is not None:
            text = card_html(card)
        elif self._selected in self._downloads:
            text = download_html(self._downloads[self._selected])
        self.ui.cardView.setHtml(text)
        if self.panel.parameters is not None:
            self.panel.refresh()

    def _use(self) -> None:
        choose_model(self.panel.parameters, self._selected)
        self.strip.say(_("{name} is chosen in section Segment.").format(name=self._selected))

    # --- install

    def _typed(self, _text: str) -> None:
        self.panel.refresh()

    def _choose_file(self) -> None:
        path = self.panel.services.dialogs.choose_file(_("Model to install"), _("Models (*.zip)"))
        if path is not None:
            self.ui.sourceEdit.text = str(path)

    def _why_not_install(self) -> str:
        checksum = self.ui.checksumEdit.text.strip()
        if self.panel.busy:
            return self.panel.busy
        if not self.ui.sourceEdit.text.strip():
            return _("Give the zip file, folder or address of a model first.")
        if checksum and not (len(checksum) == 64 and set(checksum) <= DIGITS):
            return _("SHA-256: expected 64 digits 0-9, a-f, found {length} characters.").format(length=len(checksum))
        return ""

    def _install_or_cancel(self) -> None:
        if self._running:
            self.strip.say(_("Cancelling ..."))
            self.panel.job.cancel()
            return
        self._running = "install"
        Installation(self.panel, self.strip, self._installed).start(
            self.ui.sourceEdit.text.strip(), self.ui.checksumEdit.text.strip())

    def _installed(self, name: str) -> None:
        self._running = ""
        if name:
            self.ui.sourceEdit.text = self.ui.checksumEdit.text = ""
            self._list()
            self._select(name)

    def _download(self) -> None:
        card = self._downloads[self._selected]
        question = _("Download {title}, about {megabytes} MB?\n\nLicence: {licence}\n\nFrom: {url}").format(
            title=card.title, megabytes=card.megabytes, licence=card.licence, url=card.url)
        if self.panel.services.dialogs.ask(_("Download"), question, [("download", _("Download"))]) == "download":
            self._running = "install"
            Installation(self.panel, self.strip, self._installed).start(card.name)

    def _import_nnunet(self) -> None:
        dialogs = self.panel.services.dialogs
        folder = dialogs.choose_folder(_("Results folder of nnU-Net: the one with plans.json"))
        if folder is None:
            return
        choices = [("", _("As they are"))]
        for path in sorted(resource("label_maps").glob("*.yaml")):
            choices.append((path.name, _("By the map {name}").format(name=path.stem)))
        answer = dialogs.ask(_("Import"), _("How are the model's labels called here?"), choices)
        if answer is not None:
            self._running = "install"
            Installation(self.panel, self.strip, self._installed).start_import(Path(folder), answer)

    # --- verify

    def _verify(self) -> None:
        self._running, self._verified = "verify", []
        self.strip.started(_("Verifying ..."))
        self.panel.run(["models", "verify", self._selected], self.strip.progress, self._sound, self._verify_ended)

    def _sound(self, event: dict[str, Any]) -> None:
        self._verified.append(event["name"])

    def _verify_ended(self, outcome: Outcome) -> None:
        self._running = ""
        text = short_digests(outcome.message)
        if outcome.state == "done":
            text = _("{names}: every file is as its checksum says.").format(names=", ".join(self._verified))
        self.strip.ended(outcome, text)

    # --- remove

    def _remove(self) -> None:
        card = self._models[self._selected]
        question = _("Remove the model {name} {version}? Its folder is deleted:\n{folder}").format(
            name=card.name, version=card.version, folder=card.folder)
        if self.panel.services.dialogs.ask(_("Remove"), question, [("remove", _("Remove"))]) != "remove":
            return
        try:
            remove_model(card)
            self.strip.say(_("Removed: {name} {version}.").format(name=card.name, version=card.version))
        except OSError as error:
            self.strip.say(str(error))
        self.panel.models_changed()
        self.panel.refresh()
