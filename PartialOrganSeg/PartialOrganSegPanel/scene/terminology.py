"""The organs' codes as Slicer's segments carry them. What Slicer's own lists lack is in a list of ours."""

from __future__ import annotations

from pathlib import Path

import slicer

from PartialOrganSegLib.organs import CATEGORY, Organ

FILE = Path(__file__).resolve().parents[2] / "Resources" / "PartialOrganSeg.term.json"
SLICER_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
OWN_LIST = "PartialOrganSeg organs"
NOT_IN_SLICER = ("2812003",)  # head of femur; Slicer's list has only the whole femur


def terminology_tag(organ: Organ) -> str:
    """Serialised terminology entry of an organ, for the segment tag of vtkSegment::GetTerminologyEntryTagName."""
    entry = slicer.vtkSlicerTerminologyEntry()
    entry.SetTerminologyContextName(OWN_LIST if organ.code.value in NOT_IN_SLICER else SLICER_LIST)
    for code, item in ((CATEGORY, entry.GetCategoryObject()), (organ.code, entry.GetTypeObject()),
                       (organ.modifier, entry.GetTypeModifierObject())):
        if code is not None:
            item.SetCodingSchemeDesignator("SCT")
            item.SetCodeValue(code.value)
            item.SetCodeMeaning(code.meaning)
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(entry)


def load_terminology() -> None:
    """Adds our list to Slicer's; when Slicer has started."""
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(FILE))
