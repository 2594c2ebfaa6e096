"""Strokes that correct the CT as they are drawn: through the panel with the real command; what must never happen."""

from __future__ import annotations

import os

import numpy as np
import pytest
import slicer
from panel_helpers.scenes import add_ct, add_result, label_array, phantom
from panel_helpers.scribble_desk import Desk
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, EDITED, PREDICTED, SCRIBBLED, row, set_state
from PartialOrganSegPanel.scribble import correcting

LIVER, SPLEEN, STOMACH = 1, 2, 5


def middle(organ):
    """A voxel (z, y, x) deep in the organ."""
    where = np.argwhere(phantom()[1] == organ)
    return where[np.abs(where - np.median(where, 0)).sum(1).argmin()]


def damaged():
    """The phantom's labels without a slab of the liver, and strokes (axial, coronal, sagittal) where it was."""
    k, j, i = middle(LIVER)
    labels = phantom()[1].copy()
    slab = labels[k - 2:k + 3]
    slab[slab == LIVER] = 0
    planes = {"axial": np.s_[k, j, i - 3:i + 4], "coronal": np.s_[k - 1:k + 2, j, i - 3:i + 4],
              "sagittal": np.s_[k - 1:k + 2, j - 3:j + 4, i]}
    return labels, planes


class Corrector(Desk):
    """Strokes correct a segmentation that lacks a part of the liver; with `real` the command does it."""

    def __init__(self, make_panel, until, real=True):
        super().__init__(make_panel, until)
        if real:
            from PartialOrganSegPanel.shell.child import ChildProcess

            def new_process():
                self.services.processes.append(ChildProcess())
                return self.services.processes[-1]

            self.services.new_process = self.panel.services.new_process = new_process
            self.section._live.correction._new_process = new_process
        self.result = add_result(self.volume, ("liver", "spleen", "stomach"), damaged()[0])
        self.panel.parameters.segmentation = self.result
        self.panel.refresh()
        self.before = self.labels()

    def switch_on(self):
        self.ui.correctButton.click()
        assert self.ui.correctButton.checked, self.ui.correctLabel.text
        self.until(lambda: self.services.processes, 20)

    def wait(self):
        """Until the last stroke was answered."""
        self.until(lambda: not self.section._settle.active, 10)
        live = self.section._live.correction
        self.until(lambda: not live.on or (live._child.ready and not live.working and not len(live._uncorrected)), 60)

    def labels(self, organ="liver"):
        return label_array(self.result, self.volume, organ)

    @property
    def said(self):
        return self.ui.correctLabel.text


@pytest.fixture
def corrector(make_panel, until):
    return Corrector(make_panel, until)


def test_strokes_in_any_plane_correct_at_once_and_undo_brings_back(corrector):
    corrector.switch_on()
    folder = corrector.section._live.correction._child.folder
    for where in damaged()[1].values():
        corrector.stroke("liver", where)
        corrector.wait()
        won = corrector.labels() & ~corrector.before
        assert won[where].all()
        # much more than was drawn, and little that was not missing
        right = np.count_nonzero(won & (phantom()[1] == LIVER))
        assert right > 10 * np.count_nonzero(won[where]), corrector.said
        assert np.count_nonzero(won) - right < right / 4
        assert "Corrected in" in corrector.said
        assert "liver +" in corrector.said
        corrector.button("undo").click()
        corrector.until(lambda: np.array_equal(corrector.labels(), corrector.before), 10)
        assert "taken back" in corrector.said
        assert (corrector.map == 255).all()
    assert not (folder / "ct.nrrd").exists()  # no copy of the patient stays
    corrector.ui.correctButton.click()
    assert not folder.exists()
    assert not corrector.ui.correctButton.checked


def test_accepted_organs_keep_every_voxel(corrector):
    """A stroke of the liver over the accepted stomach: the liver gets what is free, the stomach stays."""
    set_state(corrector.result, row(corrector.result, "stomach").segment_id, ACCEPTED)
    corrector.switch_on()
    stomach = corrector.labels("stomach")
    k, j, i = middle(STOMACH)
    corrector.stroke("liver", np.s_[k, j, i - 1:i + 2])
    corrector.wait()
    assert "Accepted organs stay" in corrector.said
    where = damaged()[1]["axial"]
    corrector.stroke("liver", where)
    corrector.wait()
    assert np.array_equal(corrector.labels("stomach"), stomach)
    assert corrector.labels()[where].all()
    assert row(corrector.result, "stomach").state == ACCEPTED


def test_an_accepted_organ_that_is_drawn_is_no_longer_accepted(corrector):
    set_state(corrector.result, row(corrector.result, "liver").segment_id, ACCEPTED)
    corrector.switch_on()
    corrector.stroke("liver", damaged()[1]["axial"])
    corrector.wait()
    assert "No longer accepted, as they were corrected: liver" in corrector.said
    corrector.until(lambda: row(corrector.result, "liver").state != ACCEPTED, 10)


