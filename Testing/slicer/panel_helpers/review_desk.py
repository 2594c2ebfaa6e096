"""Section Review with a segmented CT and a user's hands."""


import numpy as np
import slicer
import slicer.util
from PartialOrganSegPanel.scene.organ_rows import row, rows

from .doubles import Doubles
from .scenes import add_ct, add_result, label_array, phantom

ORGANS = ("liver", "spleen", "stomach")


class Desk:
    """The panel with a segmented CT, and a user's hands."""

    def __init__(self, make_panel, until, organs=ORGANS, folder=None):
        self.services = Doubles(folder=folder)
        self.panel = make_panel(self.services)
        self.section = self.panel.section("Review")
        self.ui = self.section.ui
        self.until = until
        self.volume = add_ct()
        self.node = add_result(self.volume, organs)
        self.panel.parameters.inputVolume = self.volume
        self.panel.parameters.segmentation = self.node
        self.panel.enter()

    def row(self, organ, node=None):
        return row(node or self.node, organ)

    def cell(self, organ, column):
        return self.ui.organTable.item(self.place(organ), column).text()

    def place(self, organ):
        """The line of an organ in the table."""
        return [listed.organ for listed in rows(self.panel.parameters.segmentation)].index(organ)

    def record(self, organ):
        return self.section._review.record(self.row(organ, self.panel.parameters.segmentation).segment_id)

    def select(self, organ):
        self.ui.organTable.setCurrentCell(self.place(organ), 0)

    def save_case(self):
        """Presses *Save accepted* and waits until the files are written."""
        self.ui.caseButton.click()
        self.until(lambda: self.ui.caseButton.enabled, 20)

    def draw(self, organ, change):
        """Gives the organ the voxels of `change(array)`; undoable, as an effect of the segment editor."""
        array = label_array(self.node, self.volume, organ).astype(np.uint8)
        self.section.editor.saveStateForUndo()
        slicer.util.updateSegmentBinaryLabelmapFromArray(change(array), self.node, self.row(organ).segment_id,
                                                         self.volume)

    def edit(self, organ, change=None):
        """As `draw`, and waits until the panel has noticed."""
        before = self.record(organ)
        self.draw(organ, change or add_box)
        self.until(lambda: self.record(organ) != before, 10)

    def array(self, organ):
        return label_array(self.node, self.volume, organ)


def add_box(array):
    """The organ with a box of 4 x 4 x 4 voxels in the corner of the CT."""
    array[2:6, 2:6, 2:6] = 1
    return array


def remove_half(array):
    """The organ without its lower half of slices."""
    filled = np.flatnonzero(array.any(axis=(1, 2)))
    array[:filled[len(filled) // 2]] = 0
    return array


def truth(organ):
    """The phantom's voxels of an organ, which the prediction has."""
    return phantom()[1] == {"liver": 1, "spleen": 2, "stomach": 5}[organ]
