"""A CT is known by its slices' UIDs or its voxels; files of two patients whose volumes have one name stay apart."""

import csv
import dataclasses

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.doubles import Doubles
from panel_helpers.review_desk import Desk
from panel_helpers.scenes import add_ct, add_result, phantom
from panel_helpers.scribble_desk import LIVER
from panel_helpers.scribble_desk import Desk as ScribbleDesk
from PartialOrganSegPanel.review.export import write_case
from PartialOrganSegPanel.review.logic import Review
from PartialOrganSegPanel.scene.ct_identity import CtIdentity, ct_file_name, ct_identity
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap, scribble_labelmap
from PartialOrganSegPanel.scene.strokes import find_strokes, new_strokes
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scribble.files import read_map, save_map

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.organs import WORD16


def add_other_patient(name="CT"):
    """Another CT with the same geometry, by default of the same name."""
    return add_ct(name, np.roll(phantom()[0], 3, axis=1))


# --- identity

def test_name_and_place_are_no_identity():
    first = ct_identity(add_ct("one"))
    assert first == ct_identity(add_ct("two", origin=(0.0, 0.0, 0.0)))
    assert not first.same_as(ct_identity(add_other_patient("one")))


def test_a_ct_that_is_edited_stays_the_same_one():
    volume = add_ct()
    before = ct_identity(volume)
    slicer.util.updateVolumeFromArray(volume, phantom()[0] + 1)
    assert ct_identity(volume) == before


def clone(volume):
    """A copy with all attributes, as the modules *Crop volume* and *Volumes* make it."""
    logic = slicer.vtkSlicerVolumesLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    return logic.CloneVolume(slicer.mrmlScene, volume, "copy")


