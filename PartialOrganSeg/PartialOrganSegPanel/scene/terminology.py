"""The organs' codes as Slicer's segments carry them. What Slicer's own lists lack is in a list of ours."""

from __future__ import annotations

from pathlib import Path

import slicer

from PartialOrganSegLib.organ_records import organ_record
from PartialOrganSegLib.organs import Organ

FILE = Path(__file__).resolve().parents[2] / "Resources" / "PartialOrganSeg.term.json"
SLICER_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
OWN_LIST = "PartialOrganSeg organs"


def terminology_tag(organ: Organ) -> str:
    """Serialised terminology entry of an organ, for the segment tag of vtkSegment::GetTerminologyEntryTagName."""
    entry = slicer.vtkSlicerTerminologyEntry()
    # Slicer shows an entry under its own name only if the list that is named has it
    record, context = organ_record(organ.name), SLICER_LIST
    if record is not None and not record.in_slicer_list:
        context = OWN_LIST
    entry.SetTerminologyContextName(context)
    for code, item in ((organ.category, entry.GetCategoryObject()), (organ.code, entry.GetTypeObject()),
                       (organ.modifier, entry.GetTypeModifierObject())):
        if code is not None:
            item.SetCodingSchemeDesignator("SCT")
            item.SetCodeValue(code.value)
            item.SetCodeMeaning(code.meaning)
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(entry)


def load_terminology() -> None:
    """Adds our list to Slicer's; when Slicer has started."""
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(FILE))
