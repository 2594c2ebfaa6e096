"""A whole run of `learn` with a small model: trained, ended, gone on with, compared, and shown on one page."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from PartialOrganSegLib.api import learn
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.learning import Beside
from PartialOrganSegLib.learning.comparison import Comparison, compared_drifts
from PartialOrganSegLib.learning.page import PageContent, learn_page
from PartialOrganSegLib.learning.run import LearnOptions, carry_out, prepare
from PartialOrganSegLib.learning.state import read_state
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from Testing.helpers.finetune_data import ORGANS, QUICK, RunListener, write_start
from Testing.helpers.html_page import Page
from Testing.helpers.learn_folder import write_folder


class Interrupter(Reporter):
    """Ends the work when a stage begins."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage.startswith(self.stage):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("models") / "start")


def quick(start: Bundle, **settings) -> LearnOptions:
    finetuning = FinetuneOptions(steps=4, replay="none", overrides=list(QUICK), **settings)
    return LearnOptions(model=str(start.folder), finetuning=finetuning)


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory) -> Path:
    """The output of a run that was ended twice on its way: while it trained, and while it segmented."""
    folder = write_folder(tmp_path_factory.mktemp("meine Fälle ü") / "<b>x & y")
    output = folder / "learnt"
    prepare(folder, output, quick(start))
    with pytest.raises(KeyboardInterrupt):
        carry_out(output, "cpu", RunListener(2, KeyboardInterrupt()))
    assert (output / "run" / "checkpoints" / "last.pt").is_file()
    with pytest.raises(KeyboardInterrupt):
        carry_out(output, "cpu", Interrupter("segmenting with the new"))
    assert (output / "run" / "result.json").is_file()
    times = {path: path.stat().st_mtime_ns for path in (output / "segmented" / "start").iterdir()}
    assert times
    carry_out(output, "cpu")
    # What was done was not done again.
    assert {path: path.stat().st_mtime_ns for path in times} == times
    return output


def test_a_manifest_that_was_changed_after_the_training_began_is_refused(start, tmp_path):
    folder = write_folder(tmp_path / "cases")
    (folder / "broken.nii.gz").write_bytes(b"no image")
    output = folder / "learnt"
    prepare(folder, output, quick(start))
    with pytest.raises(KeyboardInterrupt):
        carry_out(output, "cpu", RunListener(2, KeyboardInterrupt()))
    manifest = output / "manifest.yaml"
    as_written = manifest.read_text("utf-8")
    manifest.write_text(as_written + "# without one of the cases\n", "utf-8")
    with pytest.raises(UserError, match=r"manifest.yaml: expected the manifest that the training began with"):
        carry_out(output, "cpu")
    manifest.write_text(as_written, "utf-8")
    page = carry_out(output, "cpu").page
    # Also after it was gone on with.
    assert "broken.nii.gz" in page.read_text("utf-8")
    # Another model: nothing of the former one's label maps is shown as its own.
    labels = output / "segmented" / "new" / "b.labels.nii.gz"
    start_labels = output / "segmented" / "start" / "b.labels.nii.gz"
    times = labels.stat().st_mtime_ns, start_labels.stat().st_mtime_ns
    shutil.rmtree(output / "run")
    without_a_case = yaml.safe_load(as_written)
    without_a_case["datasets"][0]["cases"].pop()
    manifest.write_text(yaml.safe_dump(without_a_case), "utf-8")
    carry_out(output, "cpu")
    assert labels.stat().st_mtime_ns > times[0]
    assert start_labels.stat().st_mtime_ns == times[1]


def test_every_ct_is_segmented_with_both_models(finished):
    for moment in ("start", "new"):
        names = {path.name for path in (finished / "segmented" / moment).glob("*.labels.nii.gz")}
        assert names == {f"{name}.labels.nii.gz" for name in ("Müller 1", "b", "c", "d", "nobody")}
    volumes = json.loads((finished / "evaluation" / "volumes.json").read_text("utf-8"))
    assert set(volumes["new"]["nobody"]) == {"liver", "spleen", "left_kidney"}
    dice = json.loads((finished / "evaluation" / "dice.json").read_text("utf-8"))
    assert "optimistic" in dice["measured_on"]
    assert {"Müller 1", "b", "d"} <= set(dice["new"])


def test_strokes_are_obeyed_in_the_ct_that_they_were_drawn_on(finished):
    obedience = json.loads((finished / "segmented" / "new" / "c.strokes.json").read_text("utf-8"))
    assert obedience["corrected"] == 1
    assert obedience["model"] < 1
    assert obedience["voxels"] > 10
    assert not (finished / "segmented" / "start" / "c.strokes.json").exists()
    page = (finished / "report.html").read_text("utf-8")
    assert f"{obedience['model']:.1%}" in page


