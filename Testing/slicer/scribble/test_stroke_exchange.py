"""Section Scribble: strokes go to files and come from them by its buttons, and none is lost on the way."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_helpers.scenes import add_ct, phantom, strokes_on
from panel_helpers.scribble_desk import LIVER, SPLEEN, TISSUE, Desk
from PartialOrganSegPanel.scene.ct_identity import ct_file_name
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scribble.files import save_map

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.formats.reading import read_labelmap


def test_save_and_load_through_the_panel(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, answers=[None, "merge", "replace"], file=tmp_path / "strokes")
    desk.stroke("liver", LIVER)
    desk.stroke("background", TISSUE)
    saved = desk.map
    desk.press("save")
    desk.services.dialogs.file = tmp_path / "strokes.nii.gz"
    assert "strokes.nii.gz" in desk.ui.strokesMessageLabel.text
    desk.stroke("liver", np.s_[40, 20, 10:12])
    desk.stroke("spleen", SPLEEN)
    drawn = desk.map
    desk.press("load")
    assert np.array_equal(desk.map, drawn)  # cancelled
    desk.press("load")
    assert np.array_equal(desk.map, np.where(saved == NOT_DRAWN, drawn, saved))
    assert desk.cells("liver")[1] == "80"
    desk.press("load")
    assert np.array_equal(desk.map, saved)
    assert desk.cells("spleen")[1] == ""
    desk.button("undo").click()
    desk.button("undo").click()
    assert np.array_equal(desk.map, drawn)


@pytest.fixture
def three_nodes(make_panel, until, tmp_path):
    """A desk with three nodes of strokes on its CT, and their label maps; the latest last."""
    desk = Desk(make_panel, until, file=tmp_path / "map.nrrd", folder=tmp_path)
    maps = [np.full(phantom()[0].shape, NOT_DRAWN, np.uint8) for _ in range(3)]
    for value, (labels, where) in enumerate(zip(maps, (LIVER, SPLEEN, TISSUE), strict=True), 1):
        labels[where] = value
        strokes_on(desk.volume, labels)
    desk.panel.refresh()
    desk.until(lambda: not desk.section._settle.active, 10)
    return desk, maps


NOT_COUNTED = ("Only the latest strokes count, CT strokes_2: those of CT strokes, CT strokes_1 are in files of their "
               "own beside them, *_earlier*, and nothing is learnt from these.")


def test_all_strokes_on_a_ct_are_saved_and_the_latest_counts(three_nodes, tmp_path):
    desk, maps = three_nodes
    desk.press("save")
    names = ["map_earlier.nrrd", "map_earlier_2.nrrd", "map.nrrd"]
    assert sorted(path.name for path in tmp_path.glob("*.nrrd")) == sorted(names)
    for name, labels in zip(names, maps, strict=True):
        assert np.array_equal(read_labelmap(tmp_path / name).array, labels)
    assert desk.ui.strokesMessageLabel.text == f"Strokes written to map.nrrd. {NOT_COUNTED}"
    # of what nobody was asked for nothing is overwritten
    (tmp_path / "map_earlier_2.nrrd").write_text("my own")
    desk.services.dialogs.answers += [None, "keep"]
    desk.press("save")
    desk.press("save")
    assert "map_earlier_2.nrrd" in desk.services.dialogs.asked[0][1]
    assert (tmp_path / "map_earlier_2.nrrd").read_text() == "my own"
    assert np.array_equal(read_labelmap(tmp_path / "map_2_earlier_2.nrrd").array, maps[1])


def test_a_case_has_all_strokes_and_lists_the_latest(three_nodes, tmp_path):
    desk, maps = three_nodes
    desk.save_case()
    name = ct_file_name(desk.volume)
    for ending, labels in zip(("_earlier_scribble", "_earlier_2_scribble", "_scribble"), maps, strict=True):
        assert np.array_equal(read_labelmap(tmp_path / f"{name}{ending}.nrrd").array, labels)
    case, = load_manifest(tmp_path / f"{name}_scribble.yaml").cases
    assert case.label == tmp_path / f"{name}_scribble.nrrd"
    assert desk.ui.strokesMessageLabel.text.endswith(NOT_COUNTED)
    # the three are replaced together, or kept
    (tmp_path / f"{name}_scribble.nrrd").unlink()
    desk.services.dialogs.answers.append(None)
    desk.save_case()
    assert f"{name}_earlier_2_scribble.nrrd" in desk.services.dialogs.asked[-1][1]
    assert not (tmp_path / f"{name}_scribble.nrrd").exists()


def test_what_is_drawn_while_a_file_is_loaded_is_not_replaced(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, file=tmp_path / "strokes.nrrd")
    desk.stroke("liver", LIVER)
    desk.press("save")
    desk.button("clear").click()
    desk.button("load").click()
    desk.section._exchange._read = lambda *arguments: (desk.stroke("spleen", SPLEEN), read(*arguments))
    read = type(desk.section._exchange)._read.__get__(desk.section._exchange)
    desk.services.dialogs.answers.append(None)  # asked, since there is something by now
    until(lambda: not desk.section._exchange.work.why_not, 20)
    assert len(desk.services.dialogs.asked) == 1
    assert set(np.unique(desk.map)) == {2, NOT_DRAWN}


def test_strokes_that_change_while_others_are_drawn_over_them_stay(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, answers=["replace"], file=tmp_path / "strokes.nrrd")
    desk.stroke("liver", LIVER)
    desk.press("save")
    exchange = desk.section._exchange
    put = exchange._put
    exchange._put = lambda *arguments: (desk.stroke("spleen", SPLEEN), put(*arguments))
    desk.press("load")
    assert "changed meanwhile: nothing was loaded" in desk.ui.strokesMessageLabel.text
    assert desk.cells("spleen")[1] == "16"


def test_a_file_is_never_loaded_onto_the_ct_that_was_chosen_meanwhile(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, file=tmp_path / "strokes.nrrd")
    desk.stroke("liver", LIVER)
    desk.press("save")
    second = add_ct("second patient")
    desk.button("load").click()
    desk.panel.parameters.inputVolume = second
    until(lambda: not desk.section._exchange.work.why_not, 20)
    assert "Another CT was chosen meanwhile" in desk.ui.strokesMessageLabel.text
    assert desk.strokes is None


def test_load_before_anything_is_drawn(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, file=tmp_path / "strokes.nrrd")
    labels = np.full(phantom()[0].shape, NOT_DRAWN, np.uint8)
    labels[LIVER] = 1
    strokes = strokes_on(desk.volume, labels)
    finished(save_map(strokes, desk.volume, tmp_path / "strokes.nrrd"))
    slicer.mrmlScene.RemoveNode(strokes)
    desk.press("load")
    assert np.array_equal(desk.map, labels)
    assert desk.cells("liver")[1] == "80"


def test_failures_are_said(make_panel, until, tmp_path):
    desk = Desk(make_panel, until, file=tmp_path / "none.nrrd", folder=tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    desk.press("load")
    assert "no readable image" in desk.ui.strokesMessageLabel.text
    desk.stroke("liver", LIVER)
    before = desk.map
    desk.save_case()
    assert str(tmp_path / "file") in desk.ui.strokesMessageLabel.text
    desk.services.dialogs.file = tmp_path / "file" / "map.nrrd"
    desk.press("save")
    assert str(tmp_path / "file") in desk.ui.strokesMessageLabel.text
    assert np.array_equal(desk.map, before)
    desk.services.dialogs.folder = tmp_path
    desk.save_case()
    assert f"{ct_file_name(desk.volume)}_scribble.yaml" in desk.ui.strokesMessageLabel.text
