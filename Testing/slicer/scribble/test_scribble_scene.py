"""Section Scribble: its look, keys and buttons, nodes that come and go, saving."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.doubles import Doubles
from panel_helpers.pictures import colours, picture_of, slice_picture
from panel_helpers.scenes import add_ct, add_result, add_transform, ijk_to_ras, phantom, rotation
from panel_helpers.scribble_desk import LIVER, SPLEEN, TISSUE, Desk
from PartialOrganSegPanel.scene.organ_rows import SCRIBBLED
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN
from PartialOrganSegPanel.scene.strokes import new_strokes, stroke_organs, stroke_segments
from PartialOrganSegPanel.scribble.editor import PAINT

from PartialOrganSegLib.organs import WORD16

BUTTONS = ("paint", "erase", "undo", "background", "next", "clear", "load", "save", "case")


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


@pytest.fixture
def segmented(make_panel, until):
    return Desk(make_panel, until, result=True)


# --- keys and buttons

def test_every_button_says_why_it_cannot(make_panel, scene):
    ui = make_panel(Doubles()).section("Scribble").ui
    for name in BUTTONS:
        button = getattr(ui, f"{name}StrokesButton")
        assert not button.enabled
        assert button.toolTip == "Choose a CT first."


def test_keys_work_only_in_the_open_section(desk):
    section = desk.section
    assert all(shortcut.enabled for shortcut in section._keys.shortcuts)
    keys_of_review = {shortcut.key.toString() for shortcut in desk.panel.section("Review")._keys.shortcuts}
    keys = {shortcut.key.toString(): shortcut for shortcut in section._keys.shortcuts}
    assert not keys_of_review & set(keys)
    desk.choose("liver")
    for name, key in (("paint", "Shift+S"), ("erase", "Shift+E"), ("background", "Shift+B"), ("next", "Shift+O"),
                      ("undo", "Shift+U")):
        assert key in keys
        if desk.button(name).enabled:
            assert f"({key})" in desk.button(name).toolTip
    keys["Shift+S"].activated.emit()
    assert section.editor.tool == PAINT
    desk.ui.scribbleCollapsible.collapsed = True
    assert section.editor.tool == ""
    assert not any(shortcut.enabled for shortcut in section._keys.shortcuts)


def test_tool_stops_when_the_module_is_left(desk):
    desk.choose("liver")
    desk.button("paint").click()
    desk.panel.exit()
    assert desk.section.editor.tool == ""


# --- the scene

def test_two_volumes_have_strokes_of_their_own(desk):
    desk.stroke("liver", LIVER)
    first = desk.strokes
    second = add_ct("second CT", axes=rotation(0, 0, 20))
    desk.panel.parameters.inputVolume = second
    assert desk.strokes is None
    assert desk.cells("liver") == ["", "", ""]
    desk.stroke("spleen", SPLEEN)
    assert desk.strokes is not first
    assert desk.cells("spleen")[1] == "16"
    desk.panel.parameters.inputVolume = desk.volume
    assert desk.strokes is first
    assert (desk.cells("liver")[1], desk.cells("spleen")[1]) == ("80", "")


def test_renamed_and_deleted_nodes(desk, scene):
    desk.stroke("liver", LIVER)
    strokes = desk.strokes
    strokes.SetName("Striche")
    segments = stroke_segments(strokes)
    strokes.GetSegmentation().GetSegment(segments["liver"]).SetName("Leber")
    strokes.GetSegmentation().RemoveSegment(segments["spleen"])
    desk.stroke("spleen", SPLEEN)
    assert set(np.unique(desk.map)) == {1, 2, NOT_DRAWN}
    scene.RemoveNode(strokes)
    assert desk.cells("liver") == ["", "", ""]
    assert desk.section.editor.tool == ""
    desk.stroke("liver", LIVER)
    assert desk.cells("liver")[1] == "80"
    scene.RemoveNode(desk.volume)
    assert desk.button("paint").toolTip == "Choose a CT first."


def test_strokes_follow_the_transform_of_their_ct(desk):
    desk.stroke("liver", LIVER)
    desk.volume.SetAndObserveTransformNodeID(add_transform(rotation(10, 0, 0), (5, 0, 0)).GetID())
    desk.panel.refresh()
    assert desk.strokes.GetTransformNodeID() == desk.volume.GetTransformNodeID()
    assert (desk.map[LIVER] == 1).all()
    assert (desk.map == 1).sum() == 80


def test_strokes_stay_where_the_transform_of_their_ct_is_hardened(desk):
    """In the CT alone: without its transform the strokes would lie where the CT was, and teach that."""
    desk.stroke("liver", LIVER)
    desk.volume.SetAndObserveTransformNodeID(add_transform(rotation(10, 0, 0), (30, 0, 0)).GetID())
    desk.panel.refresh()
    desk.volume.HardenTransform()
    desk.panel.refresh()
    assert (desk.map[LIVER] == 1).all()
    assert (desk.map == 1).sum() == 80


def test_closing_the_scene(desk, scene):
    desk.stroke("liver", LIVER)
    scene.Clear(0)
    assert desk.strokes is None
    assert desk.cells("liver") == ["", "", ""]
    assert desk.section.editor.tool == ""


@pytest.mark.parametrize("axes", [None, rotation(12, -7, 30)])
def test_survives_mrb(make_panel, until, tmp_path, axes):
    desk = Desk(make_panel, until, result=True)
    if axes is not None:
        desk.panel.parameters.inputVolume = desk.volume = add_ct("oblique", axes=axes)
    desk.stroke("liver", LIVER)
    desk.stroke("background", TISSUE)
    before = desk.map
    opacity = desk.result.GetDisplayNode().GetOpacity2DFill()
    path = tmp_path / "gezeichnet \N{LATIN SMALL LETTER U WITH DIAERESIS}.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    desk.volume = desk.panel.parameters.inputVolume
    assert np.array_equal(desk.map, before)
    assert desk.cells("liver")[1] == "80"
    assert desk.panel.parameters.scribble.organ == "background"
    desk.panel.exit()
    if axes is None:
        desk.result = desk.panel.parameters.segmentation
        assert desk.state("liver") == SCRIBBLED
        assert opacity < 0.5
        assert desk.result.GetDisplayNode().GetOpacity2DFill() == pytest.approx(opacity / 0.3)


def test_survives_seg_nrrd(desk, tmp_path):
    desk.stroke("liver", LIVER)
    desk.stroke("background", TISSUE)
    before, path = desk.map, tmp_path / "strokes.seg.nrrd"
    assert slicer.util.saveNode(desk.strokes, str(path))
    slicer.mrmlScene.Clear(0)
    desk.volume = add_ct()
    elsewhere = add_ct("elsewhere", origin=(0, 0, 0))
    loaded = slicer.util.loadSegmentation(str(path))
    desk.panel.parameters.inputVolume = elsewhere
    assert desk.strokes is None
    desk.panel.parameters.inputVolume = desk.volume
    assert desk.strokes is loaded
    assert stroke_organs(loaded) == WORD16.names
    assert np.array_equal(desk.map, before)
    desk.stroke("spleen", SPLEEN)
    assert set(np.unique(desk.map)) == {0, 1, 2, NOT_DRAWN}


def test_label_space_is_that_of_the_strokes(desk):
    """Strokes of five organs stay so whatever model is chosen."""
    from PartialOrganSegLib.organs import SHI5

    new_strokes(desk.volume, SHI5.organs)
    desk.panel.refresh()
    assert desk.ui.strokeTable.rowCount == 6
    desk.stroke("pancreas", LIVER)
    assert set(np.unique(desk.map)) == {3, NOT_DRAWN}


def test_first_look_says_what_to_do(make_panel):
    panel = make_panel(Doubles())
    ui = panel.section("Scribble").ui
    assert ui.drawnLabel.text == "Choose a CT to draw on."
    panel.parameters.inputVolume = add_ct()
    panel.refresh()
    assert "Choose an organ" in ui.drawnLabel.text


def test_pictures(make_panel, until, folder):
    desk = Desk(make_panel, until)
    desk.volume.GetDisplayNode().SetAutoWindowLevel(False)
    desk.volume.GetDisplayNode().SetWindowLevel(400, 40)
    desk.result = add_result(desk.volume)
    desk.panel.parameters.segmentation = desk.result
    desk.panel.section("Review").ui.reviewCollapsible.collapsed = True
    for organ, index in (("liver", 1), ("spleen", 2), ("stomach", 5)):
        filled = phantom()[1] == index
        k = int(np.argmax(filled.sum(axis=(1, 2))))
        middle = np.argwhere(filled[k]).mean(axis=0).astype(int)
        line = np.zeros_like(filled)
        line[k, middle[0] - 1:middle[0] + 1, middle[1] - 5:middle[1] + 6] = True
        desk.stroke(organ, line & filled)
    desk.stroke("background", np.s_[k, 30:32, 36:46])
    desk.button("erase").click()
    window = desk.section.widget.window()
    window.resize(400, 900)
    picture_of(window, folder / "scribble.png")
    place = (ijk_to_ras(desk.volume) @ (40, 32, k, 1))[:3]
    slice_picture(desk.volume, folder / "scribble_axial.png", "Axial", place)
    assert colours(folder / "scribble.png") > 50
    assert colours(folder / "scribble_axial.png") > 50
    assert window.width == 400