def test_the_page_is_whole_and_loads_nothing(finished):
    page = (finished / "report.html").read_text("utf-8")
    # Nothing is fetched and nothing runs, whatever a browser is allowed.
    assert re.findall(r'(?:src|href|action)="(?!data:)', page) == []
    assert "<script" not in page
    assert "default-src 'none'" in page
    reader = Page(page)
    assert reader.open == []
    # One for each CT, and the curve.
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 6
    result = json.loads((finished / "run" / "result.json").read_text("utf-8"))
    for part in ("What to draw next", "Müller 1", result["selected_model"], result["reason"][1:], "nobody"):
        assert part in reader.text
    assert "<b>x & y" in reader.text
    assert "<b>x" not in page


def test_an_organ_that_no_mask_shows_is_compared_on_the_page(finished):
    """Also where the run had no time to look at a CT with both models: they are segmented for the page anyway."""
    start = load_bundle(json.loads((finished / "run" / "result.json").read_text("utf-8"))["start"])
    comparison = Comparison(start.label_space, [SimpleNamespace(name="nobody")], labels={
        moment: {"nobody": finished / "segmented" / moment / "nobody.labels.nii.gz"} for moment in ("start", "new")})
    before = read_labelmap(comparison.labels["start"]["nobody"])
    after = read_labelmap(comparison.labels["new"]["nobody"])
    for drift in compared_drifts(comparison, start.label_space, list(start.label_space.names)):
        label = start.label_space.index(drift.organ)
        assert drift.before_ml == pytest.approx((before.array == label).sum() * before.grid.voxel_ml)
        assert drift.after_ml == pytest.approx((after.array == label).sum() * after.grid.voxel_ml)
    # Twice as much liver in the new model's labels is more than noise.
    half = before.array.copy()
    half[:] = 0
    half[2:10, 2:30, 2:30] = 1
    whole = half.copy()
    whole[2:18, 2:30, 2:30] = 1
    for moment, array in (("start", half), ("new", whole)):
        path = finished.parent / f"{moment}.nii.gz"
        write_labelmap(path, Volume(array, before.grid))
        comparison.labels[moment]["nobody"] = path
    (liver,) = compared_drifts(comparison, start.label_space, ["liver", "spleen"])
    assert liver.after_ml > 1.2 * liver.before_ml
    assert liver.drifted
    page = learn_page(PageContent("t", {"drift": {"liver": liver.as_data()}}, []))
    assert "Organs that nobody drew" in page
    assert "changed by more than noise" in page


def test_the_run_learnt_what_was_drawn(finished):
    bundle = load_bundle(finished / "run" / "model")
    assert set(bundle.metadata.partialorganseg.lineage.learnt) == {"liver", "spleen", "left_kidney"}
    assert (finished / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_in_the_same_place_is_refused(finished, start):
    with pytest.raises(UserError, match="--resume or another -o"):
        prepare(finished.parent, finished, quick(start))


def test_a_changed_manifest_is_kept_and_a_plan_alone_is_made_anew(start, tmp_path):
    folder = write_folder(tmp_path / "cts")
    output = folder / "learnt"
    prepare(folder, output, quick(start))
    prepare(folder, output, quick(start))
    manifest = output / "manifest.yaml"
    content = yaml.safe_load(manifest.read_text("utf-8"))
    content["datasets"][0]["cases"].pop()
    manifest.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(UserError, match="changed"):
        prepare(folder, output, quick(start))


def test_a_folder_with_other_files_is_no_place_for_results(start, tmp_path):
    folder = write_folder(tmp_path / "cts")
    with pytest.raises(UserError, match="something else"):
        prepare(folder, folder, quick(start))
    with pytest.raises(UserError, match="nothing there"):
        prepare(tmp_path / "missing", tmp_path / "out", quick(start))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["looking", "written"])
def test_a_plan_that_does_not_come_to_its_end_leaves_nothing(stage, start, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "meine Fälle ü")
    output = tmp_path / "new" / "deep" / "run"
    reporter = Interrupter("looking") if stage == "looking" else None

    def ended(path: Path) -> str:
        raise KeyboardInterrupt

    if stage == "written":
        # The last that is done before it is noted that the plan is there.
        monkeypatch.setattr("PartialOrganSegLib.learning.run.sha256_of", ended)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, output, quick(start), reporter=reporter)
    assert not (tmp_path / "new").exists()
    # A folder that the user made stays, and is as good for the next run as it was.
    output.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, output, quick(start), reporter=reporter)
    assert not list(output.iterdir())


