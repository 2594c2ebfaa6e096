"""Section Segment: what becomes of a result: codes, colours, geometry, a second run, saving."""

import numpy as np
import pytest
import slicer
import vtk
from panel_helpers.review_desk import add_box
from panel_helpers.scenes import add_ct, add_result, add_transform, ijk_to_ras, label_array, phantom, rotation
from panel_helpers.segment_bench import Bench
from PartialOrganSegPanel.scene import organ_rows
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, EDITED, PREDICTED, row, rows, set_state
from PartialOrganSegPanel.shell.parameters import EarlierResult

from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.check_kinds import CheckKind, OrganCheck

ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


# --- the result

def test_result_has_codes_colours_and_one_layer(bench):
    volume = add_ct("CT Ä")
    result = bench.segment(volume)
    assert result.GetName() == "CT Ä segmentation"
    segmentation = result.GetSegmentation()
    assert [listed.organ for listed in rows(result)] == list(WORD16.names)
    assert segmentation.GetNumberOfLayers() == 1
    assert result.GetNodeReferenceID(ROLE) == volume.GetID()
    for organ in WORD16.organs:
        segment = segmentation.GetSegment(row(result, organ.name).segment_id)
        assert segment.GetName() == organ.title
        assert np.allclose(segment.GetColor(), np.array(organ.colour) / 255, atol=1e-3)
        entry = slicer.vtkSlicerTerminologyEntry()
        terms = organ_rows.tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
        assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(terms, entry)
        assert entry.GetTypeObject().GetCodeValue() == organ.code.value
        assert entry.GetTypeModifierObject().GetCodeValue() == (organ.modifier.value if organ.modifier else None)
        assert np.array_equal(label_array(result, volume, organ.name), phantom()[1] == organ.index)
    assert row(result, "liver").checks == (OrganCheck(CheckKind.TOUCHES_BORDER, "liver"),)
    assert "16 of 16 organs found" in bench.said


def test_result_has_what_a_dicom_export_asks_for(bench):
    """DICOM SEG export takes the CT from the reference, resamples to its geometry and writes each segment's codes."""
    volume = add_ct(axes=rotation(0, 0, 12))
    result = bench.segment(volume)
    assert result.GetNodeReference(ROLE) is volume
    segmentation = result.GetSegmentation()
    assert segmentation.GetSourceRepresentationName() == "Binary labelmap"
    text = segmentation.GetConversionParameter(slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName())
    reference, matrices = slicer.vtkOrientedImageData(), [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False)
    assert reference.GetDimensions() == volume.GetImageData().GetDimensions()
    reference.GetImageToWorldMatrix(matrices[0])
    volume.GetIJKToRASMatrix(matrices[1])
    assert np.allclose(*map(slicer.util.arrayFromVTKMatrix, matrices), atol=1e-6)
    for organ in WORD16.organs:
        terms = organ_rows.tag(segmentation.GetSegment(organ.name), slicer.vtkSegment.GetTerminologyEntryTagName())
        entry = slicer.vtkSlicerTerminologyEntry()
        assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(terms, entry)
        for code in (entry.GetCategoryObject(), entry.GetTypeObject()):
            assert code.GetCodingSchemeDesignator() == "SCT"
            assert code.GetCodeValue().isdigit()
            assert code.GetCodeMeaning()
        assert (entry.GetTypeModifierObject().GetCodeValue() is not None) == (organ.modifier is not None)
        assert np.array_equal(label_array(result, volume, organ.name), phantom()[1] == organ.index)


def test_absent_organ_is_an_empty_segment(bench):
    volume = add_ct()
    labels = np.where(phantom()[1] == 6, 0, phantom()[1])
    result = bench.segment(volume, array=labels)
    assert not label_array(result, volume, "gallbladder").any()
    assert result.GetSegmentation().GetNumberOfLayers() == 1
    assert "15 of 16 organs found" in bench.said


