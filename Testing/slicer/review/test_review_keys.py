"""Section Review: its keys act where they should, and organs are shown alone."""

import pytest
from panel_helpers.review_desk import Desk
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, rows


@pytest.fixture
def desk(make_panel, until):
    return Desk(make_panel, until)


def test_shortcuts_only_while_the_module_is_open(desk):
    shortcuts = desk.section._keys.shortcuts
    assert all(shortcut.enabled for shortcut in shortcuts)
    assert "nothing to take back" in desk.ui.undoButton.toolTip
    desk.edit("liver")
    desk.until(lambda: desk.ui.undoButton.enabled, 10)
    tips = [getattr(desk.ui, f"{name}Button").toolTip for name in ("accept", "absent", "next", "undo")]
    keys = [shortcut.key.toString() for shortcut in shortcuts]
    assert all(any(f"({key})" in tip for key in keys) for tip in tips)
    desk.panel.exit()
    assert not any(shortcut.enabled for shortcut in shortcuts)
    desk.panel.enter()
    desk.select("liver")
    next(shortcut for shortcut in shortcuts if shortcut.key.toString() == "Shift+A").activated.emit()
    assert desk.row("liver").state == ACCEPTED


def editor_keys(desk):
    """Whether keys of the segment editor of section Review act now."""
    shortcuts = getattr(desk.section.editor, "_keys", None)
    if shortcuts is None:  # in a real Slicer they cannot be seen
        return desk.section._editor_keys
    return any(shortcut.enabled for shortcut in shortcuts)


def test_no_key_acts_while_the_section_is_folded(desk):
    desk.select("liver")
    desk.ui.reviewCollapsible.collapsed = True
    assert not any(shortcut.enabled for shortcut in desk.section._keys.shortcuts)
    assert not editor_keys(desk)
    desk.panel.exit()
    desk.panel.enter()
    assert not any(shortcut.enabled for shortcut in desk.section._keys.shortcuts)
    desk.ui.reviewCollapsible.collapsed = False
    assert all(shortcut.enabled for shortcut in desk.section._keys.shortcuts)
    assert editor_keys(desk)


def test_keys_of_the_editor_do_not_act_while_scribbling(desk):
    scribble = desk.panel.section("Scribble").ui
    scribble.scribbleCollapsible.collapsed = False
    desk.panel.parameters.scribble.organ = "liver"
    assert editor_keys(desk)
    scribble.paintStrokesButton.click()
    assert not editor_keys(desk)
    scribble.paintStrokesButton.click()
    assert editor_keys(desk)
    scribble.paintStrokesButton.click()
    desk.section.editor.setActiveEffectByName("Paint")  # ends the scribbling
    assert editor_keys(desk)


# --- only this organ, and the keys

def shown(desk):
    """Organs that are displayed."""
    display = desk.node.GetDisplayNode()
    return {listed.organ for listed in rows(desk.node) if display.GetSegmentVisibility(listed.segment_id)}


def test_only_this_organ_follows_the_selection_and_brings_back_what_was_shown(desk):
    desk.select("liver")
    desk.node.GetDisplayNode().SetSegmentVisibility(desk.row("stomach").segment_id, False)
    desk.ui.onlyButton.click()
    assert shown(desk) == {"liver"}
    assert desk.ui.onlyButton.checked
    desk.select("spleen")
    assert shown(desk) == {"spleen"}
    desk.ui.acceptButton.click()  # goes on to the next organ
    assert shown(desk) == {desk.section._review.row(desk.section._current).organ} == {"stomach"}
    desk.ui.onlyButton.click()
    assert shown(desk) == {"liver", "spleen"}
    assert not desk.ui.onlyButton.checked


def test_another_segmentation_leaves_no_organ_hidden(desk):
    desk.select("liver")
    desk.ui.onlyButton.click()
    desk.panel.parameters.segmentation = None
    assert shown(desk) == {"liver", "spleen", "stomach"}


def test_the_page_of_keys_has_every_key_of_the_panel(desk):
    desk.ui.keysButton.click()
    page = desk.services.dialogs.logs[-1]
    shortcuts = [*desk.section._keys.shortcuts, *desk.panel.section("Scribble")._keys.shortcuts]
    keys = [shortcut.key.toString() for shortcut in shortcuts]
    assert len(keys) == len(set(keys)) == 11
    assert all(key in page for key in keys)
