"""Section Scribble, unfolded, with a CT and a user's hands."""

import numpy as np
from PartialOrganSegPanel.scene.organ_rows import row
from PartialOrganSegPanel.scene.stroke_labelmap import scribble_labelmap
from PartialOrganSegPanel.scene.strokes import find_strokes
from PartialOrganSegPanel.scribble.editor import PAINT

from .doubles import Doubles
from .painting import paint
from .scenes import add_ct, add_result

LIVER, SPLEEN, TISSUE = np.s_[40, 20:24, 10:30], np.s_[40, 22:30, 10:12], np.s_[44, 5, 5:9]


class Desk:
    """The panel with the section unfolded, a CT, and a user's hands."""

    def __init__(self, make_panel, until, result=False, answers=(), **choices):
        self.services = Doubles(*answers)
        for name, value in choices.items():
            setattr(self.services.dialogs, name, value)
        self.panel = make_panel(self.services)
        self.section = self.panel.section("Scribble")
        self.ui = self.section.ui
        self.until = until
        self.volume = add_ct()
        self.result = add_result(self.volume, ("liver", "spleen", "stomach")) if result else None
        self.panel.parameters.inputVolume = self.volume
        self.panel.parameters.segmentation = self.result
        self.panel.enter()
        self.ui.scribbleCollapsible.collapsed = False

    @property
    def strokes(self):
        return find_strokes(self.panel.parameters.inputVolume)

    def button(self, name):
        return getattr(self.ui, f"{name}StrokesButton")

    def save_case(self):
        """Presses *Save case* and waits until the files are written."""
        self.press("case")

    def press(self, name):
        """Presses a button that writes or reads a file, and waits until that is done."""
        self.button(name).click()
        self.until(lambda: not (self.section._exchange.work.why_not or self.section._settle.active), 20)

    def choose(self, name):
        self.ui.strokeTable.setCurrentCell(list(self.section.at_hand.colours).index(name), 0)

    def cells(self, name):
        index = list(self.section.at_hand.colours).index(name)
        return [self.ui.strokeTable.item(index, column).text() for column in (1, 2, 3)]

    def draw(self, where):
        """Paints (or erases) the voxels `where` of the array (z, y, x), as the active effect does."""
        paint(self.section, where)
        self.until(lambda: not self.section._settle.active, 10)

    def stroke(self, name, where):
        """Chooses an organ, presses Paint and draws."""
        self.choose(name)
        if self.section.editor.tool != PAINT:
            self.button("paint").click()
        self.draw(where)

    @property
    def map(self):
        return scribble_labelmap(self.strokes, self.volume)

    def state(self, organ):
        return row(self.result, organ).state
