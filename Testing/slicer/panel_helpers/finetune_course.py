"""Section Fine-tune with a user and a command that do what a test says."""

from __future__ import annotations

import json
from pathlib import Path

import slicer
from PartialOrganSegPanel.shell.model_cards import installed_models
from PartialOrganSegPanel.shell.steps import Steps

from PartialOrganSegLib.finetuning.measured_on import MeasuredOn
from PartialOrganSegLib.finetuning.outcome import TUNED, Outcome, Row
from PartialOrganSegLib.finetuning.verdict import Verdict, VerdictKind
from PartialOrganSegLib.models.checksums import sha256

from .scenes import add_ct, add_result, decide
from .section_user import SectionUser
from .start_models import write_model

RESULT = Outcome(
    [Row("liver", "kept", 0.9, 0.89, MeasuredOn.PHANTOMS), Row("spleen", "changed", 0.5, 0.6, MeasuredOn.SLABS)], TUNED,
    Verdict(VerdictKind.BETTER, gain=0.1, kept_measured=True)).as_metrics() | {
        "lineage": {"learnt": {"spleen": {"cases": 1}}}}


class Course(SectionUser):
    """The panel with its section unfolded, runs in `folder`, a user and a command that do what the test says."""

    def __init__(self, make_panel, folder, *answers, **options):
        super().__init__(make_panel, "FineTune", *answers, **options)
        self.ui.finetuneCollapsible.collapsed = False
        self.settings.folder = str(folder)

    @property
    def settings(self):
        return self.panel.parameters.finetune

    @property
    def said_of_run(self):
        """What the strip says, without its line on the copies of CTs, which test_patient_copies.py is about."""
        return "\n".join(line for line in self.said.splitlines() if "opies of the CTs" not in line)

    @property
    def run(self):
        return Path(self.settings.run)

    def add_case(self, name="CT", *organs):
        volume = add_ct(name)
        result = add_result(volume)
        decide(result, *organs or ("spleen",))
        self.panel.refresh()
        return volume, result

    def start(self):
        """Presses Start (or Cancel) and waits until the CTs are written."""
        self.ui.startButton.click()
        self.write()

    def write(self):
        while isinstance(self.panel.job, Steps):
            slicer.app.processEvents()

    def plan(self, run=None):
        """The command has prepared the run and begins to learn."""
        ((run or self.run) / "plan.json").write_text("{}")
        self.process.say("metric", steps=40, expected_minutes=1.5, changed="spleen")

    def finish(self, run=None, **changes):
        """The command ends well; `run` is its folder where the settings do not say so."""
        run = run or self.run
        self.plan(run)
        write_model(run / "model", "small-finetuned")
        start = installed_models()[self.settings.model].folder
        lineage = RESULT["lineage"] | {"parent": {"sha256": sha256(start / "configs" / "checksums.json")}}
        facts = RESULT | {"start": str(start), "lineage": lineage} | changes
        (run / "result.json").write_text(json.dumps(facts))
        self.process.say("result", run=str(run), **RESULT)
        self.process.end(0)


def tables():
    """The tables of the curves by chart."""
    return {node.GetAttribute("PartialOrganSeg.FineTunePlot"): node for node in
            slicer.util.getNodesByClass("vtkMRMLTableNode")}


def column(chart, name):
    """Figures of one curve."""
    return slicer.util.arrayFromTableColumn(tables()[chart], name).tolist()