@pytest.mark.parametrize("change", [lambda hu: hu[20:70], lambda hu: hu // 2], ids=["cropped", "filtered"])
def test_a_copy_is_a_ct_of_its_own(scene, tmp_path, change):
    """As it is when it is loaded from its file on the next day."""
    volume = add_ct()
    before = ct_identity(volume)
    copy = clone(volume)
    slicer.util.updateVolumeFromArray(copy, np.ascontiguousarray(change(phantom()[0])))
    assert not ct_identity(copy).same_as(before)
    assert ct_identity(volume) == before
    expected = ct_identity(copy)
    slicer.util.saveNode(copy, str(tmp_path / "copy.nrrd"))
    scene.Clear(0)
    assert ct_identity(slicer.util.loadVolume(str(tmp_path / "copy.nrrd"))) == expected


def test_a_cropped_ct_stays_itself_when_the_first_one_is_deleted_or_it_is_edited(scene):
    volume = add_ct()
    ct_identity(volume)
    copy = clone(volume)
    scene.RemoveNode(volume)
    slicer.util.updateVolumeFromArray(copy, phantom()[0][20:70].copy())
    identity = ct_identity(copy)
    slicer.util.updateVolumeFromArray(copy, phantom()[0][20:70] + 1)
    assert ct_identity(copy) == identity


def test_a_ct_whose_node_gets_another_id_stays_the_same_one(scene, tmp_path):
    volume, path = add_ct("A"), str(tmp_path / "scene.mrb")
    identity = ct_identity(volume)
    slicer.util.updateVolumeFromArray(volume, phantom()[0] + 1)
    slicer.util.saveScene(path)
    scene.Clear(0)
    ct_identity(add_other_patient())  # takes the ID
    slicer.util.loadScene(path, {"clear": False})
    loaded = slicer.util.getNode("A")
    assert loaded.GetID() != slicer.util.getNode("CT").GetID()
    assert ct_identity(loaded) == identity


def test_identity_of_a_series_is_its_slices():
    volume, again = add_ct(), add_other_patient()
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.2 1.2.1")
    again.SetAttribute("DICOM.instanceUIDs", "1.2.1 1.2.2")
    assert ct_identity(volume).same_as(ct_identity(again))
    again.SetAttribute("DICOM.instanceUIDs", "1.3.1 1.3.2")
    assert not ct_identity(volume).same_as(ct_identity(again))
    assert ct_identity(volume).same_as(ct_identity(add_ct()))  # saved as a file, and loaded again


@pytest.mark.parametrize("dicom", ["", "0123456789abcdef"])
def test_identity_as_text(dicom):
    identity = CtIdentity(dicom, "fedcba9876543210")
    assert CtIdentity.parsed(f"strokes; {identity.text()}") == identity
    assert CtIdentity.parsed("nothing") is None


# --- files of two patients

def test_cases_of_two_patients_with_one_name_stay_apart(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, folder=tmp_path)
    desk.ui.acceptButton.click()
    desk.save_case()
    second_patient = add_other_patient()
    result = add_result(second_patient, ("liver",))
    desk.panel.parameters.segmentation = result
    desk.ui.acceptButton.click()
    desk.save_case()
    assert desk.services.dialogs.asked == []
    images = {path.name: read_ct(path).array for path in tmp_path.glob("*.nrrd") if "label" not in path.name}
    assert set(images) == {f"{ct_file_name(volume)}.nrrd" for volume in (desk.volume, second_patient)}
    assert np.array_equal(images[f"{ct_file_name(desk.volume)}.nrrd"], phantom()[0])
    assert [len(load_manifest(path).cases) for path in tmp_path.glob("*.yaml")] == [1, 1]


@pytest.mark.parametrize("answer", ["keep", "replace", None])
def test_a_case_that_was_saved_is_replaced_only_when_asked(make_panel, until, tmp_path, answer):
    desk = Desk(make_panel, until, folder=tmp_path)
    desk.services.dialogs.answers = [answer]
    desk.ui.acceptButton.click()
    desk.save_case()
    manifest = tmp_path / f"{ct_file_name(desk.volume)}.yaml"
    before = manifest.read_bytes()
    desk.ui.acceptButton.click()
    desk.save_case()
    assert manifest.name in desk.services.dialogs.asked[0][1]
    assert (manifest.read_bytes() == before) == (answer != "replace")
    assert len(list(tmp_path.glob("*.yaml"))) == (2 if answer == "keep" else 1)


def table_lines(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("answer", ["add", "keep", "replace", None])
def test_the_table_of_another_scene_stays_unless_asked(make_panel, until, tmp_path, answer):
    desk = Desk(make_panel, until, folder=tmp_path)
    desk.services.dialogs.answers = [answer]
    desk.ui.tableButton.click()
    first = ct_identity(desk.volume).text()
    slicer.mrmlScene.Clear(0)
    second_patient = add_other_patient()
    desk.panel.parameters.segmentation = add_result(second_patient, ("liver",))
    desk.ui.tableButton.click()
    second = ct_identity(second_patient).text()
    expected = {"add": [*3 * [first], second], "replace": [second]}.get(answer, 3 * [first])
    assert [line["ct_identity"] for line in table_lines(tmp_path / "review.csv")] == expected
    assert (tmp_path / "review_2.csv").exists() == (answer == "keep")


def test_a_table_is_brought_up_to_date(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, folder=tmp_path)
    desk.services.dialogs.answers = ["add"]
    desk.ui.tableButton.click()
    desk.ui.acceptButton.click()
    desk.ui.tableButton.click()
    assert [line["state"] for line in table_lines(tmp_path / "review.csv")] == ["accepted", "predicted", "predicted"]


def test_another_file_is_no_table(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, folder=tmp_path)
    desk.services.dialogs.answers = ["add"]
    (tmp_path / "review.csv").write_text("a,b\n1,2\n")
    desk.ui.tableButton.click()
    assert "expected the table of a review" in desk.ui.messageLabel.text
    assert (tmp_path / "review.csv").read_text() == "a,b\n1,2\n"


def test_accepted_organs_of_another_ct_are_refused(tmp_path):
    volume, second_patient = add_ct(), add_other_patient()
    node = add_result(volume, ("liver",))
    Review(node, lambda: None).accept("liver")
    with pytest.raises(UserError, match="expected a segmentation of CT, found one of another CT"):
        finished(write_case(node, second_patient, tmp_path, "case"))
    assert not list(tmp_path.iterdir())


def test_a_segmentation_from_a_file_is_linked_to_its_ct(make_panel, scene, tmp_path):
    """By reference and in the subject hierarchy, where exports look for the study."""
    path = tmp_path / "reviewed.seg.nrrd"
    assert slicer.util.saveNode(add_result(add_ct(), ("liver",)), str(path))
    scene.Clear(0)
    add_other_patient()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    volume = add_ct("the CT")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    node = slicer.util.loadSegmentation(str(path))
    panel = make_panel(Doubles())
    panel.parameters.segmentation = node
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    panel.section("Review").ui.acceptButton.click()
    assert panel.section("Review").ui.caseButton.enabled


# --- strokes

def strokes_on(volume):
    strokes = new_strokes(volume, WORD16.organs)
    labels = np.full(phantom()[0].shape, NOT_DRAWN, np.uint8)
    labels[LIVER] = 1
    draw_labelmap(strokes, volume, labels)
    return strokes


@pytest.mark.parametrize("name", ["map.nrrd", "map.nii.gz"])
def test_strokes_of_another_ct_are_refused(tmp_path, name):
    volume = add_ct()
    strokes = strokes_on(volume)
    finished(save_map(strokes, volume, tmp_path / name))
    assert np.array_equal(finished(read_map(tmp_path / name, volume, 16)), scribble_labelmap(strokes, volume))
    with pytest.raises(UserError, match="found strokes of another CT"):
        finished(read_map(tmp_path / name, add_other_patient(), 16))


def test_strokes_from_a_file_are_not_taken_for_another_patients(tmp_path):
    volume = add_ct()
    path = tmp_path / "strokes.seg.nrrd"
    assert slicer.util.saveNode(strokes_on(volume), str(path))
    slicer.mrmlScene.Clear(0)
    loaded = slicer.util.loadSegmentation(str(path))
    second_patient, volume = add_other_patient(), add_ct()
    assert find_strokes(second_patient) is None
    assert find_strokes(volume) is loaded


def test_a_map_whose_ending_was_added_replaces_none_unasked(make_panel, until, tmp_path):
    desk = ScribbleDesk(make_panel, until, answers=["keep"], file=tmp_path / "strokes")
    (tmp_path / "strokes.nii.gz").write_bytes(b"another patient's")
    desk.stroke("liver", LIVER)
    desk.press("save")
    assert (tmp_path / "strokes.nii.gz").read_bytes() == b"another patient's"
    assert np.array_equal(finished(read_map(tmp_path / "strokes_2.nii.gz", desk.volume, 16)), desk.map)


def test_identity_is_not_changed_by_accident():
    """Files that are around hold these digits."""
    volume = add_ct("CT", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    assert dataclasses.astuple(ct_identity(volume)) == ("", "fa8f5f83ca170f5c")
