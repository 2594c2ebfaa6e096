"""The parts of a fine-tuning run: label spaces, what is left out, the budget, the judgement and the command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import OUTSIDE, CandidateTable
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.budget import BESIDE, MOST_STEPS, make_budget, network_voxels
from PartialOrganSegLib.finetuning.case_preparation import Translation, prepare_cases
from PartialOrganSegLib.finetuning.cases import PreparedCase, fingerprint
from PartialOrganSegLib.finetuning.measured_on import MeasuredOn
from PartialOrganSegLib.finetuning.outcome import START, TUNED, Findings, Outcome, compare, table
from PartialOrganSegLib.finetuning.plan import Plan
from PartialOrganSegLib.finetuning.replay import ReplayRequest, make_replay
from PartialOrganSegLib.finetuning.slabs import Slab, split_by_slabs
from PartialOrganSegLib.finetuning.speed import CaseGroup, Speed, labelled_patch, measure_speed
from PartialOrganSegLib.finetuning.verdict import Verdict, VerdictKind
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.loading.cache import cache_cases
from PartialOrganSegLib.models.metadata import Lineage, ParentEntry
from PartialOrganSegLib.organs import WORD16, label_space_of_names
from PartialOrganSegLib.training.recipe import Recipe
from Testing.helpers.finetune_data import ORGANS, ct_of, small_phantom, three_patients, write_cases, write_start
from Testing.helpers.training_data import write_yaml

SPACE = label_space_of_names("small", ORGANS)
NAMES = st.lists(st.sampled_from(["liver", "spleen", "aorta", "colon"]), min_size=1, max_size=4, unique=True)


@given(NAMES, NAMES, st.data())
def test_candidate_sets_keep_their_meaning_in_another_label_space(old_names, run_names, data):
    old_space, run_space = label_space_of_names("own", old_names), label_space_of_names("run", run_names)
    translate = Translation(old_space, run_space)
    anything = frozenset(range(old_space.class_count))
    classes = data.draw(st.frozensets(st.integers(0, len(old_names)), min_size=1))
    translated = translate(classes)
    lost = any(old_space.index(name) in classes for name in old_names if name not in run_names)
    for name in run_names:
        # An organ that the case's label space lacks was background in it, or one of those that are now left out.
        possible = old_space.index(name) in classes if name in old_names else 0 in classes or lost
        assert (run_space.index(name) in translated) == possible
    assert (0 in translated) == (0 in classes or lost)
    assert translate(anything) == frozenset(range(run_space.class_count))

    annotated = data.draw(st.sets(st.sampled_from([run_space.index(name) for name in run_names])))
    with_annotated = Translation(old_space, run_space, annotated=annotated)(classes)
    if translated & annotated:
        assert with_annotated == translated
    else:
        assert with_annotated == frozenset(range(run_space.class_count)) - annotated


@pytest.fixture(scope="module")
def three_cases(tmp_path_factory) -> list[PreparedCase]:
    """Three fully labelled cases."""
    folder = tmp_path_factory.mktemp("cases ü")
    manifest = load_manifest(write_cases(folder, [ct_of(seed)[1] for seed in range(3)], "full"))
    return prepare_cases(manifest.cases, Translation(SPACE, SPACE), (3.0, 2.0, 2.0), folder / "prepared", Reporter())


def test_prepared_cases_hold_what_was_annotated(three_cases):
    for seed, case in enumerate(three_cases):
        codes, labels = read_labelmap(case.candidate_map).array, ct_of(seed)[1]
        meaning = np.array([next(iter(classes)) if len(classes) == 1 else -1 for classes in case.candidate_sets])
        assert (meaning[codes] == labels).all()
        assert case.organs == [1, 2, 3]
        assert case.voxels[2] == (labels == 2).sum()
        assert case.slices[3].tolist() == np.flatnonzero((labels == 3).any((1, 2))).tolist()
    assert fingerprint(three_cases) == fingerprint(three_cases[::-1]) != fingerprint(three_cases[:2])


def test_voxels_without_strokes_are_not_learnt_from_not_even_air(tmp_path):
    drawn = np.where(ct_of(0)[1] == 2, 2, 255).astype(np.uint8)
    # A row of background strokes, in air: what is drawn counts, what is air without a stroke does not.
    drawn[:, -1] = 0
    manifest = load_manifest(write_cases(tmp_path, [drawn], "scribble", label_space=["liver", "spleen"]))
    case, = prepare_cases(manifest.cases, Translation(manifest.label_space, SPACE), (3.0, 2.0, 2.0),
                          tmp_path / "prepared", Reporter())
    write_yaml(tmp_path / "run.yaml", {"label_space": list(ORGANS), "datasets": [
        {"name": "cases", "cases": [case.entry(SPACE)]}]})
    table = CandidateTable(SPACE.class_count)
    cached, = cache_cases(load_manifest(tmp_path / "run.yaml").cases, SPACE, table, (3.0, 2.0, 2.0),
                          tmp_path / "cache", Reporter(), air_is_background=True)
    allowed = table.table[cached.codes()]
    assert (allowed.all(-1) == (drawn == 255)).all()
    assert (allowed[drawn == 2] == [False, False, True, False]).all()
    assert (allowed[drawn == 0] == [True, False, False, True]).all()  # the kidney was not in the list drawn from


def test_phantoms_measure_kept_organs_only(tmp_path, monkeypatch):
    """The spleen was changed, the liver is measured elsewhere: a phantom vouches for neither, but for the kidney. What
    is trained on tells where the spleen is and nothing else, and is seen anywhere without telling even that."""
    monkeypatch.setattr("PartialOrganSegLib.finetuning.replay.make_phantom", small_phantom)
    request = ReplayRequest("phantoms", WORD16, (3.0, 2.0, 2.0), changed=[2], measured_elsewhere=[1])
    replay = make_replay(request, tmp_path, Reporter())
    assert [len(replay.training), len(replay.measured)] == [2, 2]
    assert all(case.organs == [2] for case in replay.training)
    # A phantom is no patient: it may teach where the spleen is, not how other organs look.
    all_but_spleen = frozenset(range(WORD16.class_count)) - {2}
    assert all(set(case.candidate_sets[OUTSIDE + 1:]) == {frozenset({2}), all_but_spleen} for case in replay.training)
    assert [(case.image, case.labelled) for case in replay.anywhere] == [
        (case.image, False) for case in replay.training]
    assert all(case.organs == [3] for case in replay.measured)
    assert frozenset({0, 2}) in replay.measured[0].candidate_sets
    assert 2 not in replay.measured_on
    assert not make_replay(replace(request, source="none"), tmp_path, Reporter()).training


RECIPE = Recipe(manifest=Path("m.yaml"), preprocessing={"patch_zyx": (8, 16, 16)}, batch_size=1)


@given(st.floats(0.01, 100), st.floats(0.001, 10), st.floats(1e-9, 1e-4), st.floats(0, 3),
       st.lists(st.tuples(*[st.integers(4, 60)] * 3), max_size=4), st.sampled_from(["cpu", "cuda"]),
       st.integers(1, 30), st.integers(0, 3))
def test_the_budget_is_kept_where_steps_are_free_to_choose(minutes, step, voxel, patch, shapes, device, cases, trials):
    budget = make_budget(minutes, Speed(step, voxel, patch), RECIPE, shapes, (2, 4, 4), torch.device(device), cases,
                         trials=trials)
    assert 1 <= budget.steps <= budget.step_limit <= MOST_STEPS
    assert 1 <= budget.measure_every <= budget.steps
    if budget.steps > 1:
        assert budget.seconds <= 60 * minutes + 1e-6


def test_a_number_of_steps_that_the_user_chose_is_not_changed():
    budget = make_budget(1, Speed(2.0, 0, 0), RECIPE, [], (2, 4, 4), torch.device("cpu"), 1, steps=7)
    assert (budget.steps, budget.step_limit, budget.seconds) == (7, 7, 14.0 + BESIDE)


def test_trials_that_would_leave_no_time_to_learn_are_left_out():
    """A busy machine needs 40 s to measure: before the first step and after the last is all that four minutes allow."""
    shape = (40, 40, 40)
    free = make_budget(4, Speed(1.0, 1e-9, 0), RECIPE, [shape], (2, 4, 4), torch.device("cpu"), 1, trials=4)
    voxels = network_voxels(shape, RECIPE, (2, 4, 4))
    busy = make_budget(4, Speed(1.0, 40 / voxels, 0), RECIPE, [shape], (2, 4, 4), torch.device("cpu"), 1, trials=4)
    assert (free.trials, free.measurements) == (4, 4)
    assert (busy.trials, busy.measurements) == (0, 1)
    assert busy.steps > 100
    assert busy.seconds <= 240


def test_every_alpha_that_is_tried_takes_a_measurement():
    shape = (8, 16, 16)  # one window
    plain, tried = (make_budget(1, Speed(2.0, 1e-3, 0), RECIPE, [shape], (2, 4, 4), torch.device("cpu"), 1, steps=7,
                                trials=trials).seconds for trials in (0, 3))
    assert tried == pytest.approx(plain + 3 * 1e-3 * np.prod(shape))


def test_a_few_cases_do_not_take_all_the_minutes_there_are():
    steps = [make_budget(60, Speed(0.5, 0, 0), RECIPE, [], (2, 4, 4), torch.device("cpu"), cases).steps
             for cases in (1, 3, 10, 1000)]
    assert steps == [300, 300, 1000, MOST_STEPS]


PLAN = Plan(start=Path("start"), data=Path("m.yaml"), changed=["spleen"], kept=["liver", "colon"], steps=1, minutes=1,
            measured_on={"spleen": "left-out cases", "liver": MeasuredOn.PHANTOMS},
            lineage=Lineage(parent=ParentEntry(name="a", version="1", sha256="0"), data_sha256="1", learnt={}))


@pytest.mark.parametrize(("before", "after", "selected", "reason"), [
    ({"spleen": 0.5, "liver": 0.9}, {"spleen": 0.6, "liver": 0.881}, TUNED, "no kept organ lost more than 0.02"),
    ({"spleen": 0.5, "liver": 0.9}, {"spleen": 0.9, "liver": 0.86}, START, "liver lost more than 0.02 (0.900 -> 0.86"),
    ({"spleen": 0.5, "liver": 0.9}, {"spleen": 0.5, "liver": 0.95}, START, "no difference found (mean +0.000, 95 %"),
    ({"spleen": 0.5, "liver": 0.9}, {"spleen": 0.3, "liver": 0.95}, START, "got worse (mean -0.200, 95 % interval -"),
    ({"liver": 0.9}, {"liver": 0.9}, START, "spleen could not be measured on a real CT"),
    ({}, {}, START, "spleen could not be measured on a real CT; the start model stays selected, judge"),
])
def test_the_start_model_stays_selected_unless_the_new_one_is_better(before, after, selected, reason):
    plan = PLAN.model_copy(update={"measured_on": dict.fromkeys(["spleen", "liver"], MeasuredOn.CASES)})
    outcome = compare(plan, Findings(before | {"mean": 0.5}, after | {"mean": 0.5}, three_patients(before, after)))
    assert outcome.selected == selected
    assert reason in outcome.reason
    assert "\n" not in outcome.reason
    assert {row.organ: row.group for row in outcome.rows} == {
        name: "changed" if name == "spleen" else "kept" for name in before}


@pytest.fixture
def library(monkeypatch):
    """Records the calls that the library would get."""
    calls = []
    outcome = Outcome([], START, Verdict(VerdictKind.NOTHING_MEASURED))
    result = SimpleNamespace(outcome=outcome, bundle=SimpleNamespace(folder=Path("run/model")), selected=Path("start"))

    def record(name):
        return lambda *settings: calls.append((name, *settings[:-1])) or result

    monkeypatch.setitem(sys.modules, "PartialOrganSegLib.finetuning.run",
                        SimpleNamespace(finetune=record("finetune"), resume=record("resume")))
    return calls


def test_the_command_hands_its_settings_on(library, capfd):
    assert main(["finetune", "--data", "m.yaml", "-o", "run", "--minutes", "3", "--validate", "a,b", "--json-events",
                 "--replay", "none", "--set", "seed=3", "--device", "cpu"]) == 0
    *call, options, recipe = library[0]
    assert call == ["finetune", "embedded", Path("m.yaml"), Path("run"), "cpu"]
    assert recipe is None
    assert (options.minutes, options.validate, options.replay) == (3.0, ["a", "b"], "none")
    assert (options.overrides, options.only_listed, options.force) == (["seed=3"], False, False)
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    finished = next(event for event in events if event["event"] == "result")
    assert finished["selected"] == "start"
    assert finished["selected_model"] == "start"
    assert any(event["event"] == "warning" and "start model stays" in event["message"] for event in events)
    assert main(["finetune", "-o", "run", "--resume"]) == 0
    assert library[1] == ("resume", Path("run"), "auto")


@pytest.mark.parametrize(("words", "message"), [
    (["-o", "run"], "--data: expected a manifest"),
    (["-o", "run", "--resume", "--data", "m.yaml"], "expected only -o RUN and --device beside it, found --data"),
    (["-o", "run", "--resume", "--name", "a", "--steps", "9", "--set", "seed=1"], "found --steps, --name, --set"),
    (["-o", "run", "--data", "m.yaml", "--steps", "0"], "--steps: expected a number from 1 to 1000000"),
    (["-o", "run", "--data", "m.yaml", "--minutes", "-1"], "expected a number of minutes above 0"),
    (["-o", "run", "--data", "m.yaml", "--minutes", "1e9"], "of minutes above 0 and below 100000, found '1e9'"),
    (["-o", "run", "--data", "m.yaml", "--name", "größe"], "--name: expected at most 64 of a-z"),
    (["-o", "run", "--data", "m.yaml", "--replay", "phantom"], "found 'phantom' (did you mean 'phantoms'?)"),
])
def test_wrong_use_ends_with_one_line(library, words, message, capsys):
    assert main(["finetune", *words]) == 2
    assert message in capsys.readouterr().err
    assert library == []


def test_the_table_says_what_each_organ_was_measured_on():
    before, after = {"spleen": 0.5, "liver": 0.9}, {"spleen": 0.6, "liver": 0.9}
    rows = table(compare(PLAN, Findings(before, after, three_patients(before, after))))
    assert [(row["organ"], row["change"], row["measured on"]) for row in rows] == [
        ("spleen", "+0.100", "left-out cases"), ("liver", "+0.000", "phantoms")]
    assert rows[0]["95 % interval"].startswith("+0.0")
    assert rows[1]["95 % interval"] == ""  # phantoms are nobody's


def test_speed_is_measured_with_the_start_model_on_what_cases_hold(three_cases, tmp_path):
    start = write_start(tmp_path / "start")
    # Measuring draws random patches.
    state = torch.get_rng_state()
    speed = measure_speed(RECIPE.changed(half_precision=False), start, SPACE, torch.device("cpu"),
                          [CaseGroup(0.75, three_cases), CaseGroup(0.25, [])])
    assert min(speed.step, speed.voxel, speed.patch) > 0
    assert torch.equal(state, torch.get_rng_state())  # the run's own random numbers are untouched


def test_a_labelled_patch_holds_a_case_as_it_is_at_the_working_spacing(three_cases):
    original = read_labelmap(three_cases[0].candidate_map).canonical().array
    larger = [size + 6 for size in three_cases[0].shape]
    patch = labelled_patch(three_cases[0], larger)
    assert patch.shape == tuple(larger)
    assert (patch[three_cases[0].shape[0]:] == OUTSIDE).all()
    volume = original.size / np.prod(three_cases[0].shape)  # of a voxel at the working spacing in the CT's own voxels
    for code in range(OUTSIDE + 1, len(three_cases[0].candidate_sets)):
        assert (patch == code).sum() * volume == pytest.approx((original == code).sum(), rel=0.1)


def test_a_labelled_patch_lies_where_the_labels_are(three_cases, tmp_path):
    case = three_cases[0]
    top = max(slices[-1] for slices in case.slices.values())
    _, high = split_by_slabs(case, [Slab(top, top + 1, frozenset(case.organs))], tmp_path)
    assert (labelled_patch(high, (3, 16, 16)) > OUTSIDE).any()
    _, nothing = split_by_slabs(case, [], tmp_path)
    assert labelled_patch(nothing, (3, 16, 16)).shape == (3, 16, 16)
    assert not (labelled_patch(nothing, (3, 16, 16)) > OUTSIDE).any()
