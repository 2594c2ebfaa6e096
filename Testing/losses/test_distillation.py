"""Distillation from a teacher, restricted to what each voxel may be."""

from __future__ import annotations

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import Distillation
from Testing.helpers.loss_batches import OVERLAPPING, PARTITION, SINGLETONS, all_rows, batch, random_case


def expected(logits, teacher, codes, table, temperature, cross_entropy) -> float:
    p, sets, _ = all_rows(logits / temperature, codes, table)
    t, _, _ = all_rows(teacher / temperature, codes, table)
    values = []
    for student, target, candidates in zip(p, t, sets, strict=True):
        if candidates.sum() > 1:
            # Both sides are renormalised over the candidates: what a voxel cannot be is the label's business.
            target = target[candidates] / target[candidates].sum()
            value = -(target * np.log(student[candidates] / student[candidates].sum())).sum()
            values.append(value if cross_entropy else value + (target * np.log(target)).sum())
    # Hinton 2015: the slope falls with the square of the temperature, so the value is multiplied by it.
    return temperature ** 2 * float(np.mean(values))


@pytest.mark.parametrize("cross_entropy", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("table", [PARTITION, OVERLAPPING, SINGLETONS])
def test_formula(table, temperature, cross_entropy):
    logits, codes = random_case(0, table)
    teacher, _ = random_case(1, table)
    value = float(Distillation(temperature, cross_entropy)(*batch(logits, codes, table, teacher=teacher)))
    assert value == pytest.approx(expected(logits, teacher, codes, table, temperature, cross_entropy), rel=1e-5)


def test_slope_is_student_minus_target_on_unknown_voxels():
    logits, codes = random_case(2, PARTITION)
    teacher, _ = random_case(3, PARTITION)
    for cross_entropy in (False, True):
        supervision = batch(logits, codes, PARTITION, grad=True, teacher=teacher)
        Distillation(cross_entropy=cross_entropy)(*supervision).backward()
        p, sets, _ = all_rows(logits, codes, PARTITION)
        t = all_rows(teacher, codes, PARTITION)[0] * sets
        unknown = sets.sum(1) > 1
        p = p * sets  # of the candidates alone: nothing is said for or against what a voxel cannot be
        slope = (p / p.sum(1, keepdims=True) - t / t.sum(1, keepdims=True)) * unknown[:, None] / unknown.sum()
        gradient = supervision.logits.grad.movedim(1, -1).reshape(-1, 5)
        np.testing.assert_allclose(gradient, slope, atol=1e-6)


def test_the_teacher_itself_costs_nothing():
    logits, codes = random_case(4, SINGLETONS)
    assert float(Distillation()(*batch(logits, codes, SINGLETONS, teacher=logits))) == pytest.approx(0, abs=1e-6)


def test_no_slope_reaches_the_teacher():
    logits, codes = random_case(5, PARTITION)
    supervision = batch(logits, codes, PARTITION, grad=True, teacher=logits)
    # A mean teacher shares its architecture with the student; a slope into it would train both.
    supervision.targets.teacher.requires_grad_()
    Distillation()(*supervision).backward()
    assert supervision.targets.teacher.grad is None


def test_a_teacher_sure_of_a_forbidden_class_stays_finite():
    """Organ 1 is annotated, so its merged background cannot be organ 1, whatever the teacher says."""
    teacher = np.full((1, 5, 1, 1, 2), -1e4)
    teacher[:, 1] = 1e4
    codes = np.full((1, 1, 1, 2), 3)
    undecided = batch(np.zeros((1, 5, 1, 1, 2)), codes, PARTITION, teacher=teacher)
    value = float(Distillation(cross_entropy=True)(*undecided))
    assert value == pytest.approx(np.log(PARTITION[3].sum()), rel=1e-5)


def test_without_teacher_the_setting_is_named():
    with pytest.raises(UserError, match="teacher"):
        Distillation()(*batch(*random_case(0, PARTITION), PARTITION))


def test_a_teacher_of_other_classes_is_refused():
    logits, codes = random_case(0, PARTITION)
    with pytest.raises(ValueError, match="teacher"):
        batch(logits, codes, PARTITION, teacher=logits[:, :4])


def test_temperature_must_be_positive():
    with pytest.raises(UserError, match="temperature"):
        Distillation(temperature=0)
