"""The list begins, when the user wants it, with the CT of which the model is least sure."""

import csv
import json
from pathlib import Path

import pytest
import slicer
from panel_helpers.list_user import ListUser
from panel_helpers.scenes import phantom
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.shell.model_cards import installed_models
from PartialOrganSegPanel.shell.model_licence import fingerprint, setting
from PartialOrganSegPanel.shell.work_list import chosen_list

from PartialOrganSegLib.models.folders import user_models
from Testing.helpers.dicom_files import write_slices

NAMES = {"a": 3, "b": 4, "c": 5}


@pytest.fixture
def user(make_panel, until, tmp_path):
    """Three patients' CTs on the list; the command says what the test says."""
    made = ListUser(make_panel, until, tmp_path / "Für die Planung")
    for name, seed in NAMES.items():
        made.write_ct(name, seed)
    made.add()
    return made


def row(number, organ, worth, z_mm=-500.0):
    return {"ct": str(number), "organ": organ, "slice": 40, "z_mm": z_mm, "worth": worth, "checks": ""}


def ask(user):
    """Presses the button and waits until the command was started."""
    user.ui.rankButton.click()
    user.until(lambda: bool(user.services.processes), 20)


def listed(arguments):
    """The rows of the list that the command was given."""
    with open(arguments[1], newline="", encoding="utf-8") as file:
        return [list(line) for line in csv.reader(file)]


def test_the_least_sure_case_comes_first_and_next_goes_there(user):
    ask(user)
    assert user.process.arguments[0] == "rank"
    assert user.option("--model") == "embedded"
    assert listed(user.process.arguments) == [["image", "output"], *(
        [str((user.folder / f"{name}.nrrd").resolve()), str(number)] for number, name in enumerate(NAMES))]
    scratch = Path(user.process.arguments[1]).parent
    # the command's order of the rows does not matter
    user.process.say("result", table="x", failed=0, rows=[
        row(0, "liver", 0.02), row(2, "pancreas", 0.41, -480.0), row(1, "spleen", 0.2), row(2, "liver", 0.01)])
    user.process.end(0)
    assert user.said == "Cases looked through: 3 of 3. The least sure comes first."
    assert not scratch.exists()
    assert user.panel.parameters.worklist.unsureFirst
    assert user.cells() == ["c", "b", "a"]
    assert "least sure of the pancreas (entropy 0.41 nats)" in user.ui.worklistTable.item(0, 1).toolTip()
    user.press("nextCase")
    assert user.volume.GetName() == "c"
    assert user.said == "c is open. The model is least sure of the pancreas."
    assert user.panel.parameters.scribble.organ == "pancreas"
    axial = next(node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetName() == "Red")
    assert axial.GetSliceOffset() == pytest.approx(-480.0, abs=1e-3)
    user.press("nextCase")
    assert user.volume.GetName() == "b"
    user.press("nextCase")
    assert user.volume.GetName() == "a"
    user.panel.parameters.worklist.unsureFirst = False
    assert user.cells() == ["a", "b", "c"]


def test_what_a_segmentation_says_counts_and_decided_organs_do_not(user):
    ask(user)
    user.process.say("result", table="x", failed=0, rows=[row(0, "liver", 0.3), row(1, "liver", 0.2)])
    user.process.end(0)
    user.press("nextCase")
    user.accept("liver")  # all organs of the result have an entropy of 0.1
    user.press("saveWork")
    case = chosen_list().cases()[0]
    assert case.worth == 0.1
    assert case.worth_organ not in ("", "liver")
    assert user.cells() == ["b", "a", "c"]


def test_a_ct_that_cannot_be_read_is_told_and_the_others_are_ranked(user):
    ask(user)
    user.process.say("result", table="x", failed=1, rows=[row(1, "liver", 0.2)])
    user.process.say("error", message="a.nrrd: damaged")
    user.process.end(1)
    assert user.said.splitlines() == ["Cases looked through: 1 of 3. The least sure comes first.", "a.nrrd: damaged"]
    assert user.cells() == ["b", "a", "c"]


def test_cancel_leaves_the_list_as_it_is(user):
    ask(user)
    scratch = Path(user.process.arguments[1]).parent
    assert user.ui.rankButton.text == "Cancel"
    user.ui.rankButton.click()
    assert user.process.cancelled
    user.process.end(130)
    assert user.said == "Cancelled."
    assert not scratch.exists()
    assert user.cells() == ["a", "b", "c"]
    assert not user.panel.parameters.worklist.unsureFirst
    assert user.ui.rankButton.text == "Find unsure cases"


def test_a_scene_that_closes_ends_it(user):
    ask(user)
    scratch = Path(user.process.arguments[1]).parent
    slicer.mrmlScene.Clear(0)
    assert user.process.killed
    assert not scratch.exists()


def test_cases_that_are_done_or_rejected_are_not_looked_through(user):
    work_list = chosen_list()
    work_list.change(work_list.cases()[0].source, rejected=True)
    user.panel.refresh()
    ask(user)
    assert [line[1] for line in listed(user.process.arguments)[1:]] == ["0", "1"]
    assert listed(user.process.arguments)[1][0].endswith("b.nrrd")
    user.process.say("result", table="x", failed=0, rows=[row(0, "liver", 0.2)])
    user.process.end(0)
    assert [case.worth for case in work_list.cases()] == [None, 0.2, None]


def test_the_button_says_why_it_cannot(user):
    work_list = chosen_list()
    for case in work_list.cases():
        work_list.change(case.source, rejected=True)
    user.panel.refresh()
    assert not user.ui.rankButton.enabled
    assert user.ui.rankButton.toolTip == "There is no case that is not done."


def test_a_series_of_the_database_is_given_alone(user, tmp_path, monkeypatch):
    dicom_database = pytest.importorskip("dicom_database", reason="a real Slicer has a database of its own")
    monkeypatch.setattr(slicer, "dicomDatabase", None, raising=False)
    for name in ("portal", "native"):
        write_slices(tmp_path / "dicom", phantom()[0][::8], SeriesDescription=name)
        for file in list((tmp_path / "dicom").glob("im*")):
            file.rename(tmp_path / "dicom" / f"{name} {file.name}")
    dicom_database.use(tmp_path / "dicom")
    user.services.dialogs.tick = "portal"
    user.add_from_database()
    ask(user)
    folder = Path(listed(user.process.arguments)[-1][0])
    assert len(list(folder.iterdir())) == 10
    user.process.end(0)


def test_the_real_command_ranks_files(make_panel, until, tmp_path, licences_known):
    write_model(user_models() / "small", "small")
    card = installed_models()["small"]
    licences_known[setting(card)] = fingerprint(card)
    user = ListUser(make_panel, until, tmp_path / "Für die Planung", real_process=True)
    for name in ("a", "b"):
        user.write_ct(name, NAMES[name])
    user.add()
    user.panel.parameters.segment.model = "small"
    user.ui.rankButton.click()
    until(lambda: user.panel.job is None, 120)
    assert user.said == "Cases looked through: 2 of 2. The least sure comes first."
    worths = {case.name: case.worth for case in chosen_list().cases()}
    assert all(worth is not None and worth > 0 for worth in worths.values())
    assert user.cells() == sorted(worths, key=lambda name: -worths[name])
    assert json.loads((chosen_list().folder / "worklist.json").read_text("utf-8"))["cases"][0]["worth_organ"]
