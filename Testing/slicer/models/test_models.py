"""Section Models: the list and its card, installing and verifying."""

import hashlib
from pathlib import Path

import pytest
import qt
from panel_helpers.doubles import FakeInstaller
from panel_helpers.pictures import picture_of
from panel_helpers.section_user import SectionUser
from panel_helpers.start_models import write_model, zip_model
from PartialOrganSegPanel.models.text import card_html
from PartialOrganSegPanel.shell.model_cards import ModelCard, downloadable_models, installed_models

from PartialOrganSegLib.errors import Code, Problem
from PartialOrganSegLib.models.folders import user_models
from Testing.helpers.nnunet_folder import plans_of, write_results

TAKEN = Problem(Code.MODEL_INSTALLED, "my.zip", found="model 'small' is already installed in /x",
                hint="ask to replace it")


class Shelf(SectionUser):
    """The panel's section with a user and a command that do what the test says."""

    def __init__(self, make_panel, *answers, **options):
        super().__init__(make_panel, "Models", *answers, **options)

    @property
    def names(self):
        """Of the installed models."""
        return [name for name in self._listed() if name not in self.downloads]

    @property
    def downloads(self):
        """Names of the models that are not installed yet."""
        return [name for row, name in enumerate(self._listed())
                if self.ui.modelTable.item(row, 2).text() == "to download"]

    def _listed(self):
        return [self.ui.modelTable.item(row, 0).text() for row in range(self.ui.modelTable.rowCount)]

    def select(self, name):
        self.ui.modelTable.setCurrentCell(self._listed().index(name), 0)

    def install(self, source="my model.zip", checksum=""):
        self.ui.sourceEdit.text, self.ui.checksumEdit.text = source, checksum
        self.ui.installModelButton.click()

    def installed(self, name):
        """The command says that it installed a model, which is there."""
        write_model(user_models() / name, name)
        self.process.say("result", name=name, version="1.0", folder=str(user_models() / name))
        self.process.end(0)


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


# --- installing

def test_install_asks_the_command_and_lists_the_model(shelf):
    shelf.services.dialogs.file = Path("/tmp/Modelle ä/my model.zip")
    shelf.ui.fileButton.click()
    assert shelf.ui.sourceEdit.text == "/tmp/Modelle ä/my model.zip"
    shelf.ui.checksumEdit.text = "ab" * 32
    shelf.ui.installModelButton.click()
    assert shelf.process.arguments == ["models", "install", "/tmp/Modelle ä/my model.zip", "--sha256", "ab" * 32,
                                       "--json-events"]
    assert shelf.ui.installModelButton.text == "Cancel"
    shelf.installed("small")
    assert shelf.said == "Installed: small 1.0."
    assert shelf.names == ["embedded", "small"]
    assert "small" in shelf.ui.cardView.toPlainText()
    assert shelf.panel.section("Segment").ui.modelBox.findText("small") == 1
    shelf.panel.section("FineTune").ui.finetuneCollapsible.collapsed = False
    assert shelf.panel.section("FineTune").ui.startModelBox.findText("small") == 1
    assert shelf.ui.sourceEdit.text == shelf.ui.checksumEdit.text == ""
    assert shelf.ui.installModelButton.text == "Install"


def test_a_name_that_is_taken_is_asked_about(make_panel):
    shelf = Shelf(make_panel, "replace")
    shelf.install()
    shelf.process.fail(TAKEN)
    shelf.process.end(1)
    assert shelf.services.dialogs.asked[0][1] == "my.zip: model 'small' is already installed in /x"
    assert "--replace" in shelf.process.arguments
    shelf.installed("small")
    assert shelf.names == ["embedded", "small"]


def test_a_name_that_is_taken_stays_when_the_user_says_so(make_panel):
    shelf = Shelf(make_panel, None)
    shelf.install()
    shelf.process.fail(TAKEN)
    shelf.process.end(1)
    assert len(shelf.services.processes) == 1
    assert "Not installed" in shelf.said
    assert shelf.ui.installModelButton.text == "Install"
    assert shelf.ui.sourceEdit.text == "my model.zip"


def test_cancel_and_failure_of_an_installation(shelf):
    shelf.install("https://example.org/model.zip")
    shelf.ui.installModelButton.click()
    assert shelf.process.cancelled
    shelf.process.end(130)
    assert shelf.said == "Cancelled."
    shelf.install("https://example.org/model.zip")
    shelf.process.say("error", message="https://example.org/model.zip: could not be downloaded: timed out")
    shelf.process.end(1)
    assert "timed out" in shelf.said
    assert shelf.section.strip.log_button.visible


