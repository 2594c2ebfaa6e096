"""A small model learns from two reviewed phantoms through the real buttons and real child processes."""

import json
from pathlib import Path

import pytest
from panel_helpers.doubles import Doubles
from panel_helpers.scenes import add_ct, add_result, decide
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.finetune.run import STARTED, state
from PartialOrganSegPanel.shell.model_cards import installed_models
from PartialOrganSegPanel.shell.model_licence import fingerprint, setting

from PartialOrganSegLib.models.folders import user_models


@pytest.fixture
def panel(make_panel, tmp_path, licences_known):
    """A panel with a small start model and two CTs, the spleen accepted in one and all it knows in the other."""
    write_model(user_models() / "small", metrics={"validation_dice": {"liver": 0.1}})
    card = installed_models()["small"]
    licences_known[setting(card)] = fingerprint(card)
    panel = make_panel(Doubles(real_process=True))
    panel.section("FineTune").ui.finetuneCollapsible.collapsed = False
    for name, organs in (("Müller 1", ["spleen"]), ("Müller 2", ["liver", "spleen", "left_kidney"])):
        result = add_result(add_ct(name))
        decide(result, *organs)
    settings = panel.parameters.finetune
    settings.folder, settings.model, settings.device, settings.minutes = str(tmp_path / "Läufe 1"), "small", "cpu", 0.2
    return panel


@pytest.mark.timeout(600)
def test_learn_and_use_the_new_model(panel, until):
    section = panel.section("FineTune")
    section.ui.startButton.click()
    until(lambda: panel.job is None, 500)
    line = section.strip.text.text
    assert line.startswith("Done."), line
    assert section.ui.diceTable.rowCount >= 1
    outcome = json.loads((Path(panel.parameters.finetune.run) / "result.json").read_text("utf-8"))
    assert set(outcome["dice"]) >= {"spleen"}
    assert section._curves.of["dice"]
    panel.services.dialogs.answers = ["use"]
    section.ui.useButton.click()
    until(lambda: panel.job is None, 120)
    assert panel.parameters.segment.model == "small-finetuned", section.strip.text.text
    assert [organ.name for organ in installed_models()["small-finetuned"].organs] == ["liver", "spleen", "left_kidney"]


@pytest.mark.timeout(600)
def test_cancel_and_resume(panel, until):
    section = panel.section("FineTune")
    panel.parameters.finetune.minutes = 10.0
    section.ui.startButton.click()
    until(lambda: "learning" in section.strip.text.text, 500)
    section.ui.startButton.click()
    until(lambda: panel.job is None, 20)
    assert "Resume" in section.strip.text.text
    assert state(Path(panel.parameters.finetune.run)) == STARTED
    section.ui.resumeButton.click()
    until(lambda: "learning" in section.strip.text.text or panel.job is None, 500)
    assert panel.job is not None, section.strip.text.text
    section.ui.startButton.click()
    until(lambda: panel.job is None, 20)
    assert section.ui.resumeButton.enabled
