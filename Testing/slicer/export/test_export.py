"""Section Export: what is offered, and files by the real command that refer to the CT they belong to, to no other."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, add_result, add_transform, phantom, rotation
from panel_helpers.section_user import SectionUser
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, EDITED, row, set_state
from PartialOrganSegPanel.shell.parameters import ExportFormat, ExportOrgans
from pydicom import dcmread

from PartialOrganSegLib.errors import Code, Problem
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from Testing.helpers.dicom_files import write_slices

LIVER, SPLEEN, STOMACH = 1, 2, 5
ORIGIN = (150.0, -120.0, -700.0)  # LPS, of the volume that `add_ct` makes


class Exporter(SectionUser):
    """A segmented CT, of which liver and stomach are accepted and the gallbladder is absent."""

    def __init__(self, make_panel, until, target, *answers, **options):
        super().__init__(make_panel, "Export", *answers, folder=target, **options)
        self.until, self.target = until, target
        self.volume = add_ct("Müller, A")
        self.node = add_result(self.volume, ("liver", "spleen", "stomach", "gallbladder"))
        self.panel.parameters.inputVolume, self.panel.parameters.segmentation = self.volume, self.node
        for organ, state in (("liver", EDITED), ("liver", ACCEPTED), ("stomach", ACCEPTED), ("gallbladder", ABSENT)):
            set_state(self.node, row(self.node, organ).segment_id, state)
        slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(self.node, "gallbladder")
        self.panel.refresh()

    def export(self, kind, seconds=60):
        """Presses the button and waits until all is written."""
        self.panel.parameters.export.format = kind
        self.ui.exportButton.click()
        self.until(lambda: self.section._work is None, seconds)
        return sorted(self.target.iterdir())

    def load_series(self, folder, monkeypatch, hu=None, **tags):
        """The CT's slices in a folder, known to Slicer's DICOM database."""
        hu = phantom()[0] if hu is None else hu
        positions = np.array(ORIGIN) + 5.0 * np.arange(len(hu))[:, None] * (0, 0, 1)
        write_slices(folder, hu, positions=positions, pixel_mm=(5.0, 5.0), step=5.0, **tags)
        files = {dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}
        self.volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
        database = SimpleNamespace(fileForInstance=lambda uid: str(files.get(uid, "")))
        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)


@pytest.fixture
def exporter(make_panel, until, tmp_path):
    target = tmp_path / "Für die Planung"
    target.mkdir()
    return Exporter(make_panel, until, target, real_process=True)


def test_what_can_be_exported_is_offered(make_panel, until, tmp_path):
    user = Exporter(make_panel, until, tmp_path)
    assert user.ui.exportButton.enabled
    for organ in ("liver", "stomach"):
        set_state(user.node, row(user.node, organ).segment_id, EDITED)
    user.panel.refresh()
    assert user.ui.exportButton.toolTip == "Accept an organ first, or export all organs."
    user.panel.parameters.export.organs = ExportOrgans.ALL
    assert user.ui.exportButton.enabled
    user.panel.parameters.segmentation = None
    assert user.ui.exportButton.toolTip == "There is no segmentation yet."


def test_a_segmentation_of_others_is_said_to_be_one(make_panel, until, tmp_path):
    user = Exporter(make_panel, until, tmp_path)
    others = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "of the planning system")
    others.GetSegmentation().AddEmptySegment("Liver")
    others.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    user.panel.parameters.segmentation = others
    for organs in ExportOrgans:
        user.panel.parameters.export.organs = organs
        assert not user.ui.exportButton.enabled
        assert user.ui.exportButton.toolTip.startswith("of the planning system was not made by PartialOrganSeg")


def test_organs_that_overlap_are_said_to(exporter):
    """As in the segment editor with *Allow overlap*."""
    liver = phantom()[1] == LIVER
    drawn = (phantom()[1] == STOMACH) | (liver & (np.cumsum(liver).reshape(liver.shape) <= 40))
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), exporter.node,
                                                     row(exporter.node, "stomach").segment_id, exporter.volume)
    path = next(path for path in exporter.export(ExportFormat.NIFTI) if path.name.endswith(".nii.gz"))
    labels = read_labelmap(path).array
    assert np.count_nonzero(labels == 1) == np.count_nonzero(liver) - 40
    assert "Voxels that are missing so: liver 40." in exporter.said


def test_accepted_organs_as_rt_structure_set_of_their_series(exporter, tmp_path, monkeypatch):
    exporter.load_series(tmp_path / "ct", monkeypatch, PatientName="Müller^Anna")
    # in the scene the CT is elsewhere, in the patient it is where DICOM says
    transform = add_transform(rotation(0, 0, 20), (10, 20, 30))
    for node in (exporter.volume, exporter.node):
        node.SetAndObserveTransformNodeID(transform.GetID())
    path, = exporter.export(ExportFormat.RTSTRUCT)
    assert path.name.startswith("Müller_A_")
    structures, ct = dcmread(path), dcmread(next((tmp_path / "ct").iterdir()))
    assert structures.PatientName == "Müller^Anna"
    assert structures.StudyInstanceUID == ct.StudyInstanceUID
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["Liver", "Stomach"]
    assert {roi.ROIGenerationAlgorithm for roi in structures.StructureSetROISequence} == {"SEMIAUTOMATIC"}
    points = np.concatenate([np.reshape(contour.ContourData, (-1, 3)).astype(float)
                             for contour in structures.ROIContourSequence[0].ContourSequence])
    filled = np.argwhere(phantom()[1] == LIVER)
    low, high = filled.min(0)[::-1] * 5.0 + ORIGIN, filled.max(0)[::-1] * 5.0 + ORIGIN
    assert np.abs(points.min(0) - low).max() <= 5
    assert np.abs(points.max(0) - high).max() <= 5
    assert ": 2, in " in exporter.said


def test_dicom_seg_bears_tg263_names(exporter, tmp_path, monkeypatch):
    exporter.load_series(tmp_path / "ct", monkeypatch)
    exporter.panel.parameters.export.organs = ExportOrgans.ALL
    path, = exporter.export(ExportFormat.SEG)
    seg = dcmread(path)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Liver", "Spleen", "Stomach"]
    expected = sum(np.count_nonzero(phantom()[1] == value) for value in (LIVER, SPLEEN, STOMACH))
    assert int(np.unpackbits(np.frombuffer(seg.PixelData, np.uint8)).sum()) == expected


def test_nifti_lies_on_the_ct_as_displayed(exporter):
    exporter.volume.SetAndObserveTransformNodeID(add_transform(np.eye(3), (7, 0, 0)).GetID())
    exporter.node.SetAndObserveTransformNodeID(exporter.volume.GetTransformNodeID())
    table, labels = exporter.export(ExportFormat.NIFTI)
    found = read_labelmap(labels)
    assert np.array_equal(found.canonical().array, np.select([phantom()[1] == LIVER, phantom()[1] == STOMACH], [1, 2]))
    # 7 mm to the right in RAS are -7 in LPS; the phantom's axes run to the left, back and head
    assert np.allclose(found.canonical().grid.origin, (143, -120, -700))
    with open(table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(line["value"], line["tg263"]) for line in rows] == [("1", "Liver"), ("2", "Stomach")]


@pytest.mark.parametrize("same", [True, False])
def test_a_folder_that_was_chosen_is_compared_with_the_ct(exporter, tmp_path, monkeypatch, same):
    """The CT came from a file: the series that the user points at may be another patient's, of the same geometry."""
    hu = phantom()[0] if same else phantom(seed=4)[0]
    exporter.load_series(tmp_path / "ct", monkeypatch, hu)
    exporter.volume.RemoveAttribute("DICOM.instanceUIDs")
    folders = [exporter.target, tmp_path / "ct"]
    monkeypatch.setattr(exporter.services.dialogs, "choose_folder", lambda _title: folders.pop(0))
    exporter.services.dialogs.answers = ["choose"]
    written = exporter.export(ExportFormat.RTSTRUCT)
    assert "refused" in exporter.services.dialogs.asked[0][1]
    assert bool(written) == same, exporter.said
    assert ("series of another CT" in exporter.said) != same


