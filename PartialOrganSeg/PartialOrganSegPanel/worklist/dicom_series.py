"""The CT series of Slicer's DICOM database as cases of the work list."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..shell.work_list import ListedCase

SOURCE = "dicom:"  # before a series' UID
FEWEST_SLICES = 4  # a localiser, whose modality is CT, too, has fewer
_MODALITY, _DATE = "0008,0060", "0008,0020"  # DICOM tags


def ct_series() -> list[tuple[ListedCase, str]]:
    """All of them, by patient, each with a line to choose it by; empty where Slicer has no DICOM database."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None:
        return []
    cases = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for series in database.seriesForStudy(study):
                files = database.filesForSeries(series)
                if len(files) < FEWEST_SLICES or database.fileValue(files[0], _MODALITY) != "CT":
                    continue
                parts = [database.nameForPatient(patient), database.descriptionForSeries(series)]
                name = " ".join(filter(None, parts)) or series
                date = database.fileValue(files[0], _DATE)
                line = _("{name}, {date}, {count} slices").format(name=name, date=_date_text(date), count=len(files))
                cases.append((ListedCase(SOURCE + series, name), line))
    return cases


def _date_text(date: str) -> str:
    """`2024-03-01` of `20240301`; anything else as it is."""
    if len(date) == 8 and date.isdigit():
        return f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return date or _("no date")


def files_of(source: str) -> list[Path]:
    """The files of a series that Slicer's database knows and that are there."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None:
        return []
    paths = [Path(name) for name in database.filesForSeries(source.removeprefix(SOURCE))]
    return [path for path in paths if path.is_file()]


def load_series(source: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Loads a series from the database. Raises UserError."""
    from DICOMLib import DICOMUtils  # a Slicer may be built without DICOM

    uid = source.removeprefix(SOURCE)
    for node_id in DICOMUtils.loadSeriesByUID([uid]):
        node = slicer.mrmlScene.GetNodeByID(node_id)
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
            return node
    raise UserError(_("The series {uid} could not be loaded from Slicer's DICOM database.").format(uid=uid))