def test_scene_closed_while_installing(shelf, scene):
    shelf.install()
    process = shelf.process
    scene.Clear(0)
    assert process.killed
    process.end(9, crashed=True)
    assert shelf.ui.installModelButton.text == "Install"
    assert shelf.said == ""


def test_verify_names_the_model_and_tells_the_outcome(shelf):
    shelf.ui.verifyButton.click()
    assert shelf.process.arguments[:3] == ["models", "verify", "embedded"]
    shelf.process.say("result", name="embedded", verified=True, folder="/x")
    shelf.process.end(0)
    assert shelf.said.startswith("embedded: every file")
    shelf.ui.verifyButton.click()
    shelf.process.say("error", message="models/model.safetensors: expected SHA-256 ab, found cd")
    shelf.process.end(1)
    assert "found cd" in shelf.said


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


# --- downloads, imports and use

def test_a_listed_model_is_downloaded_after_a_question(make_panel):
    shelf = Shelf(make_panel, None, "download")
    card = downloadable_models()["totalsegmentator-organs"]
    assert shelf.downloads == ["totalsegmentator-organs", "totalsegmentator-total-3mm"]
    assert not shelf.ui.downloadButton.enabled
    shelf.select(card.name)
    shown = shelf.ui.cardView.toPlainText()
    assert "about 234 MB" in shown
    assert card.licence in shown
    for button in (shelf.ui.verifyButton, shelf.ui.removeButton, shelf.ui.useModelButton):
        assert button.toolTip == "The model is not installed yet: download it."
    shelf.ui.downloadButton.click()
    assert not shelf.services.processes  # the user has cancelled the question
    shelf.select(card.name)
    shelf.ui.downloadButton.click()
    for text in (card.url, card.licence, "234 MB"):
        assert text in shelf.services.dialogs.asked[-1][1]
    assert shelf.process.arguments == ["models", "install", card.name, "--json-events"]
    shelf.process.say("progress", stage="download", done=40, total=223, eta_s=12)
    assert shelf.said == "download: 40 of 223, 12 s left"
    shelf.installed(card.name)
    assert shelf.names == ["embedded", card.name]
    assert shelf.downloads == ["totalsegmentator-total-3mm"]


def test_a_new_model_is_used_at_once(shelf):
    shelf.install()
    shelf.installed("small")
    shelf.ui.useModelButton.click()
    assert shelf.panel.parameters.segment.model == "small"
    assert shelf.panel.section("Segment").ui.modelBox.currentText == "small"
    assert shelf.said == "small is chosen in section Segment."


def test_an_nnunet_folder_is_imported(make_panel):
    shelf = Shelf(make_panel, "", "total_to_word.yaml", None, folder=Path("/tmp/nnUNet ä"))
    shelf.ui.nnunetButton.click()
    assert shelf.process.arguments == ["models", "import", "nnunet", "/tmp/nnUNet ä", "--json-events"]
    shelf.process.end(1)
    shelf.ui.nnunetButton.click()
    assert shelf.option("--map") == "total_to_word.yaml"
    shelf.installed("ours")
    assert shelf.names == ["embedded", "ours"]
    shelf.ui.nnunetButton.click()
    assert len(shelf.services.processes) == 2  # cancelled


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


# --- for real

@pytest.mark.timeout(300)
def test_a_zip_is_installed_and_verified(make_panel, until, tmp_path):
    shelf = Shelf(make_panel, real_process=True)
    archive = zip_model(tmp_path / "Modelle ä 1")
    shelf.install(archive, "0" * 64)
    until(lambda: shelf.panel.job is None, 120)
    assert "wrong checksum" in shelf.said
    assert shelf.names == ["embedded"]
    shelf.install(archive, hashlib.sha256(Path(archive).read_bytes()).hexdigest())
    until(lambda: shelf.panel.job is None, 120)
    assert shelf.said == "Installed: small 1.0."
    assert shelf.names == ["embedded", "small"]
    shelf.ui.verifyButton.click()
    until(lambda: shelf.panel.job is None, 120)
    assert shelf.said == "small: every file is as its checksum says."


@pytest.mark.timeout(300)
def test_a_real_nnunet_folder_is_imported(make_panel, until, tmp_path):
    write_results(tmp_path / "Dataset1", plans_of(), labels={"background": 0, "liver": 1})
    shelf = Shelf(make_panel, "", real_process=True, folder=tmp_path / "Dataset1")
    shelf.ui.nnunetButton.click()
    until(lambda: shelf.panel.job is None, 120)
    assert "Installed: " in shelf.said
    name = next(name for name in shelf.names if name != "embedded")
    assert [organ.name for organ in installed_models()[name].organs] == ["liver"]
    assert "cases: 2" in shelf.ui.cardView.toPlainText()
