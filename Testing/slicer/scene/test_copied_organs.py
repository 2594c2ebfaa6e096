"""An organ in two segments, one of them copied from another segmentation: what is written is what was accepted."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from panel_helpers.scenes import add_ct, add_result, phantom
from panel_helpers.section_user import SectionUser
from PartialOrganSegPanel.finetune import comparison
from PartialOrganSegPanel.review.export import write_accepted
from PartialOrganSegPanel.scene.case_writing import write_scene_case
from PartialOrganSegPanel.scene.ct_file import write_ct, write_ct_steps
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, PREDICTED, accepted_organs, rows, set_state
from PartialOrganSegPanel.scene.scene_cases import CaseList
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.shell.parameters import ExportFormat, ExportOrgans

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_labelmap

LIVER = 1
SPACE = ["liver", "spleen"]


@pytest.fixture
def two_livers():
    """A CT, a segmentation of which the liver lacks half, and in it a second liver, that of a better segmentation."""
    volume, half = add_ct(), phantom()[1].copy()
    half[40:][half[40:] == LIVER] = 0
    good, node = add_result(volume, SPACE), add_result(volume, SPACE, half)
    node.GetSegmentation().CopySegmentFromSegmentation(good.GetSegmentation(), "liver", False)
    slicer.mrmlScene.RemoveNode(good)
    return volume, node


def decide(node, first, second):
    """The states of the two livers."""
    livers = [row.segment_id for row in rows(node) if row.organ == "liver"]
    assert len(livers) == 2
    for segment_id, state in zip(livers, (first, second), strict=True):
        set_state(node, segment_id, state)
        if state == ABSENT:
            slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(node, segment_id)


def by_review(volume, node, folder):
    """What section Review saves."""
    ct = write_ct(volume, folder / "ct.nrrd")
    assert finished(write_accepted(node, volume, ct, folder / "labels.nrrd")) == ["liver"]
    return read_labelmap(folder / "labels.nrrd").array == LIVER


def by_teaching(volume, node, folder):
    """What a model is taught, and the work list saves."""
    (case,) = CaseList().look(node)
    entry = finished(write_scene_case(case, "case", SPACE, folder, write_ct_steps))
    assert entry["annotated"] == ["liver"]
    return read_labelmap(folder / entry["label"]).array == LIVER


@pytest.mark.parametrize("write", [by_review, by_teaching])
@pytest.mark.parametrize("first", [PREDICTED, ABSENT])
def test_the_accepted_one_is_written(two_livers, tmp_path, write, first):
    volume, node = two_livers
    decide(node, first, ACCEPTED)
    assert accepted_organs(node) == ["liver"]
    assert np.array_equal(write(volume, node, tmp_path), phantom()[1] == LIVER)


def test_before_and_after_are_compared_with_the_accepted_one(two_livers):
    _volume, node = two_livers
    decide(node, PREDICTED, ACCEPTED)
    assert comparison._accepted(node, "liver") is node.GetSegmentation().GetSegment("liver_1")
    decide(node, PREDICTED, PREDICTED)
    assert comparison._accepted(node, "liver") is None


@pytest.mark.parametrize("write", [by_review, by_teaching])
def test_two_accepted_ones_are_refused(two_livers, tmp_path, write):
    volume, node = two_livers
    decide(node, ACCEPTED, ACCEPTED)
    with pytest.raises(UserError, match=r"has liver more than once: .*Mark all but one of these as absent"):
        write(volume, node, tmp_path)


def test_what_is_no_longer_accepted_is_not_written_as_absent(two_livers, tmp_path):
    _volume, node = two_livers
    decide(node, PREDICTED, ACCEPTED)
    (case,) = CaseList().look(node)
    decide(node, PREDICTED, PREDICTED)
    with pytest.raises(UserError, match="no longer accepted"):
        finished(write_scene_case(case, "case", SPACE, tmp_path, write_ct_steps))


@pytest.mark.parametrize(("state", "exported"), [(ACCEPTED, True), (PREDICTED, False)])
def test_section_export_takes_the_accepted_one_or_says_what_to_do(make_panel, until, two_livers, tmp_path, state,
                                                                  exported):
    _volume, node = two_livers
    decide(node, PREDICTED, state)
    user = SectionUser(make_panel, "Export", folder=tmp_path)
    user.panel.parameters.segmentation = node
    user.panel.parameters.export.format = ExportFormat.NIFTI
    user.panel.parameters.export.organs = ExportOrgans.ALL
    user.ui.exportButton.click()
    if exported:
        until(lambda: user.services.processes)
        assert [row.segment_id for row in user.section._run.organs] == ["liver_1", "spleen"]
    else:
        assert "has liver more than once" in user.said
        assert not user.services.processes
