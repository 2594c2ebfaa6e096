"""Cross-validation on phantoms: two runs with a CT held out each, scored over labels and over strokes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.training.folds import train_folds
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from Testing.helpers.repository import import_script
from Testing.helpers.training_data import write_recipe, write_yaml

script = import_script("cross_validate")

LIVER, COLON, RECTUM = WORD16.indices(["liver", "colon", "rectum"])
GROUPS = ("anna", "ötto")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Two phantoms whose labels say liver, spleen and "colon or rectum"; strokes lie on one of them."""
    folder = tmp_path_factory.mktemp("data")
    # Strokes are drawn on the last phantom alone: a run without any must be scored too.
    cases = []
    for seed, group in enumerate(GROUPS):
        ct, labels = make_phantom((34, 24, 32), (12.0, 10.0, 12.0), seed)
        array = np.where(labels.array == RECTUM, COLON, labels.array)
        array = np.where(np.isin(array, [LIVER, WORD16.index("spleen"), COLON]), array, 0).astype(np.uint8)
        (folder / "ct" / group).mkdir(parents=True)
        write_ct(folder / "ct" / group / "image.nii.gz", ct)
        write_labelmap(folder / "ct" / group / "label.nii.gz", Volume(array, labels.grid))
        cases.append({"name": group, "group": group, "image": f"ct/{group}/image.nii.gz",
                      "label": f"ct/{group}/label.nii.gz"})
    z, y, x = np.argwhere(array == LIVER)[0]
    point = [float(value) for value in (labels.grid.matrix @ (x, y, z, 1))[:3]]
    (folder / "strokes").mkdir()
    (folder / "strokes" / f"{GROUPS[1]}.json").write_text(json.dumps({
        "image": GROUPS[1], "drawn_by": "test", "licence": "none",
        "strokes": [{"organ": "liver", "points": [point], "width_mm": 12}]}), encoding="utf-8")
    return write_yaml(folder / "manifest.yaml", {"label_space": "word16", "datasets": [
        {"name": "phantoms", "kind": "partial", "annotated": ["liver", "spleen", "colon", "rectum"],
         "label_map": {COLON: ["colon", "rectum"]}, "cases": cases}]})


@pytest.fixture(scope="module")
def runs(manifest, tmp_path_factory) -> list[Path]:
    """A short training for each phantom, with that one held out."""
    folders = []
    for group in GROUPS:
        folder = tmp_path_factory.mktemp("runs")
        recipe = write_recipe(folder, manifest, steps=10, hold_out=[group],
                              preprocessing={"spacing_zyx": [12.0, 10.0, 12.0], "patch_zyx": [8, 16, 16]})
        train(load_recipe(recipe), folder / "run", False, "cpu")
        folders.append(folder / "run")
    return folders


def test_held_out_phantoms_are_scored(manifest, runs, tmp_path, capsys):
    out = tmp_path / "out.json"
    words = [*map(str, runs), "--manifest", str(manifest), "--strokes", str(manifest.parent / "strokes"),
             "--out", str(out)]
    assert script.main(words) == 0
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert list(figures) == list(GROUPS)
    assert figures["anna"]["strokes"] == {}
    assert set(figures["ötto"]["strokes"]) == {"liver"}
    for group, run in zip(GROUPS, runs, strict=True):
        # The label says "colon or rectum", so a prediction of either counts as right.
        measured = figures[group]["label"]
        assert {"liver", "spleen", "colon_or_rectum"} <= set(measured)
        folder = manifest.parent / "ct" / group
        reference = read_labelmap(folder / "label.nii.gz").array
        predicted = Predictor(load_bundle(run / "model"), "cpu").predict(
            script.load_manifest(manifest).cases[GROUPS.index(group)].read_image()).labels.array
        assert measured["liver"] == pytest.approx(dice(predicted == LIVER, reference == LIVER), abs=1e-4)
        merged = dice(np.isin(predicted, [COLON, RECTUM]), reference == COLON)
        assert measured["colon_or_rectum"] == pytest.approx(merged, abs=1e-4)
    shown = capsys.readouterr().out
    assert "| liver |" in shown
    assert "| colon or rectum |" in shown


