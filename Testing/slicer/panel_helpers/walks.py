"""Two walks through the panel as a user makes them; every action counts: a press, a choice, a stroke, a dialog."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import slicer
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, rows
from PartialOrganSegPanel.scribble.editor import PAINT
from PartialOrganSegPanel.shell.model_cards import installed_models
from PartialOrganSegPanel.shell.steps import Steps

from PartialOrganSegLib.models.checksums import sha256

from .finetune_course import RESULT
from .scenes import add_ct, end_segment, phantom
from .scribble_desk import Desk
from .start_models import write_model

LIVER = 1


class Walk(Desk):
    """A CT that was just loaded, and the module not yet opened. `actions`: what the user has done so far."""

    def __init__(self, make_panel, until, folder):
        from .doubles import Doubles

        self.actions: list[str] = []
        self.until, self.folder = until, folder
        self.services = Doubles(folder=folder)
        self.panel = make_panel(self.services)
        self.section = self.panel.section("Scribble")
        self.ui = self.section.ui
        self.volume = add_ct()
        self.panel.parameters.finetune.folder = str(folder / "runs")

    @property
    def process(self):
        """The command started last."""
        return self.services.processes[-1]

    def of(self, name):
        """The widgets of a section."""
        return self.panel.section(name).ui

    def does(self, action):
        """Counts an action."""
        self.actions.append(action)

    def press(self, name, button):
        """A press of a button that can be pressed and seen."""
        widget = getattr(self.of(name), button)
        assert widget.enabled, f"{button}: {widget.toolTip}"
        assert widget.visible, button
        self.does(f"press {widget.text}")
        widget.click()

    def open(self):
        """The module is opened."""
        self.does("open the module")
        self.panel.enter()

    def draws(self, where):
        """A stroke with the brush that is active."""
        assert self.section.editor.tool == PAINT
        self.does(f"draw a stroke of the {self.section.at_hand.name.replace('_', ' ')}")
        self.draw(where)

    def select(self, name, table, row):
        """A row of a table is clicked."""
        self.does(f"select the organ in row {row + 1}")
        getattr(self.of(name), table).setCurrentCell(row, 0)


def to_the_plan(walk):
    """Segment, correct one organ, accept all, RT structure set. Returns the actions."""
    walk.open()
    walk.press("Segment", "segmentButton")
    labels = phantom()[1].copy()
    k, j, i = (int(place) for place in np.median(np.argwhere(labels == LIVER), 0))
    labels[k - 2:k + 3][labels[k - 2:k + 3] == LIVER] = 0
    end_segment(walk.process, labels)
    walk.select("Review", "organTable", 0)
    walk.press("Review", "strokesButton")
    walk.until(lambda: len(walk.services.processes) == 2, 20)
    walk.process.say("result", ready=True, size=list(walk.volume.GetImageData().GetDimensions()))
    walk.draws(np.s_[k, j, i - 2:i + 3])
    _answer(walk)
    walk.press("Review", "acceptAllButton")
    result = walk.panel.parameters.segmentation
    assert all(row.state == ACCEPTED for row in rows(result))
    walk.volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    slice_file = walk.folder / "slice.dcm"
    slice_file.write_bytes(b"")
    walk.know_dicom(slice_file)
    walk.press("Export", "exportButton")
    walk.does("confirm the folder, which is remembered")
    walk.until(lambda: len(walk.services.processes) == 3, 20)
    assert walk.process.arguments[walk.process.arguments.index("--dicom") + 1] == "rtstruct"
    walk.process.say("result", files={"rtstruct": "plan.rtstruct.dcm"})
    walk.process.end(0)
    return walk.actions


def _answer(walk):
    """The command corrects just what was drawn."""
    child, request = walk.section._live.correction._child, walk.process.sent[-1]
    with np.load(child.folder / request["file"]) as arrays:
        labels, new = arrays["labels"], arrays["new"]
    np.savez(child.folder / "answer.npz", labels=np.where(new == LIVER, LIVER, labels).astype(np.uint8))
    walk.process.say("result", id=request["id"], box=request["box"], file="answer.npz", seconds=0.5, changes=[])


def to_a_better_model(walk):
    """Strokes of three organs, teach, use the new model. Returns the actions."""
    walk.open()
    walk.press("Segment", "drawButton")
    for number, value in enumerate((1, 2, 3)):
        if number:
            walk.press("Scribble", "nextStrokesButton")
        k, j, i = (int(place) for place in np.median(np.argwhere(phantom()[1] == value), 0))
        walk.draws(np.s_[k, j, i - 1:i + 2])
    walk.press("Scribble", "teachButton")
    while isinstance(walk.panel.job, Steps):
        slicer.app.processEvents()
    finetune = walk.panel.parameters.finetune
    run = Path(finetune.run)
    (run / "plan.json").write_text("{}")
    write_model(run / "model", "small-finetuned")
    start = installed_models()[finetune.model].folder
    lineage = RESULT["lineage"] | {"parent": {"sha256": sha256(start / "configs" / "checksums.json")}}
    (run / "result.json").write_text(json.dumps(RESULT | {"start": str(start), "lineage": lineage}))
    walk.process.say("result", run=str(run), **RESULT)
    walk.process.end(0)
    walk.press("FineTune", "useButton")
    return walk.actions
