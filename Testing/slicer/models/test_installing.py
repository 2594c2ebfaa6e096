"""Section Models: a model is installed, downloaded, imported, verified and used; asked before and told after."""

import hashlib
from pathlib import Path

import pytest
from panel_helpers.model_shelf import Shelf
from panel_helpers.start_models import zip_model
from PartialOrganSegPanel.shell.model_cards import downloadable_models, installed_models

from PartialOrganSegLib.errors import Code, Problem
from Testing.helpers.nnunet_folder import plans_of, write_results

TAKEN = Problem(Code.MODEL_INSTALLED, "my.zip", found="model 'small' is already installed in /x",
                hint="ask to replace it")


@pytest.fixture
def shelf(make_panel):
    return Shelf(make_panel)


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


# --- downloads, imports and use

def test_a_listed_model_is_downloaded_after_a_question(make_panel):
    shelf = Shelf(make_panel, None, "download")
    card = downloadable_models()["totalsegmentator-organs"]
    assert shelf.downloads == ["totalsegmentator-organs", "totalsegmentator-total-3mm"]
    assert not shelf.ui.downloadButton.enabled
    cells = [shelf.ui.modelTable.item(1, column).text() for column in range(4)]
    assert cells == [card.name, "to download", "", card.licence]
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
    assert shelf.said == "downloading, MB: 40 of 223, 12 s left"
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
