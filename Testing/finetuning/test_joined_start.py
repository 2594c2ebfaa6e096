"""Fine-tuning a joined model: one network learns, the others keep what they knew, and figures are of all together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.outcome import START, TUNED, Findings, Outcome, card, compare
from PartialOrganSegLib.finetuning.plan import Plan
from PartialOrganSegLib.finetuning.run import Result, finetune, resume
from PartialOrganSegLib.finetuning.speed import frozen_seconds
from PartialOrganSegLib.finetuning.verdict import Verdict, VerdictKind
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.models.bundle import MEMBERS, Bundle, Preprocessing, load_bundle
from PartialOrganSegLib.models.checksums import MANIFEST, sha256, verify_bundle
from PartialOrganSegLib.models.joined import join_bundles
from PartialOrganSegLib.models.metadata import Lineage, ParentEntry
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from Testing.helpers.finetune_data import (
    ORGANS,
    PREPROCESSING,
    QUICK,
    RunListener,
    ct_of,
    only,
    three_patients,
    write_cases,
)
from Testing.helpers.level_network import level_bundle
from Testing.helpers.training_data import HU, write_image, write_recipe, write_yaml

# Steps far larger than usual: 24 of them must make a new organ measurable.
HARD = ["optimiser.learning_rate=0.5", "alpha=1"]
TEACHER = "teacher"


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    """A frozen network that knows livers and the brighter part of spleens, at a finer spacing, and one that learns and
    knows kidneys."""
    folder = tmp_path_factory.mktemp("Modelle ö")
    finer = replace(PREPROCESSING, spacing_zyx=(2.0, 2.0, 2.0))
    teacher = level_bundle(folder / TEACHER, TEACHER, {"liver": HU[1], "spleen": HU[2] + 48.0}, finer)
    learner = level_bundle(folder / "learner", "learner", {"left_kidney": HU[3]}, PREPROCESSING)
    return join_bundles(folder / "both", [teacher, learner], "both", "2.0")


@pytest.fixture(scope="module")
def spleens(tmp_path_factory) -> Path:
    """Three cases with whole spleens; the last is for measuring, and shows all organs."""
    folder = tmp_path_factory.mktemp("Milzen")
    data = write_cases(folder, [only(ct_of(seed)[1], 2) for seed in (0, 1)] + [only(ct_of(2)[1], 1, 2)])
    text = data.read_text("utf-8")
    # The last case annotates the liver as well; the first two the spleen alone.
    place = text.rindex("- spleen")
    data.write_text(f"{text[:place]}- liver\n    {text[place:]}", "utf-8")
    return data


def tune(start: Bundle, data: Path, run: Path, reporter=None, steps: int = 24, validate=("case2",), overrides=(),
         **settings) -> Result:
    settings = {"replay": "none", **settings}
    return finetune(start.folder, data, run, "cpu",
                    FinetuneOptions(steps=steps, validate=list(validate), overrides=[*QUICK, *HARD, *overrides],
                                    **settings),
                    None, reporter)


def dice(bundle: Bundle, seed: int, organ: str) -> float:
    """Of an organ in an unknown CT, by the engine that a user segments with."""
    image, labels = ct_of(seed)
    folder = bundle.folder.parent
    # Through a file and the engine, as a user does, not through the training's own evaluation.
    path = folder / f"{seed}_segmented.nii.gz"
    write_image(path, image)
    labels_predicted = Predictor(bundle, "cpu").predict(read_ct(path, force=True)).labels.array
    predicted = labels_predicted == bundle.label_space.index(organ)
    truth = labels == 1 + ORGANS.index(organ)
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


@pytest.fixture(scope="module")
def finished(start, spleens, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    before = sha256(start.folder / MANIFEST)
    tune(start, spleens, run)
    verify_bundle(start.folder)
    assert sha256(start.folder / MANIFEST) == before
    return run


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text("utf-8"))


def test_only_annotated_organs_are_taken_over(start, finished):
    model = load_bundle(finished / "model")
    assert {member.bundle.name: set(member.organs) for member in model.members} == {
        TEACHER: {"liver"}, "both-finetuned": {"spleen", "left_kidney"}}
    assert model.label_space == start.label_space
    assert model.learner.label_space == start.label_space
    weights = Path("models", "model.safetensors")
    assert (model.members[0].bundle.folder / weights).read_bytes() == (
        start.members[0].bundle.folder / weights).read_bytes()
    assert result_of(finished)["selected"] == TUNED
    assert result_of(finished)["members"][TEACHER] == ["liver"]
    assert "not_taken_over" not in result_of(finished)


def test_the_new_organ_is_better_and_the_frozen_one_is_as_it_was(start, finished):
    model = load_bundle(finished / "model")
    assert dice(model, 11, "spleen") > dice(start, 11, "spleen") + 0.1
    assert dice(model, 11, "liver") == pytest.approx(dice(start, 11, "liver"), abs=0.02)


def test_the_result_names_the_whole_start_model(start, finished):
    model = load_bundle(finished / "model")
    assert model.name == "both-finetuned"
    for section in (model.metadata.partialorganseg, model.learner.metadata.partialorganseg):
        assert (section.lineage.parent.name, section.lineage.parent.version) == ("both", "2.0")
        assert section.lineage.parent.sha256 == sha256(start.folder / MANIFEST)
        assert section.lineage.new_organs == section.lineage.dropped_organs == []
    licences = model.metadata.partialorganseg.licences
    assert licences.data.startswith(f"{TEACHER}: ")
    assert "cases fine-tuned on" in licences.data
    assert model.metadata.partialorganseg.training_data == [f"cases of {TEACHER}", "cases of learner"]
    text = (finished / "model" / "README.md").read_text("utf-8")
    assert f"- {TEACHER} 1.2: liver\n" in text
    assert "| spleen | changed |" in text
    plan = json.loads((finished / "plan.json").read_text("utf-8"))
    assert Path(plan["start"]) == start.folder.resolve()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_validation_measures_the_segmentation_that_the_user_will_see(start, finished, moment, monkeypatch):
    """Against the engine on the CT that was left out; no validation removes stray components, as the engine would."""
    monkeypatch.setattr("PartialOrganSegLib.segmenting.patient.remove_stray_components", lambda *_: None)
    model = start if moment == "before" else load_bundle(finished / "model")
    measured = result_of(finished)["dice"]
    assert set(measured) == {"liver", "spleen"}
    for organ, row in measured.items():
        assert row[moment] == pytest.approx(dice(model, 2, organ), abs=0.06)


def test_a_killed_run_goes_on_to_the_same_model(start, spleens, finished, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        tune(start, spleens, tmp_path / "run", RunListener(13, RuntimeError("power cut")))
    resume(tmp_path / "run", "cpu")
    for member in ("both-finetuned", TEACHER):
        weights = Path("model", MEMBERS, member, "models", "model.safetensors")
        assert (tmp_path / "run" / weights).read_bytes() == (finished / weights).read_bytes()
    assert result_of(tmp_path / "run")["dice"] == result_of(finished)["dice"]
    resume(tmp_path / "run", "cpu")
    assert result_of(tmp_path / "run")["dice"] == result_of(finished)["dice"]
    # Members are copied under a hidden name first.
    assert not list((tmp_path / "run").glob(".member-*"))


def test_an_organ_that_got_no_better_stays_with_the_frozen_network(start, spleens, tmp_path):
    """After two timid steps, and without first weights for it, the trained network finds no spleen at all."""
    reporter = RunListener()
    result = tune(start, spleens, tmp_path / "run", reporter, steps=2,
                  overrides=["optimiser.learning_rate=0.00001", "new_class_patches=0"])
    assert {member.bundle.name: member.organs for member in result.bundle.members} == {
        TEACHER: ("liver", "spleen"), "both-finetuned": ("left_kidney",)}
    assert result.outcome.selected == START
    assert "none of the organs to be learnt got better" in result.outcome.reason
    not_taken_over = result_of(tmp_path / "run")["not_taken_over"]
    assert not_taken_over == {"spleen": {"member": TEACHER, "dice": 0.0}}
    rows = {row.organ: row for row in result.outcome.rows}
    assert rows["spleen"].after == pytest.approx(rows["spleen"].before, abs=0.02)
    assert rows["spleen"].before > 0.3
    card_text = (tmp_path / "run" / "model" / "README.md").read_text("utf-8")
    assert f"spleen got no better ({rows['spleen'].before:.3f} -> 0.000); {TEACHER} keeps the say of it" in card_text
    assert result.selected == start.folder.resolve()


def test_a_new_organ_goes_to_the_network_that_learns(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 2) // 2 for seed in (0, 1)], annotated=["aorta"],
                       label_space=["aorta"])
    result = tune(start, data, tmp_path / "run", steps=2, validate=["none"])
    assert result.bundle.label_space.names == (*start.label_space.names, "aorta")
    assert [member.organs for member in result.bundle.members] == [("liver", "spleen"), ("left_kidney", "aorta")]
    assert result.bundle.metadata.partialorganseg.lineage.new_organs == ["aorta"]


def test_unmeasured_organs_are_taken_over_and_the_start_model_stays_selected(start, spleens, tmp_path):
    """A third case shows the liver too: the frozen network is left without an organ, so one network remains."""
    result = tune(start, spleens, tmp_path / "run", steps=2, validate=["none"])
    assert result.bundle.members == ()
    assert result.bundle.label_space == start.label_space
    assert result.outcome.selected == START
    assert "could not be measured on a real CT" in result.outcome.reason


def test_only_the_listed_organs_of_a_joined_model(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 3) // 3 for seed in (0, 1)], annotated=["left_kidney"],
                       label_space=["left_kidney"])
    result = tune(start, data, tmp_path / "run", steps=2, only_listed=True, validate=["case1"])
    assert result.bundle.members == ()
    assert result.bundle.label_space.names == ("left_kidney",)
    assert result.bundle.metadata.partialorganseg.lineage.dropped_organs == ["liver", "spleen"]
    before = result_of(tmp_path / "run")["dice"]["left_kidney"]["before"]
    assert before == pytest.approx(dice(start, 1, "left_kidney"), abs=0.06)


def test_a_recipe_says_which_organs_are_taken_over(start, spleens, tmp_path):
    recipe = write_recipe(tmp_path, spleens, steps=2, start_from=str(start.folder), network=None,
                          validation={"groups": ["case2"]}, bundle={"name": "again"})
    # Named none, named one, and not named: then those that training cases annotate.
    for number, (overrides, organs) in enumerate([
            (["takes_over=[]"], [("liver", "spleen"), ("left_kidney",)]),
            (["takes_over=[spleen]", "validation=null"], [("liver",), ("spleen", "left_kidney")]),
            (["validation=null", "hold_out=[case2]"], [("liver",), ("spleen", "left_kidney")])]):
        train(load_recipe(recipe, overrides), tmp_path / str(number), False, "cpu")
        model = load_bundle(tmp_path / str(number) / "model")
        assert [set(member.organs) for member in model.members] == [set(names) for names in organs]
        assert model.learner.name == "again"
    with pytest.raises(UserError, match=r"takes_over: expected organs of own, found 'spleeen' \(did you mean 'spleen'"):
        train(load_recipe(recipe, ["takes_over=[spleeen]"]), tmp_path / "wrong", False, "cpu")
    plain = [f"start_from='{start.folder / MEMBERS / 'learner'}'", "takes_over=[spleen]"]
    with pytest.raises(UserError, match="takes_over: expected a joined model as start_from, found none"):
        train(load_recipe(recipe, plain), tmp_path / "plain", False, "cpu")


PLAN = Plan(start=Path("start"), data=Path("m.yaml"), changed=["spleen", "colon"], kept=["liver"], steps=1, minutes=1,
            measured_on=dict.fromkeys(["spleen", "colon", "liver"], "left-out cases"),
            lineage=Lineage(parent=ParentEntry(name="a", version="1", sha256="0"), data_sha256="1", learnt={}))


@pytest.mark.parametrize(("not_taken", "colon", "selected", "reason"), [
    (["spleen"], 0.6, TUNED, "organs to be learnt: mean +0.100"),  # the spleen's own change is not counted
    (["spleen"], 0.4, START, "the organs to be learnt got worse (mean -0.100, 95 % interval"),
    (["spleen", "colon"], 0.501, START, "none of the organs to be learnt got better"),
    ([], 0.6, TUNED, "organs to be learnt: mean +0.050")])
def test_an_organ_that_is_not_taken_over_does_not_count_as_learnt(not_taken, colon, selected, reason):
    not_taken_over = {organ: {"member": "hk", "dice": 0.3} for organ in not_taken}
    before, after = {"spleen": 0.9, "colon": 0.5, "liver": 0.9}, {"spleen": 0.9, "colon": colon, "liver": 0.9}
    outcome = compare(PLAN, Findings(before, after, three_patients(before, after), not_taken_over=not_taken_over))
    assert outcome.selected == selected
    assert reason in outcome.reason
    assert len(outcome.no_better()) == len(not_taken)
    if not_taken:
        line = outcome.no_better()[0].text()
        assert line == "spleen got no better (0.900 -> 0.300); hk keeps the say of it"
        assert line in card("new", PLAN, outcome)
        assert outcome.as_metrics()["not_taken_over"] == not_taken_over
    assert ("not_taken_over" in Outcome([], START, Verdict(VerdictKind.NOTHING_MEASURED)).as_metrics()) is False


def test_the_time_of_the_frozen_networks_is_counted(start, monkeypatch):
    """A second for a patch of 8 x 16 x 16; at 2 mm, 16 slices of 3 mm are 24."""
    monkeypatch.setattr("PartialOrganSegLib.finetuning.speed._quickest", lambda work, device: 1.0)
    device = torch.device("cpu")
    assert frozen_seconds(start, [(16, 16, 16)], device) == 5  # windows of 8 slices that share half of their length
    assert frozen_seconds(start, [(16, 16, 16)] * 3, device) == 15
    assert frozen_seconds(start, [], device) == 0
    assert frozen_seconds(start.learner, [(16, 16, 16)], device) == 0


def test_phantoms_end_to_end_by_the_command(tmp_path, capsys):
    """Coarse phantoms: WORD's organs joined of two networks at different spacings, replay and slabs, then a second CT
    is segmented with the model that results."""
    settings = [Preprocessing(mm, (-300.0, 500.0), 60.0, 150.0, (16, 16, 16))
                for mm in ((12.0, 10.0, 10.0), (14.0, 12.0, 12.0))]
    bundles = []
    for name, organs, preprocessing in (("ten", WORD16.names[:10], settings[0]), ("six", WORD16.names, settings[1])):
        levels = {organ: 30.0 + 10 * number for number, organ in enumerate(organs)}
        bundles.append(level_bundle(tmp_path / name, name, levels, preprocessing))
    joined = join_bundles(tmp_path / "joined", bundles, "joined")
    cases = []
    for seed in (3, 4):
        ct, labels = make_phantom((36, 28, 42), (13.0, 11.0, 11.0), seed)
        write_ct(tmp_path / f"{seed}.nii.gz", ct)
        labels.array[~np.isin(labels.array, WORD16.indices(["liver", "bladder"]))] = 0
        write_labelmap(tmp_path / f"{seed}_label.nii.gz", labels)
        cases.append({"image": f"{seed}.nii.gz", "label": f"{seed}_label.nii.gz"})
    data = write_yaml(tmp_path / "manifest.yaml", {"datasets": [
        {"name": "mine", "kind": "partial", "annotated": ["liver", "bladder"], "cases": cases}]})
    run = tmp_path / "run"
    words = ["finetune", "--model", joined.folder, "--data", data, "-o", run, "--steps", "4", "--device", "cpu"]
    for change in QUICK:
        words += ["--set", change]
    assert main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out
    assert "selected: " in printed
    figures = result_of(run)["dice"]
    assert {"liver", "bladder"} <= {organ for organ, row in figures.items() if row["group"] == "changed"}
    assert "spleen" in figures  # of phantoms
    model = load_bundle(run / "model")
    assert model.label_space == WORD16
    assert [member.bundle.name for member in model.members] == ["ten", "joined-finetuned"]
    assert main(["segment", str(tmp_path / "4.nii.gz"), "-o", str(tmp_path / "out"), "--model", str(run / "model"),
                 "--device", "cpu", "--no-preview", "--force"]) == 0
