"""What section Review saves: the table of times and changes, and the accepted organs as a case to learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..scene.ct_identity import ct_file_name
from ..scene.overlap_text import overlap_text
from ..shell.saving import CaseSaving, FileWork, free_name
from ..shell.section import SharedPanel
from .export import CASE_ENDINGS, reference_volume, reviewed_segmentations, write_case
from .logic import Review
from .study_table import write_table

TABLE_NAME = "review"  # .csv, of the user study


class ReviewFiles:
    """`say(text, tooltip)` shows the user what was written, or why it was not."""

    def __init__(self, panel: SharedPanel, say: Callable[[str, str], None]) -> None:
        self._panel, self._say = panel, say
        self.work = FileWork(say, panel.refresh)
        self._case = CaseSaving(panel.services.dialogs, self.work, say)

    # --- the table

    def save_table(self, review: Review) -> None:
        """Times, voxels changed and Dice of all segmentations of the scene, into a folder that the user chooses."""
        folder = self._panel.services.dialogs.choose_folder(_("Folder for the table"))
        if folder is None:
            return
        review.look()
        review.write_times()
        try:
            path, add = self._table_to_write(Path(folder))
            if path is None:
                return
            lines = write_table(path, reviewed_segmentations(), add)
        except (OSError, UserError) as error:
            self._say(str(error), "")
            return
        self._say(_("Organs written to {name}: {lines}.").format(lines=lines, name=path.name), str(path))

    def _table_to_write(self, folder: Path) -> tuple[Path | None, bool]:
        """The table's file, None when the user does not want one, and whether an earlier one is added to."""
        path = folder / f"{TABLE_NAME}.csv"
        if not path.exists():
            return path, False
        question = _("There is already a table in {folder}. When it is added to, lines of other CTs stay, and lines of "
                     "the same segmentations are brought up to date.").format(folder=folder)
        choices = [("add", _("Add to it")), ("keep", _("Keep it, save beside it")), ("replace", _("Replace it"))]
        answer = self._panel.services.dialogs.ask(_("Save the table"), question, choices)
        if answer is None:
            return None, False
        if answer == "keep":
            path = folder / f"{free_name(folder, TABLE_NAME, ['.csv'])}.csv"
        return path, answer == "add"

    # --- a case

    def save_case(self, review: Review) -> None:
        """The CT and its accepted organs, with a manifest."""
        node, lost = review.segmentation, dict[str, int]()
        volume = reference_volume(node)
        self._case.save(ct_file_name(volume), CASE_ENDINGS,
                        lambda folder, name: write_case(node, volume, folder, name, lost=lost),
                        _("CT and accepted organs written; {name} lists them."), lambda: overlap_text(lost))