def refuse_voxels(process):
    """The command finds other voxels than those of the series."""
    process.fail(Problem(Code.GEOMETRY_DIFFERS, "series", "labels on the grid of the series", "others"))
    process.end(1)


@pytest.mark.parametrize("known", [True, False])
def test_a_ct_on_other_voxels_is_looked_for_in_its_series(make_panel, until, tmp_path, monkeypatch, known):
    """It was cropped, or moved by a transform that was hardened: then its organs must not go where it is displayed."""
    user = Exporter(make_panel, until, tmp_path, "slices")
    user.load_series(tmp_path / "ct", monkeypatch)
    user.volume.SetAndObserveTransformNodeID(add_transform(np.eye(3), (7, 0, 0)).GetID())
    user.node.SetAndObserveTransformNodeID(user.volume.GetTransformNodeID())
    if not known:
        user.volume.RemoveAttribute("DICOM.instanceUIDs")
        user.services.dialogs.answers.insert(0, "choose")
    user.panel.parameters.export.format = ExportFormat.SEG
    user.ui.exportButton.click()
    until(lambda: user.services.processes, 20)
    assert ("--of" in user.process.arguments) != known
    refuse_voxels(user.process)
    if known:  # the series is not read twice where it need not be
        until(lambda: len(user.services.processes) == 2, 20)
        assert "--resample" not in user.process.arguments
        refuse_voxels(user.process)
    assert "--resample" in user.process.arguments
    # where the patient's slices are, whatever transform displays the CT elsewhere
    written = read_ct(Path(user.option("--of")), force=True)
    assert np.allclose(written.canonical().grid.origin, ORIGIN)
    assert np.array_equal(written.canonical().array, phantom()[0])
    user.process.say("error", **Problem(Code.SETTINGS_CONFLICT, "series", "the DICOM series of ct.nrrd",
                                        "others").as_event())
    user.process.end(1)
    assert user.said == "series: expected the DICOM series of Müller, A, found others"


