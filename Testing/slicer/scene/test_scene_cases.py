"""Which CTs of the scene are cases to learn from, and of which kind each is."""

import numpy as np
from panel_helpers.cases_to_learn import LIVER, PANCREAS, certain, codes, draw_pancreas, look, write_cases
from panel_helpers.scenes import add_ct, add_result, decide, phantom
from PartialOrganSegPanel.scene.organ_rows import ABSENT
from PartialOrganSegPanel.scene.scene_cases import FULL, PARTIAL, SCRIBBLE, UNLABELLED, CaseList, include
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap

from PartialOrganSegLib.organs import WORD16


def test_kinds_are_derived_from_review_and_strokes():
    add_ct("nothing")
    partial, scribble, full = add_ct("partial"), add_ct("scribble"), add_ct("full")
    result = add_result(partial)
    decide(result, "liver")
    decide(result, "rectum", state=ABSENT)
    draw_pancreas(scribble)
    decide(add_result(full), *WORD16.names)
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
    decide(first, "liver")
    decide(first, "rectum", state=ABSENT)
    newer = add_result(volume, array=np.roll(phantom()[1], 3, axis=2))
    for chosen in (None, first, newer, add_result(add_ct("other"))):
        case = CaseList().look(chosen)[0]
        assert case.accepted == ("liver", "rectum")
        assert case.segmentation_id == first.GetID()
    table, array, *_ = codes(write_cases([case], WORD16.names, tmp_path))
    assert np.array_equal(certain(table, array, LIVER), phantom()[1] == LIVER)
    decide(newer, "spleen")
    assert [CaseList().look(chosen)[0].accepted for chosen in (None, first, newer)] == [
        ("spleen",), ("liver", "rectum"), ("spleen",)]


def test_a_decision_of_the_user_stays_with_the_ct():
    volume = add_ct()
    include(volume.GetID(), True)
    assert look()[0].included
    include(volume.GetID(), False)
    decide(add_result(volume), "liver")
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
    node, strokes = draw_pancreas(volume)
    assert cases.look(None)[0].drawn == ("pancreas", "background")
    strokes[strokes == PANCREAS] = LIVER
    draw_labelmap(node, volume, strokes)
    assert cases.look(None)[0].drawn == ("liver", "background")
    draw_labelmap(node, volume, np.full_like(strokes, NOT_DRAWN))
    assert not cases.look(None)[0].labelled
