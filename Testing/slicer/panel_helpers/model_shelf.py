"""Section Models with a user and a command that do what a test says."""

from __future__ import annotations

from PartialOrganSegLib.models.folders import user_models

from .section_user import SectionUser
from .start_models import write_model


class Shelf(SectionUser):
    """The panel's section with a user and a command that do what the test says."""

    def __init__(self, make_panel, *answers, **options):
        super().__init__(make_panel, "Models", *answers, **options)

    @property
    def names(self):
        """Of the installed models."""
        return [name for name in self._listed() if name not in self.downloads]

    @property
    def downloads(self):
        """Names of the models that are not installed yet."""
        return [name for row, name in enumerate(self._listed())
                if self.ui.modelTable.item(row, 1).text() == "to download"]

    def _listed(self):
        return [self.ui.modelTable.item(row, 0).text() for row in range(self.ui.modelTable.rowCount)]

    def select(self, name):
        self.ui.modelTable.setCurrentCell(self._listed().index(name), 0)

    def install(self, source="my model.zip", checksum=""):
        self.ui.sourceEdit.text, self.ui.checksumEdit.text = source, checksum
        self.ui.installModelButton.click()

    def installed(self, name):
        """The command says that it installed a model, which is there."""
        write_model(user_models() / name, name)
        self.process.say("result", name=name, version="1.0", folder=str(user_models() / name))
        self.process.end(0)
