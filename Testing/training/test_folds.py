"""Folds: patients dealt once and never divided, a run for each, and the ensemble of all."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import Manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.training import folds
from PartialOrganSegLib.training.folds import deal_folds
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.training_data import write_manifest, write_recipe, write_yaml


def cases_of(numbers: list[tuple[int, Kind]]) -> tuple[Case, ...]:
    """Of each data set so many patients of two CTs each."""
    cases = []
    for dataset, (patients, kind) in enumerate(numbers):
        for patient in range(patients):
            for scan in range(2):
                name = f"d{dataset}-p{patient}-s{scan}"
                cases.append(Case(name, f"d{dataset}-p{patient}", f"d{dataset}", Path("i"), kind))
    return tuple(cases)


@given(st.integers(2, 6), st.integers(0, 2**31), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_every_patient_is_validated_on_once(count, seed, patients):
    # Patients without an annotation cannot be validated on: they are in no fold.
    cases = cases_of([(number, Kind.FULL) for number in patients] + [(3, Kind.UNLABELLED)])
    manifest = Manifest(Path("m.yaml"), WORD16, cases)
    annotated = {case.group for case in cases if case.kind is Kind.FULL}
    if len(annotated) < count:
        with pytest.raises(UserError, match=f"folds: expected at least {count} annotated patients"):
            deal_folds(manifest, count, seed)
        return
    dealt = deal_folds(manifest, count, seed)
    assert sorted(itertools.chain.from_iterable(dealt)) == sorted(annotated)
    for dataset in range(len(patients)):  # dealt evenly
        sizes = [len([group for group in fold if group.startswith(f"d{dataset}-")]) for fold in dealt]
        assert max(sizes) - min(sizes) <= 1
    assert dealt == deal_folds(manifest, count, seed)
    left_out = next(iter(annotated))
    if len(annotated) > count:
        assert left_out not in itertools.chain.from_iterable(deal_folds(manifest, count, seed, [left_out]))


def test_patients_are_held_out_by_any_of_their_names(tmp_path):
    """Groups of several names, as cases that are one patient's have: only by one of these were they kept out."""
    manifest = write_manifest(tmp_path, 4)
    content = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    for number, entry in enumerate(content["datasets"][0]["cases"]):
        entry["group"] = f"patient{number}"
    loaded = load_manifest(write_yaml(manifest, content))
    dealt = deal_folds(loaded, 2, 0, ["case1"])
    assert sorted(itertools.chain.from_iterable(dealt)) == ["patient0", "patient2", "patient3"]
    assert dealt == deal_folds(loaded, 2, 0, ["patient1"])
    with pytest.raises(UserError, match=r"hold_out: .*no case of group 'patient9'.*did you mean 'patient"):
        deal_folds(loaded, 2, 0, ["patient9"])


def test_folds_are_trained_resumed_and_joined(tmp_path, capsys):
    recipe = write_recipe(tmp_path, write_manifest(tmp_path, cases=3), steps=4, checkpoint_every=2,
                          validation={"every": 2}, bundle={"name": "folded"})
    run = tmp_path / "run"
    command = ["train", str(recipe), "-o", str(run), "--folds", "3", "--device", "cpu"]
    assert main(command) == 0
    printed = capsys.readouterr().err
    assert "3 folds: 3 runs of 4 steps each, one after the other, and a model that takes 3 times as long" in printed
    patients = json.loads((run / "folds.json").read_text(encoding="utf-8"))
    assert sorted(patients) == [["case0"], ["case1"], ["case2"]]
    bundle = load_bundle(run / "model")
    assert (bundle.name, len(bundle.folds)) == ("folded", 3)
    dice = []
    for number, groups in enumerate(patients):
        fold = load_bundle(run / f"fold_{number}" / "model")
        dice.append(fold.metadata.partialorganseg.metrics["validation_dice"]["mean"])
        text = (run / f"fold_{number}" / "recipe.yaml").read_text(encoding="utf-8")
        assert f"- {groups[0]}" in text.partition("validation:")[2]
        weights = (run / f"fold_{number}" / "model" / "models" / "model.safetensors").read_bytes()
        assert (run / "model" / "members" / f"fold_{number}" / "models" / "model.safetensors").read_bytes() == weights
    assert bundle.metadata.partialorganseg.metrics["validation_dice"]["mean"] == pytest.approx(np.mean(dice))
    assert main(command) == 1
    assert "expected a new run folder, found folds.json" in capsys.readouterr().err
    # A fold that is missing is trained again, the others stay.
    modified = (run / "fold_0" / "model" / "models" / "model.safetensors").stat().st_mtime_ns
    for file in sorted((run / "fold_2").rglob("*"), reverse=True):
        if file.is_file():
            file.unlink()
    (run / "fold_2" / "model").rename(run / "old")
    assert main([*command, "--resume"]) == 0
    assert "folds: 1 run of 4 steps, and a model that takes 3 times as long" in capsys.readouterr().err
    assert (run / "fold_0" / "model" / "models" / "model.safetensors").stat().st_mtime_ns == modified
    assert main([*command, "--resume"]) == 0  # all are there: nothing is trained, and nothing said of its cost
    assert "folds:" not in capsys.readouterr().err
    # With another number of folds, patients would be validated on that an earlier fold was trained on.
    assert main([*command[:-3], "2", "--device", "cpu", "--resume"]) == 1
    assert "the patients were dealt otherwise" in capsys.readouterr().err
    assert main(["train", str(recipe), "-o", str(tmp_path / "b"), "--folds", "1", "--device", "cpu"]) == 1
    assert "folds: expected 2 or more, found 1" in capsys.readouterr().err


def test_of_several_processes_the_first_alone_looks_at_the_folder(tmp_path, monkeypatch):
    """The second one may come when the first has written folds.json, and took it for that of another run."""
    recipe = load_recipe(write_recipe(tmp_path, write_manifest(tmp_path, cases=2)))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "folds.json").write_text("[]", encoding="utf-8")
    trained = []
    monkeypatch.setattr(folds, "train", lambda recipe, folder, resume, *_: trained.append((folder.name, resume)))
    monkeypatch.setattr(folds, "load_bundle", Path)
    monkeypatch.setenv("RANK", "1")
    folds.train_folds(recipe, tmp_path / "run", False, count=2)
    assert trained == [("fold_0", False), ("fold_1", False)]
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match=r"expected a new run folder, found folds\.json"):
        folds.train_folds(recipe, tmp_path / "run", False, count=2)
