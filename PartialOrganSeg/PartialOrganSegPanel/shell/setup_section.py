"""First use: says which Python packages are missing and installs them, after asking. Else hidden."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from .installer import InstallError, sizes_text
from .section import Section, offer


class SetupSection(Section):
    """Stands above the others until the library can run."""

    NAME = "Setup"

    def setup(self) -> None:
        self._message = ""
        self._installing = False
        self.ui.installButton.connect("clicked()", self._install)
        self.ui.wheelsButton.connect("clicked()", self._install_wheels)

    def refresh(self) -> None:
        missing = self.panel.missing
        self.widget.setVisible(bool(missing))
        names = ", ".join(need.name for need in missing)
        text = _("Segmenting needs Python packages that Slicer does not ship: {names}.").format(names=names)
        self.ui.missingLabel.text = f"{text}\n{self._message}".strip()
        offer(self.ui.installButton, self._why_not(), _("Downloads and installs them, after a question"))
        offer(self.ui.wheelsButton, self._why_not(), _("Installs them from files, without the internet"))

    def _why_not(self) -> str:
        """Why nothing can be installed now; empty when it can. A run would have its packages replaced below it."""
        if self._installing:
            return _("The packages are being installed.")
        if self.panel.job is not None:
            return _("A run is going on: wait for it or cancel it.")
        return ""

    def _install(self) -> None:
        question = _("Download and install these packages into Slicer's Python?\n\n{sizes}").format(
            sizes=sizes_text(self.panel.missing))
        if self.panel.services.dialogs.ask(_("Set up"), question, [("install", _("Install"))]) == "install":
            self._install_from(None)

    def _install_wheels(self) -> None:
        folder = self.panel.services.dialogs.choose_folder(_("Folder of wheels"))
        if folder is None:
            return
        names = "\n".join(need.requirement for need in self.panel.missing)
        question = _("Install these packages from {folder} into Slicer's Python?\n\n{names}").format(
            folder=folder, names=names)
        if self.panel.services.dialogs.ask(_("Set up"), question, [("install", _("Install"))]) == "install":
            self._install_from(folder)

    def _install_from(self, wheels: Path | None) -> None:
        self._installing, self._message = True, ""
        self.panel.refresh()
        try:
            self.panel.services.installer.install(wheels)
        except InstallError as error:
            self._message = str(error)
            if error.extension:
                self._offer_extension(error.extension)
        finally:
            self._installing = False
        # pip may end without an error and a package be missing all the same
        self.panel.check_packages()
        if self.panel.missing and not self._message:
            self._message = _("They are still missing; Slicer's Python console says why.")
        self.panel.refresh()

    def _offer_extension(self, name: str) -> None:
        question = _("{reason}\n\nInstall the extension {name} now?").format(reason=self._message, name=name)
        choices = [("install", _("Install the extension"))]
        if self.panel.services.dialogs.ask(_("Set up"), question, choices) != "install":
            return
        try:
            self.panel.services.installer.install_extension(name)
            self._message = _("The extension {name} is installed: restart Slicer, then install the packages here."
                              ).format(name=name)
        except InstallError as error:
            self._message = str(error)