def test_folds_are_scored_on_the_patients_that_each_was_trained_without(manifest, tmp_path, capsys):
    recipe = write_recipe(tmp_path, manifest, steps=10, validation={"every": 10},
                          preprocessing={"spacing_zyx": [12.0, 10.0, 12.0], "patch_zyx": [8, 16, 16]})
    train_folds(load_recipe(recipe), tmp_path / "run", False, "cpu", count=2)
    words = [str(tmp_path / "run"), "--manifest", str(manifest), "--out", str(tmp_path / "out.json")]
    assert script.main(words) == 0
    assert "strokes" not in capsys.readouterr().out.splitlines()  # there are none, so no table of them
    figures = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert set(figures) == set(GROUPS)
    folds = json.loads((tmp_path / "run" / "folds.json").read_text(encoding="utf-8"))
    for number, (group,) in enumerate(folds):
        folder = manifest.parent / "ct" / group
        reference = read_labelmap(folder / "label.nii.gz").array
        predicted = Predictor(load_bundle(tmp_path / "run" / f"fold_{number}" / "model"), "cpu").predict(
            script.load_manifest(manifest).cases[GROUPS.index(group)].read_image()).labels.array
        assert figures[group]["label"]["liver"] == pytest.approx(
            dice(predicted == LIVER, reference == LIVER), abs=1e-4)
    # A manifest of other patients: nothing is scored by a model that may have seen it.
    (tmp_path / "run" / "folds.json").write_text(json.dumps([["nobody"], folds[1]]), encoding="utf-8")
    assert script.main(words) == 1
    assert "folds.json: expected patients of the manifest, found nobody" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_an_organ_that_is_made_up_counts_whatever_the_kind_of_label(tmp_path, kind):
    """In a label space that has neither colon nor rectum."""
    ct, labels = make_phantom((24, 24, 24), (12.0, 12.0, 12.0), 0)
    spleen = WORD16.index("spleen")
    numbers = np.where(labels.array == LIVER, 1, np.where(labels.array == spleen, 2, 0)).astype(np.uint8)
    write_ct(tmp_path / "image.nii.gz", ct)
    write_labelmap(tmp_path / "label.nii.gz", Volume(np.where(numbers == 1, numbers, 0).astype(np.uint8), labels.grid))
    dataset = {"name": "one", "kind": kind, "cases": [{"image": "image.nii.gz", "label": "label.nii.gz"}]}
    if kind == "partial":
        dataset["annotated"] = ["liver", "spleen"]
    manifest = script.load_manifest(write_yaml(tmp_path / "m.yaml", {
        "label_space": ["liver", "spleen", "pancreas"], "datasets": [dataset]}))
    (case,) = manifest.cases
    predictor = SimpleNamespace(predict=lambda image: SimpleNamespace(labels=Volume(numbers, image.grid)))
    assert script.score_case(case, predictor, manifest.label_space, None)["label"] == {"liver": 1.0, "spleen": 0.0}


def test_every_ct_of_a_held_out_folder_is_scored(manifest, runs, tmp_path):
    ct, labels = make_phantom((34, 24, 32), (12.0, 10.0, 12.0), 0)
    cases = []
    for phase in ("early", "late"):
        (tmp_path / "anna").mkdir(exist_ok=True)
        write_ct(tmp_path / "anna" / f"{phase}.nii.gz", ct)
        write_labelmap(tmp_path / "anna" / f"{phase}_label.nii.gz", labels)
        cases.append({"name": f"anna {phase}", "group": "anna", "image": f"anna/{phase}.nii.gz",
                      "label": f"anna/{phase}_label.nii.gz"})
    both = script.load_manifest(write_yaml(tmp_path / "m.yaml", {"label_space": "word16", "datasets": [
        {"name": "two phases", "kind": "full", "cases": cases}]}))
    assert set(script.score_run(runs[0], both, None)) == {"anna early", "anna late"}


def test_scribbled_cases_are_no_labels(tmp_path):
    """What was drawn is easy; averaged with outlines it would flatter them."""
    ct, labels = make_phantom((24, 24, 24), (12.0, 12.0, 12.0), 0)
    drawn = np.full(labels.array.shape, 255, np.uint8)
    z, y, x = np.argwhere(labels.array == LIVER)[0]
    drawn[z, y, x] = LIVER
    write_ct(tmp_path / "image.nii.gz", ct)
    write_labelmap(tmp_path / "drawn.nii.gz", Volume(drawn, labels.grid))
    manifest = script.load_manifest(write_yaml(tmp_path / "m.yaml", {"label_space": "word16", "datasets": [
        {"name": "one", "kind": "scribble", "cases": [{"image": "image.nii.gz", "label": "drawn.nii.gz"}]}]}))
    predictor = SimpleNamespace(predict=lambda image: SimpleNamespace(labels=Volume(labels.array, image.grid)))
    figures = script.score_case(manifest.cases[0], predictor, manifest.label_space, None)
    assert figures == {"label": {}, "strokes": {"liver": 1.0}}


@pytest.mark.parametrize(("wrong", "line"), [
    ("twice", "expected CTs that no other run held out, found anna"),
    ("no run", "expected the folder of a training run, found no recipe.yaml in it"),
    ("absent", "expected CTs of the manifest under 'hold_out', found nobody"),
    ("nothing", "expected CTs under 'hold_out', found none")])
def test_unfit_runs_are_one_line(manifest, runs, tmp_path, capsys, wrong, line):
    folders = {"twice": [runs[0], runs[0]]}.get(wrong, [tmp_path])
    if wrong in ("absent", "nothing"):
        write_yaml(tmp_path / "recipe.yaml", {"hold_out": ["nobody"] if wrong == "absent" else []})
    words = [*map(str, folders), "--manifest", str(manifest), "--strokes", str(tmp_path), "--out",
             str(tmp_path / "out.json")]
    assert script.main(words) == 1
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
