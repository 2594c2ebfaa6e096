"""What counts as a gain, a loss and noise: intervals against SciPy, slabs against Dice, and 20 loops of known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from PartialOrganSegLib.evaluation.metrics import candidate_dice, joint_counts
from PartialOrganSegLib.finetuning.drift import CaseLook, OrganLook, drifts
from PartialOrganSegLib.finetuning.evidence import PATIENTS, SLABS, gather_evidence, joint_interval
from PartialOrganSegLib.finetuning.measured_on import MeasuredOn
from PartialOrganSegLib.finetuning.noise import (
    TYPICAL_WEIGHT,
    corrected,
    overlap_dice,
    paired_interval,
    slab_differences,
)
from PartialOrganSegLib.finetuning.outcome import START, TUNED, Findings, NotTakenOver, compare
from PartialOrganSegLib.finetuning.plan import Plan
from PartialOrganSegLib.finetuning.verdict import VerdictKind
from PartialOrganSegLib.models.metadata import Lineage, ParentEntry
from PartialOrganSegLib.training.overlaps import SLABS as SLAB_COUNT
from PartialOrganSegLib.training.overlaps import CaseOverlaps, Overlap
from Testing.helpers.finetune_data import three_patients

VALUES = st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=12)
OVERLAPS = st.lists(st.tuples(st.integers(0, 50), st.integers(100, 150)), min_size=1, max_size=SLAB_COUNT)


@given(VALUES)
def test_with_many_differences_the_interval_is_student_s(values):
    """The typical spread, where it is the sample's own, changes nothing but the degrees of freedom."""
    spread = float(np.std(values, ddof=1))
    if spread < 1e-6:
        return
    interval = paired_interval(values, spread)
    freedom = TYPICAL_WEIGHT + len(values) - 1
    low, high = stats.t.interval(0.95, freedom, np.mean(values), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.p_lower == pytest.approx(stats.t.cdf(np.mean(values) / stats.sem(values), freedom))


def test_one_in_forty_equal_pairs_seems_a_gain():
    generator = np.random.default_rng(0)
    for spread, typical in ((0.03, 0.03), (0.02, 0.03)):
        higher = sum(paired_interval(generator.normal(0, spread, 4).tolist(), typical).higher for _ in range(4000))
        assert higher / 4000 < 0.03


def test_differences_that_are_alike_by_accident_prove_little():
    assert not paired_interval([0.011, 0.0111, 0.0109], 0.03).higher
    assert paired_interval([0.11, 0.111, 0.109], 0.03).higher


def test_of_twelve_questions_the_smallest_chance_counts_twelvefold():
    chances = {f"organ {number}": 0.01 + number / 100 for number in range(12)}
    assert corrected(chances)["organ 0"] == pytest.approx(0.12)
    assert max(corrected(chances).values()) <= 1
    assert list(corrected(chances).values()) == sorted(corrected(chances).values())


@given(OVERLAPS, st.randoms(use_true_random=False))
def test_the_mean_of_the_slabs_values_is_the_change_of_dice(before, random):
    after = [(random.randint(0, 50), random.randint(100, 150)) for _ in before]
    values = slab_differences(before, after)
    assert len(values) == len(before)
    assert np.mean(values) == pytest.approx(overlap_dice(after) - overlap_dice(before), abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_slabs_add_up_to_the_dice_over_decided_voxels(seed):
    generator = np.random.default_rng(seed)
    table = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]], bool)
    codes = generator.integers(0, 5, (12, 4, 4)).astype(np.uint8)
    codes[:generator.integers(0, 12)] = 1
    predicted = generator.integers(0, 3, codes.shape).astype(np.uint8)
    overlaps = CaseOverlaps(predicted, codes, table)
    for organ in (1, 2):
        dice, _ = candidate_dice(joint_counts(predicted, codes, table.shape), table, [organ])
        slabs = overlaps.slabs(organ)
        assert 1 <= len(slabs) <= SLAB_COUNT
        assert overlap_dice(slabs) == pytest.approx(dice or 0.0)


def overlap(image: str, organ: str, dice: list[float]) -> Overlap:
    return {"image": image, "case": image, "organ": organ,
            "slabs": [(round(5000 * value), 10000) for value in dice]}


def test_three_patients_are_compared_by_patient_and_fewer_by_slab():
    before = [overlap(name, "liver", [0.5, 0.6]) for name in "abcd"]
    after = [overlap(name, "liver", [0.6, 0.7]) for name in "abcd"]
    patients = {"a": "1", "b": "2", "c": "3", "d": "3"}  # two phases of one patient
    evidence = gather_evidence(before, after, patients)["liver"]
    assert (evidence.units, sorted(evidence.differences)) == (PATIENTS, ["1", "2", "3"])
    assert evidence.interval.mean == pytest.approx(0.1)
    few = gather_evidence(before, after, {"a": "1", "b": "2"})["liver"]
    assert (few.units, few.interval.units) == (SLABS, 4)
    assert gather_evidence(before, after, {}) == {}  # phantoms are nobody's
    assert joint_interval([]) is None