@pytest.mark.parametrize(("known", "wanted"), [(True, True), (True, False), (False, True)])
def test_a_cropped_ct_is_written_on_the_slices_of_its_series_when_the_user_wants_it(exporter, tmp_path, monkeypatch,
                                                                                   known, wanted):
    exporter.load_series(tmp_path / "ct", monkeypatch)
    start, end, right = 20, 70, 8
    cropped = add_ct("cropped", phantom()[0][start:end, :, right:], origin=(-150 - 5 * right, 120, -700 + 5 * start))
    if known:
        cropped.SetAttribute("DICOM.instanceUIDs", exporter.volume.GetAttribute("DICOM.instanceUIDs"))
    node = add_result(cropped, ("liver",), phantom()[1][start:end, :, right:])
    set_state(node, row(node, "liver").segment_id, ACCEPTED)
    exporter.panel.parameters.segmentation = node
    exporter.services.dialogs.answers = ["slices" if wanted else None]
    if not known:  # Slicer's database does not know the series: the user points at its folder
        folders = [exporter.target, tmp_path / "ct"]
        monkeypatch.setattr(exporter.services.dialogs, "choose_folder", lambda _title: folders.pop(0))
        exporter.services.dialogs.answers.insert(0, "choose")
    written = exporter.export(ExportFormat.SEG)
    assert "Write the organs on the slices of the series?" in exporter.services.dialogs.asked[-1][1]
    assert bool(written) == wanted, exporter.said
    assert "--" not in exporter.said
    if wanted:
        seg = dcmread(written[0])
        expected = np.count_nonzero(phantom()[1][start:end, :, right:] == LIVER)
        assert int(np.unpackbits(np.frombuffer(seg.PixelData, np.uint8)).sum()) == expected
        assert (seg.Rows, seg.Columns) == phantom()[0].shape[1:]
    else:
        assert "labels on the grid of the series" in exporter.said


def test_nothing_is_overwritten_unasked(exporter):
    first = {path.name: path.read_bytes() for path in exporter.export(ExportFormat.NIFTI)}
    exporter.panel.parameters.export.organs = ExportOrgans.ALL
    exporter.services.dialogs.answers = [None, "keep", "replace"]
    assert {path.name: path.read_bytes() for path in exporter.export(ExportFormat.NIFTI)} == first
    kept = {path.name: path.read_bytes() for path in exporter.export(ExportFormat.NIFTI)}
    assert first.items() < kept.items()
    assert len(kept) == 4
    replaced = {path.name: path.read_bytes() for path in exporter.export(ExportFormat.NIFTI)}
    assert set(replaced) == set(kept)
    assert any(replaced[name] != first[name] for name in first)


def test_organs_of_another_ct_are_refused(make_panel, until, tmp_path):
    user = Exporter(make_panel, until, tmp_path)
    second_patient = add_ct("Müller, A", phantom(seed=4)[0])
    user.node.SetReferenceImageGeometryParameterFromVolumeNode(second_patient)
    user.export(ExportFormat.NIFTI)
    assert "found one of another CT" in user.said
    assert not list(tmp_path.iterdir())
    assert not user.services.processes


def test_an_edit_while_organs_are_written_ends_it(make_panel, until, tmp_path, monkeypatch):
    """Half of the file would be of before the edit, half of after."""
    monkeypatch.setattr("PartialOrganSegPanel.scene.nrrd_pieces.SLAB_BYTES", 1)
    monkeypatch.setattr("PartialOrganSegPanel.shell.steps.STEP_S", 1e-9)
    user = Exporter(make_panel, until, tmp_path)
    user.panel.parameters.export.format = ExportFormat.NIFTI
    user.ui.exportButton.click()
    labels = user.section._run.folder / "labels.nrrd"
    until(labels.exists, 10)
    slicer.util.updateSegmentBinaryLabelmapFromArray((phantom()[1] == LIVER).astype(np.uint8), user.node, "liver",
                                                     user.volume)
    until(lambda: user.section._work is None, 10)
    assert "changed while they were written" in user.said
    assert not user.services.processes
    assert not labels.parent.exists()


def test_cancel_leaves_no_file(make_panel, until, tmp_path):
    user = Exporter(make_panel, until, tmp_path)
    user.panel.parameters.export.format = ExportFormat.NIFTI
    user.ui.exportButton.click()
    until(lambda: user.services.processes, 10)
    folder = user.section._run.folder
    assert user.ui.exportButton.text == "Cancel"
    user.ui.exportButton.click()
    assert user.process.cancelled
    user.process.end(130)
    assert user.said == "Cancelled."
    assert not folder.exists()
    assert user.ui.exportButton.text == "Export ..."
