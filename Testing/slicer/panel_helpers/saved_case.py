"""A case of the work list that the panel has chosen: its line in the list, and what is saved of it."""

from __future__ import annotations

import json

import slicer
import slicer.util
from PartialOrganSegPanel.scene.organ_rows import accepted_organs
from PartialOrganSegPanel.shell.work_list import chosen_list


def listed_case(name="a"):
    """The case called `name`."""
    return next(case for case in chosen_list().cases() if case.name == name)


def case_folder(name="a"):
    """The folder with what is saved of it."""
    return chosen_list().folder_of(listed_case(name))


def case_facts(name="a"):
    """What is learnt from it."""
    return json.loads((case_folder(name) / "case.json").read_text(encoding="utf-8"))


def accepted_in_file(name="a"):
    """Organs that are accepted in the first segmentation as it is saved."""
    node = slicer.util.loadSegmentation(str(case_folder(name) / "segmentation_1.seg.nrrd"))
    organs = accepted_organs(node)
    slicer.mrmlScene.RemoveNode(node)
    return organs
