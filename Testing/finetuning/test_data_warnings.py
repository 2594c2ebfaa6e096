"""What a fine-tuning reports of its cases before it starts, and which cases it cannot learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.plan import Plan
from PartialOrganSegLib.finetuning.preparation import prepare
from PartialOrganSegLib.finetuning.preparation_state import Request
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.resources import resource
from Testing.helpers.finetune_data import QUICK, RunListener, ct_of, only, write_cases, write_start
from Testing.helpers.training_data import write_image, write_yaml


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("Modelle ä") / "start")


def prepared(start: Bundle, data: Path, run: Path, reporter: Reporter | None = None, **settings) -> Plan:
    """All that comes before the first step."""
    run.mkdir(exist_ok=True)
    options = FinetuneOptions(**{"steps": 2, "replay": "none", "overrides": QUICK} | settings)
    recipe = resource("recipes", "finetune.yaml")
    return prepare(Request(start, data, run, recipe, torch.device("cpu"), options), reporter or Reporter())


def strokes(seed: int, *values: int) -> np.ndarray:
    """Strokes of these values in every third row."""
    labels = ct_of(seed)[1]
    drawn = np.where(np.isin(labels, values), labels, 255).astype(np.uint8)
    # Whole rows would be a mask, which is reported; people draw lines with room between them.
    drawn[:, np.arange(drawn.shape[1]) % 3 > 0] = 255
    return drawn


def test_nothing_labelled_is_refused(start, tmp_path):
    data = write_cases(tmp_path, [None, None])
    with pytest.raises(UserError, match="nothing to learn from: expected a voxel labelled in one of 2 cases"):
        prepared(start, data, tmp_path / "run")
    empty = write_cases(tmp_path / "drawn", [np.full((12, 24, 24), 255, np.uint8)], "scribble")
    with pytest.raises(UserError, match="nothing to learn from"):
        prepared(start, empty, tmp_path / "run")


def test_an_image_that_is_no_ct_is_refused_with_its_case(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 2) for seed in range(2)])
    write_image(tmp_path / "1_image.nii.gz", (ct_of(1)[0] + 1000).clip(0).astype(np.int16))
    with pytest.raises(UserError, match=r"case1: .*expected a CT in HU, found .*--force learns from it"):
        prepared(start, data, tmp_path / "run")
    assert not (tmp_path / "run" / "plan.json").exists()


def test_contradictory_labels_are_reported_with_the_number_of_their_voxels(start, tmp_path):
    labels = ct_of(0)[1]
    # The same voxels as the other case's spleen, called liver.
    contradicting = np.where(labels == 2, 1, 0).astype(np.uint8)
    data = write_cases(tmp_path, [only(labels, 2), contradicting], annotated=["liver", "spleen"], seeds=[0, 0])
    reporter = RunListener()
    prepared(start, data, tmp_path / "run", reporter)
    voxel_count = int((labels == 2).sum())
    assert any(f"contradict each other in {voxel_count} voxels (most: spleen against liver)" in line
               for line in reporter.warnings)


def test_a_full_label_that_lacks_an_organ_of_another_case_is_reported(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(0)[1], 1, 3), ct_of(1)[1]], "full")
    reporter = RunListener()
    prepared(start, data, tmp_path / "run", reporter)
    assert any("case0: its full label says there is no spleen, which case1 shows" in line for line in reporter.warnings)


def test_empty_masks_are_no_labels(start, tmp_path):
    empty = np.zeros_like(ct_of(0)[1])
    with pytest.raises(UserError, match="nothing to learn from: expected a voxel labelled in one of 2 cases"):
        prepared(start, write_cases(tmp_path / "empty", [empty, empty]), tmp_path / "run")
    reporter = RunListener()
    prepared(start, write_cases(tmp_path / "one", [empty, only(ct_of(1)[1], 2)]), tmp_path / "run", reporter)
    assert "case0: no voxel is labelled as an organ, which teaches that there is no spleen" in reporter.warnings


def test_background_strokes_alone_can_be_learnt_from(start, tmp_path):
    reporter = RunListener()
    plan = prepared(start, write_cases(tmp_path, [strokes(0, 0)], "scribble"), tmp_path / "run", reporter)
    assert plan.changed == []
    assert "case0: no voxel is labelled as an organ" in reporter.warnings


def test_strokes_without_background_are_reported_and_not_measured(start, tmp_path):
    reporter = RunListener()
    plan = prepared(start, write_cases(tmp_path / "a", [strokes(seed, 2) for seed in range(2)], "scribble"),
                    tmp_path / "run a", reporter)
    assert "spleen" not in plan.measured_on
    assert "case1: no voxel is drawn that is not spleen; nothing keeps it from growing, draw some background" in (
        reporter.warnings)
    assert any(line.startswith("not measured: spleen") for line in reporter.warnings)
    reporter = RunListener()
    plan = prepared(start, write_cases(tmp_path / "b", [strokes(seed, 0, 2) for seed in range(2)], "scribble"),
                    tmp_path / "run b", reporter)
    assert "spleen" in plan.measured_on
    assert not any("keeps it from growing" in line for line in reporter.warnings)


def test_a_scribble_file_that_holds_a_mask_is_reported(start, tmp_path):
    reporter = RunListener()
    prepared(start, write_cases(tmp_path, [only(ct_of(0)[1], 2)], "scribble"), tmp_path / "run", reporter)
    assert any("case0: 100% of the CT is drawn, most of it as background; in a scribble file 255 means not drawn" in
               line for line in reporter.warnings)


def test_an_empty_scribble_file_is_reported_beside_a_good_one(start, tmp_path):
    reporter = RunListener()
    drawn = [strokes(0, 0, 2), np.full_like(ct_of(1)[1], 255)]
    prepared(start, write_cases(tmp_path, drawn, "scribble"), tmp_path / "run", reporter)
    assert "case1: no voxel is labelled as an organ" in reporter.warnings


def test_a_recipe_may_not_leave_cases_out_itself(start, tmp_path):
    recipe = yaml.safe_load(resource("recipes", "finetune.yaml").read_text("utf-8"))
    path = write_yaml(tmp_path / "own.yaml", recipe | {"hold_out": ["case1"]})
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 2) for seed in range(2)])
    request = Request(start, data, tmp_path, path, torch.device("cpu"), FinetuneOptions(overrides=QUICK))
    with pytest.raises(UserError, match=r"expected neither hold_out nor validation\.share, found one; see --validate"):
        prepare(request, Reporter())


def test_an_organ_that_was_perhaps_left_out_is_reported_in_the_usual_run(start, tmp_path, monkeypatch):
    """Two cases, of which slabs are left out: there the parts that are trained on deny nothing."""
    # The CTs of these tests are far smaller than a patient: any volume counts.
    monkeypatch.setattr("PartialOrganSegLib.finetuning.start_predictions.REPORTED_ML", 0.0)
    reporter = RunListener()
    prepared(start, write_cases(tmp_path, [only(ct_of(seed)[1], 2) for seed in range(2)], "full"), tmp_path / "run",
             reporter)
    assert any(line.startswith("case1: its label says that there is none of what the start model finds there: ")
               and "liver" in line and line.endswith("was only not drawn, make the case partial")
               for line in reporter.warnings)


def test_soft_targets_are_reported_as_ignored(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(0)[1], 2)])
    content = yaml.safe_load(data.read_text("utf-8"))
    content["datasets"][0]["cases"][0]["soft_targets"] = "soft.npz"
    data.write_text(yaml.safe_dump(content), "utf-8")
    (tmp_path / "soft.npz").write_bytes(b"")
    reporter = RunListener()
    prepared(start, data, tmp_path / "run", reporter)
    assert any(line.startswith("soft_targets: fine-tuning takes none") for line in reporter.warnings)


def test_two_cases_of_one_image_are_reported(start, tmp_path):
    # One CT annotated twice: to hold out one of the two would measure on what was trained on.
    labels = [only(ct_of(0)[1], 2), only(ct_of(0)[1], 1)]
    reporter = RunListener()
    prepared(start, write_cases(tmp_path, labels, "full", seeds=[0, 0]), tmp_path / "run", reporter)
    assert any("case1 and case0 (one image)" in line for line in reporter.warnings)


def test_datasets_keep_their_weights_beside_each_other(start, tmp_path):
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 2) for seed in range(3)])
    content = yaml.safe_load(data.read_text("utf-8"))
    mine = content["datasets"][0]
    content["datasets"].append(mine | {"name": "dear", "weight": 3.0, "cases": [mine["cases"].pop()]})
    data.write_text(yaml.safe_dump(content), "utf-8")
    prepared(start, data, tmp_path / "run", validate=["none"])
    written = yaml.safe_load((tmp_path / "run" / "manifest.yaml").read_text("utf-8"))["datasets"]
    # Three quarters of the patches are the user's, shared out as the user's weights say.
    assert {entry["name"]: (entry["weight"], len(entry["cases"])) for entry in written} == {
        "cases of mine": (pytest.approx(0.75 / 4), 2), "cases of dear": (pytest.approx(0.75 * 3 / 4), 1)}


def test_a_case_may_have_any_name_and_is_still_trained_on(start, tmp_path):
    """Once these were taken for the run's own slabs and phantoms."""
    data = write_cases(tmp_path, [only(ct_of(seed)[1], 2) for seed in range(3)])
    content = yaml.safe_load(data.read_text("utf-8"))
    names = ["case0", "case0 (slab)", "phantom_2" + "ü" * 90]
    for entry, name in zip(content["datasets"][0]["cases"], names, strict=True):
        entry["name"] = name
    data.write_text(yaml.safe_dump(content), "utf-8")
    prepared(start, data, tmp_path / "run")
    # Endings are added to names, so that a long one is cut first.
    groups = {}
    for dataset in yaml.safe_load((tmp_path / "run" / "manifest.yaml").read_text("utf-8"))["datasets"]:
        groups |= {entry["name"]: entry["group"] for entry in dataset["cases"]}
    assert [groups[name[:54] if "ü" in name else name] for name in names] == ["trained"] * 3
    load_manifest(tmp_path / "run" / "manifest.yaml")  # names with endings are no longer than is allowed
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text("utf-8"))["validation"]["groups"] == ["measured"]


@pytest.mark.parametrize(("override", "message"), [
    ("steps=3", "--set steps: .*see --steps"), ("network.name=dints", "--set network.name: .*by the start model"),
    ("validation.share=0.3", "see --validate"), ("validation={groups: [x]}", "see --validate"),
    ("preprocessing.patch_zyx=[1, 1, 1]", r"expected multiples of \(2, 4, 4\)"),
    ("optimiser.learning_rate=1e38", r"optimiser\.learning_rate: .* in a trial step"),
    (f"seed={10**30}", "seed: Input should be less than")])
def test_impossible_settings_are_refused_in_one_line(start, tmp_path, override, message):
    data = write_cases(tmp_path, [only(ct_of(0)[1], 2)])
    with pytest.raises(UserError, match=message) as error:
        prepared(start, data, tmp_path / "run", overrides=[override])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "plan.json").exists()