def test_a_folder_that_nothing_can_be_learnt_from_leaves_no_folders(start, tmp_path, capsys):
    (tmp_path / "leer").mkdir()
    words = ["-o", str(tmp_path / "new" / "deep" / "run"), "--model", str(start.folder)]
    assert main(["learn", str(tmp_path / "leer"), *words]) == 1
    assert main(["finetune", "--data", str(tmp_path / "none.yaml"), *words]) == 1
    assert capsys.readouterr().err.count("error:") == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("names", "choice", "beside"), [
    (("liver", "spleen"), Beside.NEW, True), (("liver", "spleen"), Beside.NEVER, False),
    (ORGANS, Beside.NEW, False), (ORGANS, Beside.ALWAYS, True)])
def test_a_new_organ_is_learnt_beside_the_start_model(tmp_path, names, choice, beside):
    start = write_start(tmp_path / "start", names)
    folder = write_folder(tmp_path / "cts")
    prepare(folder, folder / "learnt", replace(quick(start), beside=choice))
    assert read_state(folder / "learnt").finetuning.beside is beside


def test_the_command_goes_on_with_a_run_and_says_what_came_of_it(start, tmp_path, capsys):
    folder = write_folder(tmp_path / "meine Fälle ü")
    prepare(folder, tmp_path / "out", quick(start))
    assert main(["learn", str(folder), "-o", str(tmp_path / "out"), "--resume", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "verdict:" in shown
    assert f"page: {tmp_path / 'out' / 'report.html'}" in shown


def test_without_a_run_there_is_nothing_to_go_on_with(tmp_path, capsys):
    folder = tmp_path / "meine Fälle ü"
    folder.mkdir()
    for words, subject, problem in (
            ([tmp_path / "nowhere"], tmp_path / "nowhere", "expected a folder with CTs, found nothing there"),
            ([folder], folder / "learnt", "expected a run of learn to go on with, found none; start without --resume"),
            ([folder, "-o", tmp_path / "out"], tmp_path / "out",
             "expected a run of learn to go on with, found none; start without --resume")):
        assert main(["learn", *map(str, words), "--resume"]) == 1
        assert capsys.readouterr().err == f"error: {subject}: {problem}\n"
    with pytest.raises(UserError, match="expected a run of learn to go on with"):
        learn(folder, resume=True)


def test_the_command_asks_for_yes_where_nobody_can_answer(start, tmp_path, capsys):
    folder = write_folder(tmp_path / "meine Fälle ü")
    assert main(["learn", str(folder), "--model", str(start.folder)]) == 2
    captured = capsys.readouterr()
    assert "Müller 1" in captured.out
    assert "spleen, left_kidney" in captured.out
    error = captured.err.splitlines()[-1]
    assert error.startswith("error: --yes:")
    assert error.endswith(f"partialorganseg learn '{folder}' --resume")
    assert not (folder / "learnt" / "run").exists()


def test_the_command_shows_every_problem_of_the_cases(start, tmp_path, capsys):
    folder = write_folder(tmp_path / "cts")
    prepare(folder, folder / "learnt", quick(start))
    (folder / "b" / "ct.nii.gz").unlink()
    (folder / "nobody" / "image.nii.gz").unlink()
    assert main(["learn", str(folder), "--resume"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines if line.startswith("error:")] == ["b", "nobody"]
    main(["check", str(folder / "learnt" / "manifest.yaml")])
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")] == [
        line for line in lines if line.startswith("error:")]


def test_ending_the_command_names_the_line_that_goes_on(start, tmp_path, capsys, monkeypatch):
    folder = write_folder(tmp_path / "meine Fälle ü")
    prepare(folder, folder / "learnt", quick(start))

    def ended(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("PartialOrganSegLib.finetuning.run.finetune", ended)
    assert main(["learn", str(folder), "--resume"]) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith(
        f"; go on with: partialorganseg learn '{folder}' --resume")


def test_what_is_missing_is_named_with_the_line_that_installs_it(start, tmp_path, capsys, monkeypatch):
    folder = write_folder(tmp_path / "cts")
    monkeypatch.setattr("PartialOrganSegLib.training.packages.NEEDED", ("no_such_package_xyz",))
    for command in (["learn", folder, "--model", start.folder, "--yes"],
                    ["train", "full", "-o", tmp_path / "run", "--set", "manifest=none.yaml"],
                    ["finetune", "--data", folder / "learnt" / "manifest.yaml", "-o", tmp_path / "run"]):
        assert main([str(word) for word in command]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line == (f"error: {command[0]}: expected the package no_such_package_xyz, found none; "
                        "pip install no_such_package_xyz")
    assert not (tmp_path / "run").exists()