def plan_of(changed: list[str], kept: list[str], take_new: bool = False,
            measured_on: MeasuredOn = MeasuredOn.CASES) -> Plan:
    return Plan(start=Path("start"), data=Path("m.yaml"), changed=changed, kept=kept, steps=1, minutes=1,
                measured_on=dict.fromkeys([*changed, *kept], measured_on), take_new=take_new,
                lineage=Lineage(parent=ParentEntry(name="a", version="1", sha256="0"), data_sha256="1", learnt={}))


@dataclass(frozen=True)
class Truth:
    """Of a simulated loop: the true change of each organ's Dice, and the verdict that it deserves."""

    changes: Mapping[str, float]
    kind: VerdictKind


LEARNT, OTHERS = ("liver", "spleen"), tuple(f"organ_{number}" for number in range(12))


def simulated_loop(truth: Truth, patients: int, generator: np.random.Generator,
                   noise: float = 0.06) -> Findings:
    """The overlaps that a loop would measure: every organ has a Dice of its own, every patient a deviation from it that
    both models share, every slab noise, and the change varies from patient to patient by `noise` of what a Dice lacks
    to 1."""
    before, after = [], []
    for organ in (*LEARNT, *OTHERS):
        level = generator.uniform(0.5, 0.9)
        for patient in range(patients):
            lack = 1 - level
            usual = level + generator.normal(0, 0.3 * lack)
            change = truth.changes.get(organ, 0.0) + generator.normal(0, noise * lack)
            slabs = usual + generator.normal(0, 0.15 * lack, SLAB_COUNT)
            changed = slabs + change + generator.normal(0, noise * lack, SLAB_COUNT)
            before.append(overlap(str(patient), organ, np.clip(slabs, 0.02, 0.98).tolist()))
            after.append(overlap(str(patient), organ, np.clip(changed, 0.02, 0.98).tolist()))
    evidence = gather_evidence(before, after, {str(patient): str(patient) for patient in range(patients)})
    return Findings({name: organ.before for name, organ in evidence.items()},
                    {name: organ.after for name, organ in evidence.items()}, evidence)


TRUTHS = (Truth({}, VerdictKind.NO_DIFFERENCE), Truth({"liver": 0.15, "spleen": 0.15}, VerdictKind.BETTER),
          Truth({"liver": 0.15, "spleen": 0.15, "organ_5": -0.25}, VerdictKind.KEPT_ORGAN_LOST),
          Truth({"liver": -0.15, "spleen": -0.15}, VerdictKind.NOT_BETTER))


def test_of_twenty_simulated_loops_nineteen_verdicts_are_right():
    """In batches of twenty, each as a user's year might be: one to six patients, four kinds of truth."""
    generator = np.random.default_rng(2026)
    plan = plan_of(list(LEARNT), list(OTHERS))
    right = []
    for _ in range(10):
        verdicts = []
        for loop in range(20):
            truth = TRUTHS[loop % len(TRUTHS)]
            findings = simulated_loop(truth, 1 + loop % 6, generator)
            outcome = compare(plan, findings)
            verdicts.append(outcome.verdict.kind is truth.kind)
            assert (outcome.selected == TUNED) is (outcome.verdict.kind is VerdictKind.BETTER)
        right.append(sum(verdicts))
    assert min(right) >= 19
    assert np.mean(right) >= 19.5


@pytest.mark.parametrize("noise", [0.03, 0.1])
def test_without_an_effect_the_new_model_is_hardly_ever_taken(noise):
    generator = np.random.default_rng(7)
    plan = plan_of(list(LEARNT), list(OTHERS))
    outcomes = [compare(plan, simulated_loop(TRUTHS[0], 1 + loop % 6, generator, noise)) for loop in range(200)]
    assert sum(outcome.selected == TUNED for outcome in outcomes) <= 10
    # Nor is an organ said to be lost more often than one in twenty times, whichever of the twelve.
    assert sum(outcome.verdict.kind is VerdictKind.KEPT_ORGAN_LOST for outcome in outcomes) <= 10


def test_phantoms_warn_and_decide_nothing():
    plan = plan_of(["liver"], ["spleen"])
    plan = plan.model_copy(update={"measured_on": {"liver": MeasuredOn.CASES, "spleen": MeasuredOn.PHANTOMS}})
    before = [overlap(name, "liver", [0.5] * 5) for name in "abc"]
    after = [overlap(name, "liver", [0.8] * 5) for name in "abc"]
    evidence = gather_evidence(before, after, {name: name for name in "abc"})
    outcome = compare(plan, Findings({"liver": 0.5, "spleen": 0.9}, {"liver": 0.8, "spleen": 0.5}, evidence))
    assert (outcome.selected, outcome.verdict.kind) == (TUNED, VerdictKind.BETTER)
    (warning,) = outcome.drift_warnings()
    assert "spleen: 0.900 -> 0.500 on phantoms" in warning.text()


