"""The screenshots of the pages on 3D Slicer: each section alone in a narrow panel, and a real CT in the views.

    PARTIALORGANSEG_PICTURES=Resources/screenshots python -m pytest Testing/slicer/test_screenshots.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import vtk
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.list_user import ListUser
from panel_helpers.pictures import colours, cut_off, fit, picture_of, slice_picture, surface_picture
from panel_helpers.scenes import add_ct, add_result
from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, rows

from PartialOrganSegLib.organs import WORD16

NAMES = ("Setup", "Segment", "WorkList", "Review", "Scribble", "Export", "FineTune", "Models")
REAL_CT = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct" / "cptac_c3n_00704" / "image.nii.gz"


# (k, j, i) voxels of the real CT from the liver to the kidneys: one window in height.
UPPER_ABDOMEN = (slice(84, 140), slice(90, 250), slice(60, 280))


def cut_to_upper_abdomen(volume):
    """The part of the real CT that its smaller organs lie in, as a volume in the place of `volume`."""
    matrix = slicer.util.arrayFromVTKMatrix(_directions(volume))
    matrix[:3, 3] = (matrix @ [*(part.start for part in reversed(UPPER_ABDOMEN)), 1])[:3]
    array = np.ascontiguousarray(slicer.util.arrayFromVolume(volume)[UPPER_ABDOMEN])
    name = volume.GetName()
    slicer.mrmlScene.RemoveNode(volume)
    return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name)


def _directions(volume):
    """Its 4x4 matrix from voxel indices to RAS."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def show_alone(panel, shown):
    """Shows one section alone, unfolded."""
    for section in panel.sections:
        button = next(child for child in section.widget.children() if child.className() == "ctkCollapsibleButton")
        button.collapsed = section is not shown
        if section.NAME != "Setup":
            section.widget.setVisible(section is shown)


def worked_list(make_panel, until, folder):
    """Three CTs on the work list: the first one is done, the second open, the third rejected."""
    user = ListUser(make_panel, until, folder)
    for number in (1, 2, 3):
        user.write_ct(f"CT {number}", number)
    user.add()
    user.ui.reviewerEdit.text = "Dr. White"
    user.ui.worklistTable.setCurrentCell(2, 0)
    user.ui.rejectedBox.click()
    qt.QTest.keyClicks(user.ui.commentEdit, "metal artefacts")
    user.section._commented()
    user.ui.worklistTable.setCurrentCell(0, 0)
    user.press("nextCase")
    user.accept(*WORD16.names, seed=1)
    user.press("nextCase")
    user.accept("liver", "spleen", seed=2)
    user.press("saveWork")
    return user.panel


def panel_of(name, make_panel):
    """With a CT that is segmented, and three of its organs decided."""
    missing = ("torch>=2.4", "pydantic>=2.7", "safetensors>=0.4.3") if name == "Setup" else ()
    panel = make_panel(Doubles(installer=FakeInstaller(*missing)))
    panel.parameters.inputVolume = add_ct("CTLiver")
    panel.parameters.finetune.folder = "/home/user/Documents/PartialOrganSeg"
    if name not in ("Setup", "Segment"):
        panel.parameters.segmentation = add_result(panel.parameters.inputVolume)
    panel.enter()
    if name not in ("Setup", "Segment"):  # through the buttons, so that nothing is shown that cannot be
        for button in ("acceptButton", "acceptButton", "absentButton"):
            getattr(panel.section("Review").ui, button).click()
        assert [row.state for row in rows(panel.parameters.segmentation)][:3] == [ACCEPTED, ACCEPTED, ABSENT]
    return panel


@pytest.mark.parametrize("name", NAMES)
def test_section_fits_a_narrow_panel(name, make_panel, until, folder, tmp_path):
    panel = worked_list(make_panel, until, tmp_path / "CTs") if name == "WorkList" else panel_of(name, make_panel)
    section = panel.section(name)
    show_alone(panel, section)
    path = folder / f"slicer_{name.lower()}.png"
    fit(section.widget.window(), 400)
    picture_of(section.widget, path)
    panel.exit()
    assert section.widget.window().width == 400
    assert list(cut_off(section.widget)) == []
    assert colours(path) > 20


@pytest.mark.timeout(600)
def test_real_ct_through_the_button_and_in_the_views(make_panel, until, folder):
    if not REAL_CT.exists():
        pytest.skip(f"real data not here: {REAL_CT.name}")
    panel = make_panel(Doubles(real_process=True))
    volume = slicer.util.loadVolume(str(REAL_CT))
    if not os.environ.get("PARTIALORGANSEG_PICTURES"):  # the pictures show the whole CT, which takes a minute
        volume = cut_to_upper_abdomen(volume)
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    panel.parameters.inputVolume = volume
    panel.section("Segment").ui.segmentButton.click()
    until(lambda: panel.job is None, 500)
    result = panel.parameters.segmentation
    assert result is not None, panel.section("Segment").strip.text.text
    panel.section("Segment").ui.show3dButton.click()
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    centre = bounds.reshape(3, 2).mean(axis=1)
    slice_picture(volume, folder / "slicer_axial.png", "Axial", result.GetSegmentCenterRAS("pancreas"))
    slice_picture(volume, folder / "slicer_coronal.png", "Coronal", centre)
    surface_picture(folder / "slicer_3d.png")
    for name in ("axial", "coronal", "3d"):
        assert colours(folder / f"slicer_{name}.png") > 50