def test_a_review_undo_takes_a_correction_back_too(corrector):
    corrector.panel.section("Review").ui.reviewCollapsible.collapsed = False
    corrector.switch_on()
    corrector.stroke("liver", damaged()[1]["axial"])
    corrector.wait()
    assert not np.array_equal(corrector.labels(), corrector.before)
    corrector.panel.section("Review").ui.undoButton.click()
    assert np.array_equal(corrector.labels(), corrector.before)


# --- with a process that answers what the test says

class Scripted(Corrector):
    """Answers as the test says."""

    def __init__(self, make_panel, until):
        super().__init__(make_panel, until, real=False)

    def switch_on(self):
        super().switch_on()
        self.process.say("result", ready=True, size=list(self.volume.GetImageData().GetDimensions()))

    @property
    def process(self):
        return self.services.processes[-1]

    @property
    def request(self):
        """What was asked last, with its arrays."""
        request = self.process.sent[-1]
        with np.load(self.section._live.correction._child.folder / request["file"]) as arrays:
            return request | dict(arrays)

    def answer(self, after, request=None):
        """The labels of the whole box of the request are `after`."""
        request = request or self.request
        folder = self.section._live.correction._child.folder
        np.savez(folder / f"{request['id']}.answer.npz", labels=after)
        self.process.say("result", id=request["id"], box=request["box"], file=f"{request['id']}.answer.npz",
                         seconds=0.5, changes=[{"organ": "liver", "gained_ml": 1.0, "lost_ml": 0.0,
                                                "farthest_mm": 3.0}])


@pytest.fixture
def scripted(make_panel, until):
    return Scripted(make_panel, until)


def test_what_is_edited_while_it_works_is_kept(scripted):
    scripted.switch_on()
    where = damaged()[1]["axial"]
    scripted.stroke("liver", where)
    request = scripted.request
    edited = scripted.labels("spleen").astype(np.uint8)
    edited[where] = 1  # by hand, in the segment editor
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, scripted.result, row(scripted.result, "spleen").segment_id,
                                                     scripted.volume)
    after = request["labels"].copy()
    after[request["new"] == LIVER] = LIVER
    scripted.answer(after, request)
    assert scripted.labels("spleen")[where].all()
    assert not scripted.labels("liver")[where].any()
    assert "stayed as you edited or accepted them" in scripted.said


def test_a_ct_that_a_virus_scanner_has_open_keeps_nobody_from_drawing(scripted, monkeypatch):
    """On Windows: the copy of the CT cannot be removed when it was read, and goes with its folder."""
    unlink = os.unlink

    def refuse(path, **settings):
        if str(path).endswith(("ct.nrrd", ".npz")):
            raise PermissionError(13, "in use by another program", str(path))
        unlink(path, **settings)

    with monkeypatch.context() as scanner:
        scanner.setattr(os, "unlink", refuse)
        scripted.switch_on()
        assert scripted.section._live.correction._child.ready
        where = damaged()[1]["axial"]
        scripted.stroke("liver", where)
        after = scripted.request["labels"].copy()
        after[scripted.request["new"] == LIVER] = LIVER
        scripted.answer(after)
    assert scripted.labels("liver")[where].all()
    folder = scripted.section._live.correction._child.folder
    scripted.section._live.correction._child.stop()
    assert not folder.exists()


def accept_liver_and_review_another_patient(scripted):
    """The liver is accepted, and Review looks at the segmentation of another CT; the CT to draw on is the first."""
    set_state(scripted.result, row(scripted.result, "liver").segment_id, ACCEPTED)
    second_patient = add_ct("CT 2", phantom(seed=4)[0])
    scripted.panel.parameters.segmentation = add_result(second_patient, ("liver",), phantom(seed=4)[1])
    assert scripted.section.at_hand.volume is scripted.volume


@pytest.mark.parametrize("moment", ["before it starts", "while a stroke is worked on"])
def test_a_correction_ends_an_acceptance_whatever_review_looks_at(scripted, moment):
    if moment == "before it starts":
        accept_liver_and_review_another_patient(scripted)
    scripted.switch_on()
    scripted.stroke("liver", damaged()[1]["axial"])
    request = scripted.request
    if moment != "before it starts":
        accept_liver_and_review_another_patient(scripted)
    after = request["labels"].copy()
    after[request["new"] == LIVER] = LIVER
    scripted.answer(after, request)
    assert not np.array_equal(scripted.labels(), scripted.before)
    assert row(scripted.result, "liver").state in (EDITED, SCRIBBLED)  # at once, not when the review has counted it
    assert row(scripted.result, "spleen").state == PREDICTED
    assert scripted.panel.parameters.segmentation is scripted.result
    scripted.panel.section("Review").ui.undoButton.click()
    assert np.array_equal(scripted.labels(), scripted.before)
    assert row(scripted.result, "liver").state == ACCEPTED


