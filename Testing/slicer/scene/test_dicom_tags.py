"""What QuantitativeReporting's DICOM SEG export takes from a result, on a CT that was loaded from DICOM files."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from panel_helpers.review_desk import Desk, add_box
from panel_helpers.scenes import label_array, phantom
from PartialOrganSegPanel.scene.organ_rows import tag
from PartialOrganSegPanel.scene.voxel_counts import BINARY

from PartialOrganSegLib.organs import WORD16

SLICES = np.s_[20:60]
GALLBLADDER = 6  # taken out


def labels():
    """Of the phantom's slices that are used, without a gallbladder."""
    array = phantom()[1][SLICES]
    return np.where(array == GALLBLADDER, 0, array)


def load_dicom(folder):
    """The phantom as a CT series, loaded with the attribute and the hierarchy that Slicer's DICOM plugin leaves."""
    uids, files = [], vtk.vtkStringArray()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, plane in enumerate(phantom()[0][SLICES], 1):
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((5.0, 5.0))
        uids.append(f"1.2.3.{number}")
        for key, value in {"0008|0060": "CT", "0008|0018": uids[-1], "0020|000d": "1.2", "0020|000e": "1.2.3",
                           "0020|0013": str(number), "0020|0032": f"-200\\-160\\{5 * number}",
                           "0020|0037": "1\\0\\0\\0\\1\\0", "0028|1052": "-1024", "0028|1053": "1"}.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number:03}.dcm"))
        writer.Execute(image)
        files.InsertNextValue(str(folder / f"{number:03}.dcm"))
    volume = slicer.modules.volumes.logic().AddArchetypeScalarVolume(files.GetValue(0), "3: Abdomen", 0, files)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    item = hierarchy.GetItemByDataNode(volume)
    hierarchy.SetItemParent(item, study)
    hierarchy.SetItemUID(item, "DICOM", "1.2.3")
    return volume, study, " ".join(uids)


@pytest.fixture
def exported(bench, tmp_path):
    """Volume, result, study and the slices' UIDs."""
    volume, study, uids = load_dicom(tmp_path)
    return volume, bench.segment(volume, array=labels()), study, uids


def test_the_cts_slices_are_known(exported, scene):
    volume, result, study, uids = exported
    assert np.array_equal(slicer.util.arrayFromVolume(volume), phantom()[0][SLICES])
    reference = result.GetNodeReference(result.GetReferenceImageGeometryReferenceRole())
    assert reference.GetAttribute("DICOM.instanceUIDs") == uids
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(result)
    assert hierarchy.GetItemParent(item) == study
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMReferencedInstanceUIDsAttributeName()
    assert hierarchy.GetItemAttribute(item, name) == uids
    assert hierarchy.GetItemUID(hierarchy.GetItemByDataNode(volume), "DICOM") == "1.2.3"


def test_uids_come_back_with_the_scene(exported, scene, tmp_path):
    uids = exported[3]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    result = slicer.util.getNode("*segmentation")
    reference = result.GetNodeReference(result.GetReferenceImageGeometryReferenceRole())
    assert reference.GetAttribute("DICOM.instanceUIDs") == uids


def test_voxels_lie_on_the_slices(exported):
    volume, result, *_ = exported
    for organ in WORD16.organs:
        assert np.array_equal(label_array(result, volume, organ.name), labels() == organ.index)


def test_no_organ_counts_as_empty(exported):
    """The export looks for an array called ImageScalars and leaves out segments without one."""
    segmentation = exported[1].GetSegmentation()
    for organ in WORD16.organs:
        if organ.index in labels():
            data = segmentation.GetSegment(organ.name).GetRepresentation(BINARY).GetPointData()
            assert data.GetArray("ImageScalars").GetValueRange()[1] > 0


def test_who_made_a_segment(exported):
    segmentation = exported[1].GetSegmentation()
    for organ in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(organ)
        assert tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
        assert tag(segment, "DICOM.SegmentAlgorithmName") == "PartialOrganSeg embedded"


def test_a_corrected_segment_is_semiautomatic(make_panel, until):
    desk = Desk(make_panel, until)
    segment = desk.node.GetSegmentation().GetSegment("liver")
    desk.edit("liver", add_box)
    assert tag(segment, "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"
    desk.select("liver")
    desk.ui.acceptButton.click()
    assert tag(segment, "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"
    desk.select("liver")
    desk.ui.backButton.click()
    assert tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
    assert segment.GetRepresentation(BINARY).GetPointData().GetArray("ImageScalars") is not None
