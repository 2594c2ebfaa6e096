"""The cases that Fine-tune writes, read back by the library: each voxel knows what was accepted or drawn there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, add_result, add_transform, phantom, rotation
from panel_helpers.section_user import SectionUser
from PartialOrganSegPanel.finetune import export as finetune_export
from PartialOrganSegPanel.finetune.export import file_names
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, row, set_state
from PartialOrganSegPanel.scene.scene_cases import FULL, PARTIAL, SCRIBBLE, UNLABELLED, CaseList, include
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap
from PartialOrganSegPanel.scene.strokes import new_strokes
from PartialOrganSegPanel.scene.written_cts import WrittenCts

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16, label_space_of_names

LIVER, SPLEEN, PANCREAS = 1, 2, 8


def accept(result, *organs, state=ACCEPTED):
    for organ in organs:
        set_state(result, row(result, organ).segment_id, state)


def draw(volume, organs=WORD16.organs, values=(0, PANCREAS)):
    """Strokes on a CT: every fifth voxel of these label values, of the slices where the pancreas is."""
    labels = phantom()[1]
    strokes = np.full(labels.shape, NOT_DRAWN, np.uint8)
    chosen = np.isin(labels, values) & (np.arange(labels.size).reshape(labels.shape) % 5 == 0)
    chosen[~(labels == PANCREAS).any((1, 2))] = False
    strokes[chosen] = labels[chosen]
    node = new_strokes(volume, organs)
    draw_labelmap(node, volume, strokes)
    return node, strokes


def look():
    return CaseList().look(None)


def write_cases(cases, model, run, written=None):
    """All steps at once."""
    work = finetune_export.write_cases(cases, model, run, written or WrittenCts())
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def codes(manifest, number=0):
    """Candidate sets of one case's voxels: bool (z, y, x, class), in RAS-like array order of the CT's file."""
    manifest_read = load_manifest(manifest)
    table = CandidateTable(manifest_read.label_space.class_count)
    case = manifest_read.cases[number]
    image = case.read_image()
    return table, case.read_codes(image, manifest_read.label_space, table), image, manifest_read


def certain(table, array, label):
    """bool: voxels that are certainly this class."""
    alone = np.zeros(table.class_count, bool)
    alone[label] = True
    return (table.table[array] == alone).all(-1)


def possible(table, array, label):
    """bool: voxels that may be this class."""
    return table.table[array][..., label]


# --- which cases

def test_kinds_are_derived_from_review_and_strokes():
    add_ct("nothing")
    partial, scribble, full = add_ct("partial"), add_ct("scribble"), add_ct("full")
    result = add_result(partial)
    accept(result, "liver")
    accept(result, "rectum", state=ABSENT)
    draw(scribble)
    accept(add_result(full), *WORD16.names)
    cases = {case.name: case for case in look()}
    assert {name: case.kind(WORD16.names) for name, case in cases.items()} == {
        "nothing": UNLABELLED, "partial": PARTIAL, "scribble": SCRIBBLE, "full": FULL}
    assert cases["partial"].accepted == ("liver", "rectum")
    assert cases["scribble"].drawn == ("pancreas", "background")
    assert [name for name, case in cases.items() if case.included] == ["partial", "scribble", "full"]
    assert cases["full"].kind([*WORD16.names, "aorta"]) == PARTIAL


def test_a_newer_segmentation_hides_no_accepted_organ(tmp_path):
    volume = add_ct()
    first = add_result(volume)
    accept(first, "liver")
    accept(first, "rectum", state=ABSENT)
    newer = add_result(volume, array=np.roll(phantom()[1], 3, axis=2))
    for chosen in (None, first, newer, add_result(add_ct("other"))):
        case = CaseList().look(chosen)[0]
        assert case.accepted == ("liver", "rectum")
        assert case.segmentation_id == first.GetID()
    table, array, *_ = codes(write_cases([case], WORD16.names, tmp_path))
    assert np.array_equal(certain(table, array, LIVER), phantom()[1] == LIVER)
    accept(newer, "spleen")
    assert [CaseList().look(chosen)[0].accepted for chosen in (None, first, newer)] == [
        ("spleen",), ("liver", "rectum"), ("spleen",)]


def test_a_decision_of_the_user_stays_with_the_ct():
    volume = add_ct()
    include(volume.GetID(), True)
    assert look()[0].included
    include(volume.GetID(), False)
    accept(add_result(volume), "liver")
    assert not look()[0].included


def test_what_is_no_ct_is_not_listed(scene):
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    hidden = add_ct("hidden")
    hidden.SetHideFromEditors(True)
    volume = add_ct("CT")
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    labels.SetAndObserveImageData(volume.GetImageData())
    assert [case.name for case in look()] == ["CT"]


def test_new_strokes_are_noticed_and_erased_ones_too():
    volume, cases = add_ct(), CaseList()
    node, strokes = draw(volume)
    assert cases.look(None)[0].drawn == ("pancreas", "background")
    strokes[strokes == PANCREAS] = LIVER
    draw_labelmap(node, volume, strokes)
    assert cases.look(None)[0].drawn == ("liver", "background")
    draw_labelmap(node, volume, np.full_like(strokes, NOT_DRAWN))
    assert not cases.look(None)[0].labelled


# --- what is written

def test_accepted_organs_and_strokes_on_one_ct(tmp_path):
    volume = add_ct()
    accept(add_result(volume), "liver", "spleen")
    _, strokes = draw(volume, values=(0, LIVER, PANCREAS))
    table, array, image, manifest = codes(write_cases(look(), WORD16.names, tmp_path))
    labels = phantom()[1]
    assert image.array.shape == labels.shape
    assert manifest.label_space == WORD16
    assert np.array_equal(certain(table, array, LIVER), labels == LIVER)
    assert np.array_equal(certain(table, array, SPLEEN), labels == SPLEEN)
    assert np.array_equal(certain(table, array, PANCREAS), strokes == PANCREAS)
    assert np.array_equal(certain(table, array, 0), strokes == 0)
    unknown = ~np.isin(labels, (LIVER, SPLEEN)) & ~np.isin(strokes, (0, PANCREAS))
    assert not possible(table, array, LIVER)[unknown].any()
    assert possible(table, array, 0)[unknown].all()
    assert possible(table, array, 5)[unknown].all()
    check_manifest(manifest)


def test_partial_scribble_full_and_unlabelled_cases(tmp_path):
    volumes = [add_ct(name) for name in ("partial", "scribble", "full", "image")]
    accept(add_result(volumes[0]), "liver")
    _, strokes = draw(volumes[1])
    accept(add_result(volumes[2]), *WORD16.names)
    path = write_cases(look(), WORD16.names, tmp_path)
    labels, manifest = phantom()[1], load_manifest(path)
    assert [case.kind.value for case in manifest.cases] == ["partial", "scribble", "full", "unlabelled"]
    table, array, *_ = codes(path, 0)
    assert np.array_equal(certain(table, array, LIVER), labels == LIVER)
    assert not certain(table, array, 0).any()
    table, array, *_ = codes(path, 1)
    assert np.array_equal(certain(table, array, PANCREAS), strokes == PANCREAS)
    assert (array > 0).sum() == (strokes != NOT_DRAWN).sum()
    table, array, *_ = codes(path, 2)
    assert all(np.array_equal(certain(table, array, label), labels == label) for label in range(17))
    check_manifest(manifest)


def test_label_space_is_the_models_and_what_it_lacks(tmp_path):
    first, second = add_ct("one"), add_ct("two")
    accept(add_result(first), "liver", "spleen")
    draw(second, label_space_of_names("mine", ["aorta", "pancreas"]).organs, values=())
    strokes = np.full(phantom()[1].shape, NOT_DRAWN, np.uint8)
    strokes[40, 30, 30:40], strokes[40, 35, 30:40] = 1, 0
    draw_labelmap(slicer.util.getNode("two strokes"), second, strokes)
    path = write_cases(look(), ["spleen", "liver"], tmp_path)
    manifest = load_manifest(path)
    assert manifest.label_space.names == ("spleen", "liver", "aorta")
    assert [case.kind.value for case in manifest.cases] == ["partial", "scribble"]
    table, array, *_ = codes(path, 0)
    assert np.array_equal(certain(table, array, 2), phantom()[1] == LIVER)
    assert possible(table, array, 3)[phantom()[1] == 0].all()  # no aorta is known of
    table, array, *_ = codes(path, 1)
    assert np.array_equal(certain(table, array, 3), strokes == 1)


@pytest.mark.parametrize("sheared", [False, True])
def test_labels_follow_their_ct_through_transforms(tmp_path, sheared):
    volume = add_ct(axes=rotation(10, 5, 0))
    result = add_result(volume)
    accept(result, "liver")
    axes = rotation(20, 0, 10)
    if sheared:
        axes = np.eye(3)
        axes[0, 2] = 0.3
    transform = add_transform(axes, (30, -20, 10))
    for node in (volume, result):
        node.SetAndObserveTransformNodeID(transform.GetID())
    before = slicer.mrmlScene.GetNumberOfNodes()
    table, array, image, _ = codes(write_cases(look(), WORD16.names, tmp_path))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    liver = certain(table, array, LIVER)
    if not sheared:
        assert np.array_equal(liver, phantom()[1] == LIVER)
    hu = phantom()[0]
    assert abs(image.array[liver].mean() - hu[phantom()[1] == LIVER].mean()) < 15  # on the liver's own voxels
    assert abs(liver.sum() * np.prod(image.grid.spacing) / 125 / (phantom()[1] == LIVER).sum() - 1) < 0.1


def test_labels_beside_their_ct_are_refused(tmp_path):
    """The CT was moved, its segmentation was not: other tissue would be learnt. Once hardened in both it is right."""
    volume = add_ct()
    result = add_result(volume)
    accept(result, "liver")
    volume.SetAndObserveTransformNodeID(add_transform(np.eye(3), (20, 0, 0)).GetID())
    with pytest.raises(UserError, match="CT segmentation and CT are under different transforms"):
        write_cases(look(), WORD16.names, tmp_path)
    result.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    volume.HardenTransform()
    table, array, _, _ = codes(write_cases(look(), WORD16.names, tmp_path))
    assert np.array_equal(certain(table, array, LIVER), phantom()[1] == LIVER)


def test_names_with_blanks_other_letters_and_twice(tmp_path):
    for name in ("Müller, Jörg 3", "Müller, Jörg 3", "腹部/CT*?.nii", "müller, jörg 3", "..."):
        accept(add_result(add_ct(name)), "liver")
    run = tmp_path / "Läufe 1"
    run.mkdir()
    manifest = load_manifest(write_cases(look(), WORD16.names, run))
    names = [case.name for case in manifest.cases]
    assert names == ["Müller_ Jörg 3", "Müller_ Jörg 3 2", "腹部_CT_nii", "müller_ jörg 3 3", "case"]
    assert all(case.image.is_file() and case.label.is_file() for case in manifest.cases)
    assert [(case.image.name, case.label.name) for case in manifest.cases] == [
        (f"case_{number}.nrrd", f"case_{number}_labels.nrrd") for number in range(1, 6)]
    check_manifest(manifest)


def test_file_names_are_short_and_each_once():
    names = file_names(["x" * 200, "x" * 200, "X" * 200, "", "a\nb"])
    assert len(set(map(str.casefold, names))) == 5
    assert max(map(len, names)) < 70


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(node, path):
        Path(path).write_bytes(b"half")
        raise OSError(f"{path}: the CT could not be written; is the disk full?")

    accept(add_result(add_ct()), "liver")
    monkeypatch.setattr("PartialOrganSegPanel.scene.written_cts.write_ct_steps", full)
    with pytest.raises(OSError, match="disk full"):
        write_cases(look(), WORD16.names, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_deleted_ct_is_told_and_nothing_left(tmp_path):
    accept(add_result(add_ct("first")), "liver")
    second = add_ct("second")
    accept(add_result(second), "liver")
    work = finetune_export.write_cases(look(), WORD16.names, tmp_path, WrittenCts())
    next(work)
    slicer.mrmlScene.RemoveNode(second)
    with pytest.raises(UserError, match="second"):
        next(work)
    assert not list(tmp_path.iterdir())


def test_writing_is_cancelled_between_two_cases(tmp_path):
    for name in ("first", "second"):
        accept(add_result(add_ct(name)), "liver")
    work = finetune_export.write_cases(look(), WORD16.names, tmp_path, WrittenCts())
    assert [next(work).text(), next(work).text()] == ["writing CTs: 0 of 2", "writing CTs: 1 of 2"]
    work.close()
    assert not list(tmp_path.iterdir())


def test_unchanged_cts_are_written_once(tmp_path):
    volume, second = add_ct("CT"), add_ct("other")
    result, transform = add_result(volume), add_transform(rotation(0, 0, 5), (0, 0, 0))
    for node in (result, add_result(second)):
        accept(node, "liver")

    def turn():
        for node in (volume, result):
            node.SetAndObserveTransformNodeID(transform.GetID())

    written, images = WrittenCts(), []
    for number, change in enumerate((lambda: None, lambda: volume.SetName("renamed"),
                                     lambda: slicer.util.updateVolumeFromArray(volume, phantom()[0] + 1), turn)):
        change()
        run = tmp_path / str(number)
        run.mkdir()
        manifest = load_manifest(write_cases(look(), WORD16.names, run, written))
        images.append([case.image for case in manifest.cases])
    files = [[image.stat().st_ino for image in run] for run in images]
    assert len({run[0] for run in files}) == 3  # new voxels, then a new transform
    assert files[0] == files[1]
    assert len({run[1] for run in files}) == 1
    changed = load_manifest(images[2][0].parent / "manifest.yaml").cases[0].read_image()
    assert changed.array.max() == phantom()[0].max() + 1


@pytest.mark.parametrize("together", [True, False])
def test_a_path_that_another_ct_took_over_is_not_linked(tmp_path, together):
    """A run that was given up is deleted, and the next one of the same minute has its folder's name."""
    volume, another_ct = add_ct("CT"), add_ct("CT")
    slicer.util.updateVolumeFromArray(another_ct, phantom()[0] + 1)
    for node in (volume, another_ct):
        accept(add_result(node), "liver")
    first, second = tmp_path / "12.00", tmp_path / "12.01"
    written = WrittenCts()

    def write(node, run, memory):
        run.mkdir()
        ticked = [case for case in look() if case.volume_id == node.GetID()]
        case, = load_manifest(write_cases(ticked, WORD16.names, run, memory)).cases
        return case.image, case.read_image().array.max() - phantom()[0].max()

    given_up, _ = write(volume, first, written)
    shutil.rmtree(first)
    assert write(another_ct, first, written if together else WrittenCts()) == (given_up, 1)
    assert write(volume, second, written)[1] == 0


