"""The cases that Fine-tune writes, read back by the library: each voxel knows what was accepted or drawn there."""

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.cases_to_learn import (
    LIVER,
    PANCREAS,
    SPLEEN,
    certain,
    codes,
    draw_pancreas,
    look,
    possible,
    write_cases,
)
from panel_helpers.scenes import add_ct, add_result, add_transform, decide, phantom, rotation
from panel_helpers.section_user import SectionUser
from PartialOrganSegPanel.finetune import export as finetune_export
from PartialOrganSegPanel.finetune.export import file_names
from PartialOrganSegPanel.scene.organ_rows import row
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap
from PartialOrganSegPanel.scene.written_cts import WrittenCts

from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16, label_space_of_names


def test_accepted_organs_and_strokes_on_one_ct(tmp_path):
    volume = add_ct()
    decide(add_result(volume), "liver", "spleen")
    _, strokes = draw_pancreas(volume, values=(0, LIVER, PANCREAS))
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
    decide(add_result(volumes[0]), "liver")
    _, strokes = draw_pancreas(volumes[1])
    decide(add_result(volumes[2]), *WORD16.names)
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
    decide(add_result(first), "liver", "spleen")
    draw_pancreas(second, label_space_of_names("mine", ["aorta", "pancreas"]).organs, values=())
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
    decide(result, "liver")
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
    decide(result, "liver")
    volume.SetAndObserveTransformNodeID(add_transform(np.eye(3), (20, 0, 0)).GetID())
    with pytest.raises(UserError, match="CT segmentation and CT are under different transforms"):
        write_cases(look(), WORD16.names, tmp_path)
    result.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    volume.HardenTransform()
    table, array, _, _ = codes(write_cases(look(), WORD16.names, tmp_path))
    assert np.array_equal(certain(table, array, LIVER), phantom()[1] == LIVER)


def test_names_with_blanks_other_letters_and_twice(tmp_path):
    for name in ("Müller, Jörg 3", "Müller, Jörg 3", "腹部/CT*?.nii", "müller, jörg 3", "..."):
        decide(add_result(add_ct(name)), "liver")
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

    decide(add_result(add_ct()), "liver")
    monkeypatch.setattr("PartialOrganSegPanel.scene.written_cts.write_ct_steps", full)
    with pytest.raises(OSError, match="disk full"):
        write_cases(look(), WORD16.names, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_deleted_ct_is_told_and_nothing_left(tmp_path):
    decide(add_result(add_ct("first")), "liver")
    second = add_ct("second")
    decide(add_result(second), "liver")
    work = finetune_export.write_cases(look(), WORD16.names, tmp_path, WrittenCts())
    next(work)
    slicer.mrmlScene.RemoveNode(second)
    with pytest.raises(UserError, match="second"):
        next(work)
    assert not list(tmp_path.iterdir())


def test_writing_is_cancelled_between_two_cases(tmp_path):
    for name in ("first", "second"):
        decide(add_result(add_ct(name)), "liver")
    work = finetune_export.write_cases(look(), WORD16.names, tmp_path, WrittenCts())
    assert [next(work).text(), next(work).text()] == ["writing CTs: 0 of 2", "writing CTs: 1 of 2"]
    work.close()
    assert not list(tmp_path.iterdir())


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
