"""The CT series of Slicer's DICOM database as cases of the work list."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..shell.work_list import ListedCase

SOURCE = "dicom:"  # before a series' UID
FEWEST_SLICES = 4  # a localiser, whose modality is CT, too, has fewer
_MODALITY = "0008,0060"


def ct_series() -> list[ListedCase]:
    """All of them, by patient; empty where Slicer has no DICOM database."""
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
                parts = (database.nameForPatient(patient), database.descriptionForSeries(series))
                cases.append(ListedCase(SOURCE + series, " ".join(filter(None, parts)) or series))
    return cases


def load_series(source: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Loads a series from the database. Raises UserError."""
    from DICOMLib import DICOMUtils  # a Slicer may be built without DICOM

    uid = source.removeprefix(SOURCE)
    for node_id in DICOMUtils.loadSeriesByUID([uid]):
        node = slicer.mrmlScene.GetNodeByID(node_id)
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
            return node
    raise UserError(_("The series {uid} could not be loaded from Slicer's DICOM database.").format(uid=uid))