def test_result_stands_beside_its_ct(bench, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    volume = add_ct()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    result = bench.segment(volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study


# --- a second run

def test_second_run_is_asked_once_and_replaces(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    first = bench.segment(volume)
    segments = first.GetSegmentation()
    segments.AddEmptySegment("mine", "my own segment", (1, 0, 0))
    again = bench.segment(volume, array=np.roll(phantom()[1], 1, axis=2))
    assert again is first
    assert len(rows(first)) == 16
    assert segments.GetSegment("mine") is not None
    assert np.array_equal(label_array(first, volume, "liver"), np.roll(phantom()[1], 1, axis=2) == 1)
    assert bench.panel.parameters.segment.earlier == EarlierResult.REPLACE
    bench.segment(volume)
    assert len(bench.services.dialogs.asked) == 1
    shown = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not node.GetHideFromEditors()]
    assert shown == [first]


def test_second_run_adds(make_panel):
    bench = Bench(make_panel, "add")
    volume = add_ct()
    first = bench.segment(volume)
    second = bench.segment(volume)
    third = bench.segment(volume)
    assert len({first.GetID(), second.GetID(), third.GetID()}) == 3
    assert len(bench.services.dialogs.asked) == 1


def test_run_for_some_organs_leaves_the_others(make_panel):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    result = bench.segment(volume)
    set_state(result, row(result, "spleen").segment_id, ACCEPTED)
    bench.panel.parameters.segment.someOrgans = True
    bench.panel.parameters.segment.organs = ["liver"]
    bench.segment(volume, array=np.roll(phantom()[1], 1, axis=2), organs=["liver"])
    assert row(result, "spleen").state == ACCEPTED
    assert np.array_equal(label_array(result, volume, "spleen"), phantom()[1] == 2)
    assert np.array_equal(label_array(result, volume, "liver"), np.roll(phantom()[1], 1, axis=2) == 1)
    assert len(rows(result)) == 16


def test_corrections_are_never_replaced_without_asking(make_panel):
    bench = Bench(make_panel, "replace", None)
    volume = add_ct()
    result = bench.segment(volume)
    bench.segment(volume)
    set_state(result, row(result, "spleen").segment_id, ACCEPTED)
    bench.start(volume)
    assert "spleen" in bench.services.dialogs.asked[1][1]
    assert len(bench.services.processes) == 2
    assert row(result, "spleen").state == ACCEPTED


@pytest.mark.parametrize("watched", [True, False], ids=["at hand", "another one at hand"])
def test_one_undo_brings_back_what_was_replaced(make_panel, until, watched):
    bench = Bench(make_panel, "replace")
    volume = add_ct()
    result, review = bench.segment(volume), bench.panel.section("Review")
    segments = result.GetSegmentation()
    set_state(result, row(result, "spleen").segment_id, ACCEPTED)
    edited = add_box((phantom()[1] == 1).astype(np.uint8))
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, result, row(result, "liver").segment_id, volume)
    until(lambda: row(result, "liver").state == EDITED, 10)
    before, ids, layers = rows(result), segments.GetSegmentIDs(), segments.GetNumberOfLayers()
    if not watched:
        bench.panel.parameters.segmentation = add_result(add_ct("CT 2"), ["liver"])
    bench.segment(volume, array=np.roll(phantom()[1], 3, axis=2))
    assert {listed.state for listed in rows(result)} == {PREDICTED}
    until(lambda: not review.looking.active, 10)  # and the new prediction is kept as such
    review.ui.undoButton.click()
    until(lambda: not review.looking.active, 10)
    assert rows(result) == before
    assert segments.GetSegmentIDs() == ids
    assert segments.GetNumberOfLayers() == layers
    assert np.array_equal(label_array(result, volume, "liver"), edited > 0)
    for organ in WORD16.organs[1:]:
        assert np.array_equal(label_array(result, volume, organ.name), phantom()[1] == organ.index)
    review.editor.setCurrentSegmentID(row(result, "liver").segment_id)
    review.ui.backButton.click()
    assert np.array_equal(label_array(result, volume, "liver"), phantom()[1] == 1)


def test_two_cts_have_their_own_results(bench):
    upright, turned = add_ct("one"), add_ct("two", axes=rotation(0, 0, 30))
    first, second = bench.segment(upright), bench.segment(turned)
    assert first.GetNodeReferenceID(ROLE) == upright.GetID()
    assert second.GetNodeReferenceID(ROLE) == turned.GetID()
    assert not bench.services.dialogs.asked
    assert np.array_equal(label_array(second, turned, "liver"), phantom()[1] == 1)


# --- geometry

@pytest.mark.parametrize("hardened", [False, True])
def test_ct_under_a_rotation_is_segmented_as_displayed(bench, hardened):
    volume = add_ct(axes=rotation(5, 0, 10))
    transform = add_transform(rotation(20, -10, 5), (30, -20, 10))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    if hardened:
        volume.HardenTransform()
    bench.start(volume)
    exported = slicer.vtkMRMLScalarVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(bench.process.arguments[1])
    assert storage.ReadData(exported)
    expected = ijk_to_ras(volume) if hardened else turn(transform) @ ijk_to_ras(volume)
    assert np.allclose(ijk_to_ras(exported), expected, atol=1e-3)
    result = bench.finish()
    assert result.GetTransformNodeID() == volume.GetTransformNodeID()
    assert np.array_equal(label_array(result, volume, "liver"), phantom()[1] == 1)
    assert ("transform" in bench.said) == (not hardened)


def test_ct_under_a_shear_is_resampled(bench):
    shear = np.eye(3)
    shear[0, 2] = 0.3
    volume = add_ct()
    volume.SetAndObserveTransformNodeID(add_transform(shear, (0, 0, 0)).GetID())
    bench.start(volume)
    exported = slicer.util.loadVolume(bench.process.arguments[1])
    resampled = slicer.util.arrayFromVolume(exported)
    matrix_of_export = ijk_to_ras(exported)
    slicer.mrmlScene.RemoveNode(exported)
    body = resampled > -500
    bench.finish(array=body.astype(np.uint8))
    result = bench.panel.parameters.segmentation
    assert "bends or shears" in bench.said
    assert result.GetParentTransformNode() is None
    # the body's centre, through the grid that was exported, is its centre in the CT, through its transform
    exported = centre(body, matrix_of_export)
    expected = centre(phantom()[0] > -500, turn(volume.GetParentTransformNode()) @ ijk_to_ras(volume))
    assert np.abs(exported - expected).max() < 2


@pytest.mark.parametrize("axes", [np.eye(3)[:, [2, 0, 1]], np.diag([1, -1, 1]), rotation(15, 25, -10)],
                         ids=["permuted", "left-handed", "oblique"])
def test_any_orientation(bench, axes):
    volume = add_ct(axes=axes)
    result = bench.segment(volume)
    assert np.array_equal(label_array(result, volume, "pancreas"), phantom()[1] == 8)


def turn(transform):
    """4x4 of a linear transform node, to world."""
    return slicer.util.arrayFromTransformMatrix(transform, toWorld=True)


def centre(mask, ijk_to_ras):
    """Mean position of a mask's voxels, RAS mm."""
    return (ijk_to_ras @ np.append(np.argwhere(mask).mean(axis=0)[::-1], 1))[:3]


# --- saving

def test_settings_and_organs_come_back_with_the_scene(make_panel, tmp_path, scene):
    bench = Bench(make_panel)
    volume = add_ct()
    bench.panel.parameters.segment.device = "cpu"
    result = bench.segment(volume)
    set_state(result, row(result, "liver").segment_id, ACCEPTED)
    before = rows(result)
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    scene.Clear(0)
    assert bench.panel.parameters.inputVolume is None
    slicer.util.loadScene(str(path))
    parameters = bench.panel.parameters
    assert parameters.segment.device == "cpu"
    assert parameters.inputVolume.GetName() == "CT"
    assert rows(parameters.segmentation) == before
    assert parameters.segmentation.GetSegmentation().GetNumberOfLayers() == 1
    assert np.array_equal(label_array(parameters.segmentation, parameters.inputVolume, "liver"), phantom()[1] == 1)


def test_a_scene_imported_during_a_run_hides_no_progress(bench, tmp_path):
    volume = add_ct()
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    bench.start(volume)
    bench.process.say("progress", stage="windows", done=1, total=4, eta_s=3)
    slicer.util.loadScene(str(path))
    assert bench.section.strip.bar.visible
    assert bench.said == "windows: 1 of 4, 3 s left"
    assert bench.finish() is not None


def test_organs_come_back_from_a_seg_nrrd(bench, tmp_path):
    result = bench.segment(add_ct())
    set_state(result, row(result, "liver").segment_id, ACCEPTED)
    path = tmp_path / "result.seg.nrrd"
    assert slicer.util.saveNode(result, str(path))
    assert rows(slicer.util.loadSegmentation(str(path))) == rows(result)
