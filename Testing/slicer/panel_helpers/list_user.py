"""Section Work list with files of CTs and a user's hands."""

from __future__ import annotations

import slicer
import slicer.util

from .scenes import add_ct, add_result, decide, phantom
from .section_user import SectionUser


class ListUser(SectionUser):
    """The section unfolded; `folder` holds files of CTs."""

    def __init__(self, make_panel, until, folder, *answers, **options):
        super().__init__(make_panel, "WorkList", *answers, folder=folder, **options)
        self.until, self.folder = until, folder
        self.ui.worklistCollapsible.collapsed = False
        self.panel.enter()

    def write_ct(self, name, seed):
        """A file of a patient, made by `seed`; the scene stays as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        node = add_ct(name, phantom(seed)[0])
        slicer.util.saveNode(node, str(self.folder / f"{name}.nrrd"))
        slicer.mrmlScene.RemoveNode(node)

    def write_two(self):
        """Two patients' CTs, whose files are put on the list."""
        for name, seed in (("a", 3), ("b", 4)):
            self.write_ct(name, seed)
        self.add()

    def add(self):
        self.services.dialogs.answers.append("folder")
        self.ui.addCasesButton.click()

    def add_files(self, *names):
        """Chooses files of the folder."""
        self.services.dialogs.answers.append("files")
        self.services.dialogs.files = [self.folder / name for name in names]
        self.ui.addCasesButton.click()

    def add_from_database(self):
        """Ticks what the dialogs' `tick` says of Slicer's DICOM database."""
        self.services.dialogs.answers.append("dicom")
        self.ui.addCasesButton.click()

    def press(self, name):
        """Presses a button and waits until what was done is saved."""
        getattr(self.ui, f"{name}Button").click()
        self.until(lambda: self.panel.job is None, 60)

    def cells(self, column=0):
        table = self.ui.worklistTable
        return [table.item(place, column).text() for place in range(table.rowCount)]

    @property
    def volume(self):
        return self.panel.parameters.inputVolume

    def accept(self, *organs, seed=3):
        """A segmentation of the open CT, with these organs accepted."""
        node = add_result(self.volume, array=phantom(seed)[1])
        decide(node, *organs)
        self.panel.parameters.segmentation = node
        return node
