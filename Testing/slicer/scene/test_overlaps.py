"""Accepted organs that overlap, as in the segment editor with *Allow overlap*: who lost voxels is said."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.list_user import ListUser
from panel_helpers.review_desk import Desk
from panel_helpers.scenes import add_ct, add_result, phantom
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, row, set_state
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN, draw_labelmap
from PartialOrganSegPanel.scene.strokes import new_strokes

from PartialOrganSegLib.organs import WORD16

LIVER, STOMACH = 1, 5
SAID = ("Organs overlap, and a voxel is written for one alone, the later in the list. Voxels that are missing so: "
        "{organs}.")


def draw_over_the_liver(node, volume, voxels=40):
    """The stomach has these many voxels of the liver, too."""
    liver = phantom()[1] == LIVER
    drawn = (phantom()[1] == STOMACH) | (liver & (np.cumsum(liver).reshape(liver.shape) <= voxels))
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), node, row(node, "stomach").segment_id,
                                                     volume)


def draw_strokes(volume):
    """Of background, all over the liver and the stomach: strokes and accepted organs are no overlap."""
    strokes = np.full(phantom()[1].shape, NOT_DRAWN, np.uint8)
    strokes[np.isin(phantom()[1], (LIVER, STOMACH))] = 0
    draw_labelmap(new_strokes(volume, WORD16.organs), volume, strokes)


@pytest.mark.parametrize("overlaps", [True, False])
def test_save_accepted(make_panel, until, tmp_path, overlaps):
    desk = Desk(make_panel, until, folder=tmp_path)
    if overlaps:
        draw_over_the_liver(desk.node, desk.volume)
    for organ in ("liver", "stomach"):
        desk.select(organ)
        desk.ui.acceptButton.click()
    desk.save_case()
    said = desk.ui.messageLabel.text
    assert said.startswith("CT and accepted organs written; ")
    assert said.endswith(SAID.format(organs="liver 40")) == overlaps
    assert ("overlap" in said) == overlaps


def test_teaching_says_it_of_each_ct(course):
    for name, voxels in (("first", 40), ("zweite Ä", 3)):
        volume, node = course.add_case(name, "liver", "stomach")
        draw_over_the_liver(node, volume, voxels)
        draw_strokes(volume)
    course.add_case("third", "liver", "stomach")
    course.panel.refresh()
    course.start()
    said = SAID.format(organs="first: liver 40; zweite Ä: liver 3")
    assert said in course.ui.runLabel.text
    course.finish()
    assert said in course.said.splitlines()


def test_a_run_that_is_resumed_says_nothing_of_another_ones_overlaps(course):
    volume, node = course.add_case("CT", "liver", "stomach")
    course.start()
    course.plan()
    course.process.end(1)
    first = course.run
    draw_over_the_liver(node, volume)
    course.start()
    course.plan()
    course.process.end(1)
    assert "overlap" in course.said
    course.settings.run = str(first)
    course.panel.refresh()
    course.ui.resumeButton.click()
    assert "overlap" not in course.ui.runLabel.text
    course.finish()
    assert "overlap" not in course.said


def test_teaching_says_nothing_where_no_accepted_organ_overlaps(course):
    volume, node = course.add_case("CT", "liver")
    draw_over_the_liver(node, volume)  # the stomach is not accepted
    draw_strokes(volume)
    add_ct("nothing yet")
    course.panel.refresh()
    course.start()
    course.finish()
    assert "overlap" not in course.said


def test_the_work_list(make_panel, until, tmp_path):
    user = ListUser(make_panel, until, tmp_path / "Für die Planung")
    user.write_two()
    user.press("nextCase")
    user.accept("liver", "stomach")
    user.press("saveWork")
    assert user.said == "Saved."
    node = add_result(user.volume)
    draw_over_the_liver(node, user.volume)
    for organ in ("liver", "stomach"):
        set_state(node, row(node, organ).segment_id, ACCEPTED)
    user.panel.parameters.segmentation = node
    user.press("saveWork")
    assert user.said == "Saved. " + SAID.format(organs="liver 40")
