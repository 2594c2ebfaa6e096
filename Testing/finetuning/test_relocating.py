"""A fine-tuning goes on where its project, or its folder alone, was moved or copied, to the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.run import finetune, resume
from Testing.helpers.finetune_data import QUICK, RunListener, ct_of, only, write_cases, write_start
from Testing.helpers.training_runs import equal_weights, state_of


def tune(project: Path, run: Path, reporter: RunListener | None = None) -> None:
    options = FinetuneOptions(steps=3, replay="none", overrides=QUICK)
    finetune(project / "model", project / "Fälle" / "manifest.yaml", run, "cpu", options, None, reporter)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A project of model, cases and a run that was not interrupted."""
    project = tmp_path_factory.mktemp("template") / "project"
    write_start(project / "model")
    write_cases(project / "Fälle", [only(ct_of(seed)[1], 2) for seed in range(2)])
    tune(project, project / "whole")
    return project


@pytest.fixture
def project(template, tmp_path) -> Path:
    """A project with a run that was stopped after its first step."""
    project = tmp_path / "old place" / "project"
    shutil.copytree(template, project)
    write_cases(project / "Fälle", [only(ct_of(seed)[1], 2) for seed in range(2)])  # its images have absolute paths
    with pytest.raises(KeyboardInterrupt):
        tune(project, project / "run", RunListener(1, KeyboardInterrupt()))
    return project


def same_result(run: Path, whole: Path) -> bool:
    result = json.loads((run / "result.json").read_text("utf-8"))
    assert Path(result["model"]) == run / "model"
    assert result["dice"] == json.loads((whole / "result.json").read_text("utf-8"))["dice"]
    return equal_weights(state_of(run)["network"], state_of(whole)["network"])


def test_a_renamed_project(project, tmp_path):
    renamed = tmp_path / "renamed"
    project.parent.rename(renamed)
    resume(renamed / "project" / "run", "cpu")
    assert same_result(renamed / "project" / "run", renamed / "project" / "whole")
    assert not (tmp_path / "old place").exists()


def test_a_run_folder_alone(project, tmp_path):
    run = Path(shutil.move(project / "run", tmp_path / "elsewhere"))
    resume(run, "cpu")
    assert same_result(run, project / "whole")


def test_a_copy_leaves_the_run_that_it_was_made_of(project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project / "run", copy)
    before = {path: path.read_bytes() for path in (project / "run").rglob("*") if path.is_file()}
    resume(copy, "cpu")
    assert same_result(copy, project / "whole")
    assert {path: path.read_bytes() for path in (project / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["manifest.yaml", "recipe.yaml"])
def test_a_move_that_was_killed_is_ended_later(project, tmp_path, name, monkeypatch):
    from PartialOrganSegLib.finetuning import relocating

    run, write = Path(shutil.move(project / "run", tmp_path / "elsewhere")), relocating.whole_file

    def killed(path: Path) -> object:
        if path.name == name:
            raise KeyboardInterrupt
        return write(path)

    with monkeypatch.context() as patch:
        patch.setattr(relocating, "whole_file", killed)
        with pytest.raises(KeyboardInterrupt):
            resume(run, "cpu")
    resume(run, "cpu")
    assert same_result(run, project / "whole")


def test_what_did_not_come_along_is_one_line(project, tmp_path):
    run = Path(shutil.move(project / "run", tmp_path / "elsewhere"))
    shutil.rmtree(project / "Fälle")
    with pytest.raises(UserError, match=r"_image\.nii\.gz: expected this image of the run, found none"):
        resume(run, "cpu")


def test_another_image_at_its_place_is_refused(project, tmp_path):
    """The run's folder was moved alone, into a project with files of the same names."""
    write_cases(tmp_path / "other" / "project" / "Fälle", [only(ct_of(seed)[1], 2) for seed in range(2)],
                images=[ct_of(8)[0], ct_of(9)[0]])
    run = Path(shutil.move(project / "run", tmp_path / "other" / "project" / "run"))
    shutil.rmtree(project / "Fälle")
    with pytest.raises(UserError, match="expected the image as it was when the run began, found another one"):
        resume(run, "cpu")