def test_a_ct_whose_file_is_gone_is_written_anew(tmp_path):
    accept(add_result(add_ct()), "liver")
    written = WrittenCts()
    for number in range(2):
        run = tmp_path / str(number)
        run.mkdir()
        case, = load_manifest(write_cases(look(), WORD16.names, run, written)).cases
        assert case.image.is_file()
        case.image.unlink()


def test_what_was_edited_unseen_is_not_learnt_from_as_accepted(make_panel, tmp_path):
    """While Review looks at another patient's, in Slicer's own segment editor."""
    desk = SectionUser(make_panel, "Review")
    volume, other = add_ct(), add_ct("other", phantom(5)[0])
    node = desk.panel.parameters.segmentation = add_result(volume)
    desk.ui.acceptButton.click()
    desk.panel.parameters.segmentation = add_result(other, array=phantom(5)[1])
    edited = (phantom()[1] == LIVER).astype(np.uint8)
    edited[:, :30] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, row(node, "liver").segment_id, volume)
    cases = [case for case in look() if case.accepted]
    assert [case.accepted for case in cases] == [("liver",)]
    with pytest.raises(UserError, match="no longer accepted, as they were when this began: liver"):
        write_cases(cases, WORD16.names, tmp_path / "run")
    assert not any(case.accepted for case in look())
