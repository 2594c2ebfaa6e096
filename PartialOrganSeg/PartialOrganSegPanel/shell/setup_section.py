"""First use: tells which Python packages are missing and installs them, after asking. Else hidden."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from .installer import InstallError, sizes_text
from .section import Section


class SetupSection(Section):
    """Stands above the others until the library can run."""

    NAME = "Setup"

    def setup(self) -> None:
        self._message = ""
        self.ui.installButton.connect("clicked()", self._install)
        self.ui.wheelsButton.connect("clicked()", self._install_wheels)

    def refresh(self) -> None:
        missing = self.panel.missing
        self.widget.setVisible(bool(missing))
        names = ", ".join(need.name for need in missing)
        text = _("Segmenting needs Python packages that Slicer does not ship: {names}.").format(names=names)
        self.ui.missingLabel.text = f"{text}\n{self._message}".strip()

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
        try:
            self.panel.services.installer.install(wheels)
            self._message = ""
        except InstallError as error:
            self._message = str(error)
        self.panel.check_packages()
        if self.panel.missing and not self._message:
            self._message = _("They are still missing; Slicer's Python console says why.")
        self.panel.refresh()