def test_a_model_that_knew_the_organ_is_said_to_have_little_to_learn():
    before = [overlap(name, "liver", [0.95] * 5) for name in "abc"]
    after = [overlap(name, "liver", [0.951] * 5) for name in "abc"]
    evidence = gather_evidence(before, after, {name: name for name in "abc"})
    findings = Findings({"liver": 0.95}, {"liver": 0.951}, evidence)
    outcome = compare(plan_of(["liver"], []), findings)
    assert (outcome.selected, outcome.verdict.kind) == (START, VerdictKind.NO_DIFFERENCE)
    assert outcome.reason.startswith("no difference found (mean +0.001, 95 % interval -0.0")
    assert outcome.reason.endswith("over 3 patients), the start model already has 0.95 of liver: little to learn; the "
                                   "start model stays selected")
    asked = compare(plan_of(["liver"], [], take_new=True), findings)
    assert asked.selected == TUNED
    assert asked.reason.endswith("the new model is selected all the same, as asked")
    assert asked.verdict.as_data()["already_good"] == ["0.95 of liver"]


def look(case: str, **volumes: tuple[float, float, float]) -> CaseLook:
    return CaseLook(case=case, organs=[
        OrganLook(organ=name, before_ml=before, after_ml=after, agreement=agreement, entropy_before=0.1,
                  entropy_after=0.2) for name, (before, after, agreement) in volumes.items()])


def test_an_organ_that_no_mask_shows_may_not_grow_unseen():
    """The esophagus after an aorta was learnt: half as large again on every CT, while the stomach changed as models
    do."""
    looks = [look(name, esophagus=(20, 31, 0.75), stomach=(250, 262, 0.95), liver=(1500, 1490, 0.97))
             for name in ("a", "b", "c")]
    found = {drift.organ: drift for drift in drifts(looks, ["esophagus", "stomach", "colon"])}
    assert list(found) == ["esophagus", "stomach"]
    assert found["esophagus"].change == pytest.approx(0.55)
    assert [drift.drifted for drift in found.values()] == [True, False]
    assert found["esophagus"].entropy_change == pytest.approx(0.1)
    before, after = {"aorta": 0.0}, {"aorta": 0.77}
    plan = plan_of(["aorta"], ["esophagus", "stomach"])
    outcome = compare(plan, Findings(before, after, three_patients(before, after), list(found.values())))
    assert (outcome.selected, outcome.verdict.kind) == (START, VerdictKind.KEPT_ORGAN_DRIFTED)
    assert outcome.reason.startswith("esophagus changed without being learnt (+55 % of its volume on 3 CTs, 95 %")
    assert [warning.subject for warning in outcome.drift_warnings()] == ["esophagus"]


def test_an_organ_with_masks_is_judged_by_these_and_one_that_moved_by_its_place():
    looks = [look("a", spleen=(200, 210, 0.2), colon=(1.0, 1.2, 0.1))]
    (drift,) = drifts(looks, ["spleen", "colon"])  # a millilitre is stray voxels
    assert drift.drifted
    before = [overlap(name, organ, [0.5] * 5) for name in "abc" for organ in ("liver", "spleen")]
    after = [overlap(name, organ, [0.8] * 5) for name in "abc" for organ in ("liver", "spleen")]
    evidence = gather_evidence(before, after, {name: name for name in "abc"})
    values = {"liver": 0.5, "spleen": 0.5}, {"liver": 0.8, "spleen": 0.8}
    plan = plan_of(["liver"], ["spleen"])
    assert compare(plan, Findings(*values, evidence, [drift])).selected == TUNED
    del evidence["spleen"]
    moved = compare(plan, Findings({"liver": 0.5}, {"liver": 0.8}, evidence, [drift]))
    assert "both models agree to 0.20 on 1 CTs" in moved.reason


def test_what_could_not_be_measured_is_named_beside_what_got_no_better():
    """Of a joined model the strokes' organs are new to all measuring, and the masks' ones stayed as they were."""
    no_better = {name: NotTakenOver(member="dense", dice=0.7) for name in ("liver", "spleen", "stomach", "pancreas",
                                                                         "adrenal")}
    outcome = compare(plan_of(["liver", "spleen", "stomach", "pancreas", "adrenal", "colon", "intestine"], []),
                      Findings({}, {}, not_taken_over=no_better))
    assert outcome.reason == ("colon and intestine could not be measured on a real CT, liver, spleen, stomach and 2 "
                              "more got no better; the start model stays selected, judge the new one by eye")
    assert outcome.as_metrics()["verdict"]["unmeasured"] == ["colon", "intestine"]
