"""Section Models: the list and its card, what can be pressed, removing."""

import json

import pytest
import qt
from panel_helpers.doubles import FakeInstaller
from panel_helpers.model_shelf import Shelf
from panel_helpers.pictures import picture_of
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.models.text import card_html
from PartialOrganSegPanel.shell.model_cards import ModelCard, installed_models

from PartialOrganSegLib.models.folders import user_models


@pytest.fixture
def shelf(make_panel):
    return Shelf(make_panel)


# --- the list

def test_embedded_model_is_listed_with_its_card(shelf):
    card = installed_models()["embedded"]
    assert shelf.names == ["embedded"]
    assert shelf.ui.modelTable.item(0, 2).text() == "16"
    shown = shelf.ui.cardView.toPlainText()
    for text in (card.description, card.licences["weights"], card.licences["data"], "right kidney", "Figures",
                 card.training_data[0]):
        assert text in shown.replace("\xa0", " ")


def test_card_shows_figures_of_every_form_and_escapes():
    card = ModelCard("m", "1", "a < b", (), "CC0", {"code": "x & y", "weights": "CC0"}, (), {
        "dice": {"liver": {"before": 0.51234, "after": 0.6}}, "validation_dice": {"spleen": 0.75},
        "reason": "no <organ> lost", "mean_change": {"changed": 0.01, "kept": None}})
    html = card_html(card)
    assert "a &lt; b" in html
    assert "x &amp; y" in html
    text = qt.QTextDocument()
    text.setHtml(html)
    lines = text.toPlainText().replace("\xa0", " ")
    for part in ("0.512", "before", "liver", "0.75", "spleen", "reason: no <organ> lost", "mean change"):
        assert part in lines
    assert "None" not in lines


def test_another_model_is_listed_and_its_card_shown(make_panel):
    write_model(user_models() / "small")
    shelf = Shelf(make_panel)
    assert shelf.names == ["embedded", "small"]
    shelf.ui.modelTable.setCurrentCell(1, 0)
    assert "CC BY 4.0 <clinic>" in shelf.ui.cardView.toPlainText()
    assert "3 organs" in shelf.ui.cardView.toPlainText()


def test_what_several_networks_of_an_older_joined_model_were_trained_on_is_shown_once(make_panel):
    write_model(user_models() / "joined")
    path = user_models() / "joined" / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    data = [{"name": "Data set 7", "cases": 30}, "A sentence."]
    metadata["partialorganseg"]["training_data"] = [*data, *data]
    path.write_text(json.dumps(metadata))
    shelf = Shelf(make_panel)
    shelf.ui.modelTable.setCurrentCell(1, 0)
    shown = shelf.ui.cardView.toPlainText()
    assert shown.count("name: Data set 7, cases: 30") == shown.count("A sentence.") == 1


def test_a_model_with_unreadable_metadata_is_left_out(make_panel):
    for number, text in enumerate(("", "[]", '{"version": "1", "partialorganseg": []}')):
        path = user_models() / f"bad{number}" / "configs" / "metadata.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert Shelf(make_panel).names == ["embedded"]


# --- buttons

def test_buttons_tell_why_they_are_disabled(shelf):
    ui = shelf.ui
    assert not ui.installModelButton.enabled
    assert "zip file" in ui.installModelButton.toolTip
    ui.sourceEdit.text = "model.zip"
    assert ui.installModelButton.enabled
    ui.checksumEdit.text = "abc"
    assert not ui.installModelButton.enabled
    assert "found 3 characters" in ui.installModelButton.toolTip
    ui.checksumEdit.text = "g" * 64
    assert not ui.installModelButton.enabled
    ui.checksumEdit.text = "0aF" * 21 + "1"
    assert ui.installModelButton.enabled
    assert ui.verifyButton.enabled
    shelf.panel.run(["train"], print, print, print)
    for button in (ui.installModelButton, ui.verifyButton, ui.removeButton, ui.fileButton):
        assert not button.enabled
        assert "Another run" in button.toolTip
    shelf.process.end(0)
    assert ui.verifyButton.enabled


def test_missing_packages_disable_the_buttons(make_panel):
    shelf = Shelf(make_panel, installer=FakeInstaller("torch>=2.4"))
    shelf.ui.sourceEdit.text = "model.zip"
    for button in (shelf.ui.installModelButton, shelf.ui.verifyButton):
        assert not button.enabled
        assert "packages" in button.toolTip


def test_nothing_selected_cannot_be_verified(shelf):
    shelf.ui.modelTable.setCurrentCell(-1, 0)
    assert not shelf.ui.verifyButton.enabled
    assert "Select a model" in shelf.ui.verifyButton.toolTip
    assert not shelf.ui.removeButton.enabled
    assert "Select a model" in shelf.ui.removeButton.toolTip


# --- removing

def test_an_own_model_is_removed_after_a_question(make_panel):
    write_model(user_models() / "small")
    shelf = Shelf(make_panel, None, "remove")
    shelf.ui.modelTable.setCurrentCell(1, 0)
    shelf.panel.parameters.segment.model = "small"
    shelf.ui.removeButton.click()
    assert shelf.names == ["embedded", "small"]
    assert str(user_models() / "small") in shelf.services.dialogs.asked[0][1]
    shelf.ui.removeButton.click()
    assert shelf.names == ["embedded"]
    assert shelf.said == "Removed: small 1.0."
    assert not list(user_models().iterdir())
    assert shelf.panel.parameters.segment.model == "embedded"


def test_a_shipped_model_stays(shelf):
    assert not shelf.ui.removeButton.enabled
    assert "embedded is shipped" in shelf.ui.removeButton.toolTip


def test_a_model_that_cannot_be_removed_is_told_and_stays(make_panel, monkeypatch):
    write_model(user_models() / "small")
    shelf = Shelf(make_panel, "remove")
    shelf.ui.modelTable.setCurrentCell(1, 0)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.rename", refuse)
    shelf.ui.removeButton.click()
    assert "Permission denied" in shelf.said
    assert shelf.names == ["embedded", "small"]


# --- picture

def test_picture(make_panel, folder):
    write_model(user_models() / "clinic-2026-finetuned", metrics={
        "selected": "finetuned", "dice": {"liver": {"group": "kept", "before": 0.9512, "after": 0.9498},
                                          "spleen": {"group": "changed", "before": 0.5, "after": 0.8312}}})
    shelf = Shelf(make_panel)
    shelf.ui.modelsCollapsible.collapsed = False
    shelf.ui.modelTable.setCurrentCell(0, 0)
    shelf.install("https://example.org/models/a-rather-long-name-of-a-model-of-the-pancreas.zip")
    shelf.process.say("error", message="https://example.org/models/model.zip: wrong checksum: expected SHA-256 "
                                       f"{'ab' * 32}, found {'cd' * 32}")
    shelf.process.end(1)
    for sections in shelf.panel.sections:
        sections.widget.setVisible(sections is shelf.section)
    assert shelf.said.endswith("expected SHA-256 abababababab..., found cdcdcdcdcdcd...")
    assert "cd" * 32 in shelf.section.strip._log
    window = shelf.section.widget.window()
    picture_of(window, folder / "models.png")
    assert window.width == 400
    assert (folder / "models.png").stat().st_size > 5000
