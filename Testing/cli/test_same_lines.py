"""The same manifest gives the same lines, whatever command reads it; and what the small commands say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.models.bundle import Bundle
from Testing.helpers.finetune_data import QUICK, ct_of, write_start
from Testing.helpers.training_data import write_image, write_recipe, write_yaml


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("models") / "start")


def write_pair(folder: Path, name: str, seed: int) -> dict[str, object]:
    image, labels = ct_of(seed)
    write_image(folder / f"{name}.nii.gz", image)
    write_image(folder / f"{name}_label.nii.gz", labels)
    return {"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz", "name": name}


def faulty(folder: Path) -> Path:
    """Three cases: an organ that is not annotated, a file that is not there, another geometry."""
    cases = [write_pair(folder, name, seed) for seed, name in enumerate(("undeclared", "absent", "moved"))]
    (folder / "absent_label.nii.gz").unlink()
    write_image(folder / "moved_label.nii.gz", ct_of(2)[1][:-1])
    cases[1]["annotated"] = cases[2]["annotated"] = ["liver", "spleen", "left_kidney"]
    return write_yaml(folder / "manifest.yaml", {
        "label_space": ["liver", "spleen", "left_kidney"],
        "datasets": [{"name": "mine", "kind": "partial", "annotated": ["liver"], "cases": cases}]})


def errors(arguments: list[str], capsys) -> list[str]:
    """The error lines of a command that fails."""
    assert main(arguments) == 1
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def test_every_command_says_the_same_of_the_same_manifest(start, tmp_path, capsys):
    manifest = faulty(tmp_path / "meine Fälle")
    said = errors(["check", str(manifest)], capsys)
    assert len(said) == 3
    assert "which are not among its annotated organs; add them to 'annotated', or to 'ignored'" in said[0]
    assert "absent: expected the file" in said[1]
    settings = [word for setting in QUICK for word in ("--set", setting)]
    assert errors(["finetune", "--model", str(start.folder), "--data", str(manifest), "-o", str(tmp_path / "run"),
                   "--steps", "1", "--replay", "none", *settings], capsys) == said
    predictions = tmp_path / "predictions"
    for seed, name in enumerate(("undeclared", "absent", "moved")):
        write_image(predictions / f"{name}.nii.gz", ct_of(seed)[1])
    scored = errors(["evaluate", str(predictions), str(manifest), "-o", str(tmp_path / "out")], capsys)
    assert scored[:3] == said
    recipe = write_recipe(tmp_path, manifest)
    trained = errors(["train", str(recipe), "-o", str(tmp_path / "trained"), "--device", "cpu"], capsys)
    assert trained == said


@pytest.mark.parametrize("command", ["check", "evaluate", "finetune"])
def test_an_organ_that_the_label_space_lacks_names_the_line_that_adds_it(command, start, tmp_path, capsys):
    case = write_pair(tmp_path, "a", 0)
    content = {"datasets": [{"name": "mine", "kind": "partial", "annotated": ["aorta"], "label_map": {1: "aorta"},
                             "other_values": "unknown", "cases": [case]}]}
    manifest = write_yaml(tmp_path / "manifest.yaml", content)
    arguments = {"check": ["check", str(manifest)],
                 "evaluate": ["evaluate", str(tmp_path), str(manifest), "-o", str(tmp_path / "out")],
                 "finetune": ["finetune", "--model", str(start.folder), "--data", str(manifest), "-o",
                              str(tmp_path / "run")]}
    line, = errors(arguments[command], capsys)
    assert line.endswith("a new organ is added by a line of the manifest, new_organs: [aorta]")
    write_yaml(manifest, {"new_organs": ["aorta"], **content})
    assert main(["check", str(manifest)]) == 0


def test_a_wrong_name_to_validate_on_lists_the_cases(start, tmp_path, capsys):
    cases = [write_pair(tmp_path, name, seed) for seed, name in enumerate("ab")]
    manifest = write_yaml(tmp_path / "m.yaml", {"label_space": ["liver", "spleen", "left_kidney"], "datasets": [
        {"name": "mine", "kind": "full", "cases": cases}]})
    line, = errors(["finetune", "--model", str(start.folder), "--data", str(manifest), "-o", str(tmp_path / "run"),
                    "--validate", "c"], capsys)
    assert "expected names of cases or their groups (none, a, b), found 'c'" in line


@pytest.mark.parametrize(("files", "said"), [
    ({"checkpoints/last.pt": b"x"}, "a run that is not finished"), ({"plan.json": b"{}"}, "a run that is not finished"),
    ({"plan.json": b"{}", "model/configs/metadata.json": b"{}"}, "the run that made one; it is"),
    ({"notes.txt": b"x"}, "no configs/metadata.json")])
def test_a_run_in_place_of_a_model_is_named_as_one(files, said, tmp_path, capsys):
    for name, content in files.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    line, = errors(["models", "info", str(tmp_path / "run")], capsys)
    assert said in line


def test_strokes_are_simulated_from_labels_with_undecided_voxels(tmp_path, capsys):
    _, labels = ct_of(0)
    labels[:, :, 12:] = 254
    path = write_image(tmp_path / "reference.nii.gz", labels)
    (line,) = errors(["scribble", str(path), "-o", str(tmp_path / "out")], capsys)
    assert "label value 254" in line
    assert main(["scribble", str(path), "-o", str(tmp_path / "out"), "--undecided", "254"]) == 0
    from PartialOrganSegLib.formats.reading import read_labelmap

    drawn = read_labelmap(tmp_path / "out" / "reference.scribble.nii.gz").array
    assert (drawn[labels == 254] == 255).all()
    assert set(np.unique(drawn)) >= {0, 1}
    assert main(["scribble", str(path), "-o", str(tmp_path / "x"), "--undecided", "none"]) == 2
    capsys.readouterr()
    # An organ's value, and one that no label map has, are taken for a slip no longer without a word.
    assert main(["scribble", str(path), "-o", str(tmp_path / "y"), "--undecided", "254,2,77"]) == 0
    warned = capsys.readouterr().err
    assert "warning: --undecided: 2 is the spleen of word16: nothing of it is drawn" in warned
    assert "warning: --undecided: expected values of the label maps, found 77, which none of them has" in warned


def test_a_reference_of_few_organs_is_not_taken_for_complete(tmp_path, capsys):
    _, labels = ct_of(0)
    predicted = write_image(tmp_path / "p" / "a.nii.gz", labels)
    reference = write_image(tmp_path / "r" / "a.nii.gz", np.where(labels == 1, 1, 0).astype(np.uint8))
    assert main(["evaluate", str(predicted), str(reference), "-o", str(tmp_path / "few")]) == 0
    captured = capsys.readouterr()
    assert "only liver in the references, so only that is scored; --annotated all" in captured.err
    assert "spleen" not in captured.out
    assert main(["evaluate", str(predicted), str(reference), "-o", str(tmp_path / "all"), "--annotated", "all"]) == 0
    captured = capsys.readouterr()
    assert "only liver" not in captured.err
    assert "spleen" in captured.out


def test_a_fine_tuning_that_is_ended_says_where_and_how_to_go_on(start, tmp_path, capsys, monkeypatch):
    cases = [write_pair(tmp_path, name, seed) for seed, name in enumerate("ab")]
    manifest = write_yaml(tmp_path / "m.yaml", {"label_space": ["liver", "spleen", "left_kidney"], "datasets": [
        {"name": "mine", "kind": "full", "cases": cases}]})
    run = tmp_path / "mein Lauf"

    from PartialOrganSegLib.events import ConsoleReporter

    class Ended(ConsoleReporter):
        def progress(self, stage: str, done: int, total: int) -> None:
            super().progress(stage, done, total)
            if stage == "training" and done == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr("PartialOrganSegLib.cli.ConsoleReporter", Ended)
    settings = [word for setting in QUICK for word in ("--set", setting)]
    command = ["finetune", "--model", str(start.folder), "--data", str(manifest), "-o", str(run), "--steps", "4",
               "--replay", "none", *settings]
    assert main(command) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"error: cancelled after step 1; go on with: partialorganseg finetune -o '{run}' --resume"
    monkeypatch.undo()
    assert main(["finetune", "-o", str(run), "--resume"]) == 0
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_with_more_organs_does_not_describe_its_start_model(start, tmp_path, capsys):
    case = write_pair(tmp_path, "a", 0)
    manifest = write_yaml(tmp_path / "m.yaml", {
        "label_space": ["liver", "spleen", "left_kidney"], "new_organs": ["aorta"], "datasets": [
            {"name": "mine", "kind": "partial", "annotated": ["aorta"], "label_map": {3: "aorta"},
             "other_values": "unknown", "cases": [case]}]})
    settings = [word for setting in QUICK for word in ("--set", setting)]
    assert main(["finetune", "--model", str(start.folder), "--data", str(manifest), "-o", str(tmp_path / "run"),
                 "--steps", "1", "--replay", "none", *settings]) == 0
    capsys.readouterr()
    assert main(["models", "info", str(tmp_path / "run" / "model")]) == 0
    shown = capsys.readouterr().out
    assert "Blocks" not in shown
    assert "Fine-tuned from start 1.2: 4 organs" in shown
    assert yaml.safe_load(manifest.read_text("utf-8"))["new_organs"] == ["aorta"]
