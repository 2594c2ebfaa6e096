"""*Add cases...*: from a folder, from files, or from Slicer's DICOM database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from ..shell.services import Dialogs
from ..shell.work_list import IMAGE_ENDINGS, ListedCase, WorkList, case_of_file, images_in
from .dicom_series import ct_series


def add_cases(work_list: WorkList, dialogs: Dialogs) -> str | None:
    """Asks which, adds them, and says what was added; None where the user cancelled. Raises OSError."""
    choices = [("folder", _("A folder")), ("files", _("Files")), ("dicom", _("Slicer's DICOM database"))]
    answer = dialogs.ask(_("Add cases"), _("Where are the CTs?"), choices)
    if answer == "folder":
        folder = dialogs.choose_folder(_("Folder of CTs"))
        if folder is None:
            return None
        return _added(work_list, [case_of_file(path) for path in images_in(Path(folder))])
    if answer == "files":
        pattern = _("Images") + f" ({' '.join(f'*{ending}' for ending in IMAGE_ENDINGS)})"
        paths = dialogs.choose_files(_("CTs"), pattern)
        if not paths:
            return None
        return _added(work_list, [case_of_file(path) for path in paths])
    if answer == "dicom":
        return _add_series(work_list, dialogs)
    return None


def _add_series(work_list: WorkList, dialogs: Dialogs) -> str | None:
    series = ct_series()
    if not series:
        return _("Slicer's DICOM database holds no CT: import the files in Slicer's module DICOM first.")
    listed = {case.source for case in work_list.cases()}
    new = [(case, line) for case, line in series if case.source not in listed]
    if not new:
        return _("All CTs of Slicer's DICOM database are listed already: {count}.").format(count=len(series))
    # a hospital's database may hold thousands of CTs: none is taken unasked
    ticked = dialogs.choose_some(_("Add cases"), _("CTs of Slicer's DICOM database that are not listed yet:"),
                                 [(case.source, line) for case, line in new])
    if ticked is None:
        return None
    return _added(work_list, [case for case, _line in new if case.source in ticked])


def _added(work_list: WorkList, cases: Sequence[ListedCase]) -> str:
    if not cases:
        return _("No CT was found there. DICOM files are imported in Slicer's module DICOM first.")
    count = work_list.add(cases)
    text = _("Cases added: {count}.").format(count=count)
    if count < len(cases):
        text += " " + _("Listed already: {count}.").format(count=len(cases) - count)
    return text