@pytest.mark.parametrize("decision", [ACCEPTED, ABSENT])
def test_what_is_decided_while_it_works_is_kept(scripted, decision):
    """A stroke of the liver of which the answer takes from the spleen and gives to the stomach."""
    scripted.switch_on()
    scripted.stroke("liver", damaged()[1]["axial"])
    request = scripted.request
    for organ in ("spleen", "stomach"):
        set_state(scripted.result, row(scripted.result, organ).segment_id, decision)
    after, labels = request["labels"].copy(), request["labels"]
    after[request["new"] == LIVER] = LIVER
    after[labels == SPLEEN] = LIVER
    after[tuple(np.argwhere(labels == 0)[:5].T)] = STOMACH
    before = scripted.labels("spleen"), scripted.labels("stomach")
    scripted.answer(after, request)
    assert scripted.labels()[damaged()[1]["axial"]].all()
    for organ, voxels in zip(("spleen", "stomach"), before, strict=True):
        assert np.array_equal(scripted.labels(organ), voxels)
        assert row(scripted.result, organ).state == decision
    assert f"{np.count_nonzero(labels == SPLEEN) + 5} voxels stayed as you edited or accepted them" in scripted.said


def test_of_two_segmentations_the_chosen_one_is_corrected_whatever_review_looks_at(scripted):
    later = add_result(scripted.volume, ("liver", "spleen", "stomach"), damaged()[0])
    scripted.panel.refresh()
    scripted.switch_on()
    second_patient = add_ct("CT 2", phantom(seed=4)[0])
    scripted.panel.parameters.segmentation = add_result(second_patient, ("liver",), phantom(seed=4)[1])
    scripted.stroke("liver", damaged()[1]["axial"])
    after = scripted.request["labels"].copy()
    after[scripted.request["new"] == LIVER] = LIVER
    scripted.answer(after)
    assert scripted.labels()[damaged()[1]["axial"]].all()
    assert np.array_equal(label_array(later, scripted.volume, "liver"), scripted.before)


def test_strokes_that_were_there_before_do_not_correct(scripted):
    scripted.stroke("liver", damaged()[1]["coronal"])
    scripted.switch_on()
    scripted.stroke("liver", damaged()[1]["sagittal"])
    new, drawn = scripted.request["new"], scripted.request["drawn"]
    assert np.count_nonzero(new == LIVER) < np.count_nonzero(drawn == LIVER)
    assert scripted.request["accepted"] == []


def test_a_stroke_while_one_is_worked_on_waits(scripted):
    scripted.switch_on()
    planes = damaged()[1]
    scripted.stroke("liver", planes["axial"])
    first = scripted.request
    scripted.stroke("liver", planes["sagittal"])
    assert len(scripted.process.sent) == 1
    scripted.answer(first["labels"], first)
    assert len(scripted.process.sent) == 2
    assert np.count_nonzero(scripted.request["new"] == LIVER) > 0


def test_cancel_changes_nothing_even_when_the_answer_is_on_its_way(scripted):
    scripted.switch_on()
    scripted.stroke("liver", damaged()[1]["axial"])
    request = scripted.request
    assert scripted.ui.cancelCorrectionButton.visible
    scripted.ui.cancelCorrectionButton.click()
    assert scripted.process.sent[-1] == {"cancel": request["id"]}
    scripted.answer(np.full_like(request["labels"], LIVER), request)
    assert np.array_equal(scripted.labels(), scripted.before)
    assert not scripted.ui.cancelCorrectionButton.visible


def test_another_ct_ends_it_before_a_stroke_reaches_the_wrong_patient(scripted):
    scripted.switch_on()
    scripted.stroke("liver", damaged()[1]["axial"])
    request, process = scripted.request, scripted.process
    second_patient = add_ct("CT", phantom(seed=4)[0])
    other = add_result(second_patient, ("liver",))
    scripted.panel.parameters.segmentation = other
    scripted.panel.parameters.inputVolume = second_patient
    assert process.killed
    assert not scripted.ui.correctButton.checked
    before = label_array(other, second_patient, "liver")
    process.say("result", id=request["id"], box=request["box"], file="x", seconds=1.0, changes=[])
    assert np.array_equal(label_array(other, second_patient, "liver"), before)


def test_without_a_segmentation_the_button_says_why(make_panel, until):
    desk = Desk(make_panel, until)
    assert not desk.ui.correctButton.enabled
    assert "Segment the CT first" in desk.ui.correctButton.toolTip


def test_a_process_that_dies_is_told_and_can_be_started_again(scripted):
    scripted.switch_on()
    scripted.process.end(1, crashed=True)
    assert "ended unexpectedly" in scripted.said
    assert not scripted.ui.correctButton.checked
    scripted.ui.correctButton.click()
    scripted.until(lambda: len(scripted.services.processes) == 2, 20)


def test_the_margin_is_the_librarys():
    from PartialOrganSegLib.refining.neighbourhood import MARGIN_MM

    assert correcting.MARGIN_MM == MARGIN_MM
