"""A start model of another label space: what moves, what the teacher says, and what distillation makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.losses import Distillation
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from PartialOrganSegLib.training.transfer import NEW_SHARE, ClassMap, MappedTeacher, class_axes, moved_weights
from Testing.helpers.finetune_data import NETWORK, write_start
from Testing.helpers.listener import Listener
from Testing.helpers.loss_batches import batch, softmax, table_of
from Testing.helpers.training_data import write_manifest, write_recipe

START = label_space_of_names("start", ["liver", "spleen", "pancreas"])
SPACES = st.lists(st.sampled_from(["liver", "spleen", "pancreas", "aorta", "colon"]), min_size=1, max_size=5,
                  unique=True)


def networks(names: list[str]):
    """The start network, the moved one and the teacher, for a run with organs `names`."""
    torch.manual_seed(1)
    start = build_network("light_unet", 1, 4, **NETWORK).eval()
    classes = ClassMap.between(START, label_space_of_names("run", names))
    moved = build_network("light_unet", 1, len(names) + 1, **NETWORK).eval()
    moved.load_state_dict(moved_weights(start.state_dict(), "light_unet", NETWORK, 4, classes))
    return start, moved, MappedTeacher(start, classes).eval(), classes


@settings(max_examples=20)
@given(SPACES)
def test_known_classes_stay_as_they_were(names):
    start, moved, teacher, classes = networks(names)
    image = torch.randn(1, 1, 4, 8, 8)
    with torch.no_grad():
        before, after, taught = (softmax(network(image).numpy())[0] for network in (start, moved, teacher))
        raw, raw_after = start(image).numpy()[0], moved(image).numpy()[0]
    background = before[[0, *classes.dropped]].sum(0)
    for label, name in enumerate(["background", *names]):
        old = classes.source[label]
        # A known class keeps its logit; a new one gets a small share of the background's probability.
        if old:
            np.testing.assert_allclose(taught[label], before[START.index(name)], atol=1e-5)
            np.testing.assert_allclose(raw_after[label], raw[old], atol=1e-4)
        else:
            share = NEW_SHARE if label else 1 - NEW_SHARE * len(classes.new)
            np.testing.assert_allclose(taught[label], background * share, atol=1e-5)
            np.testing.assert_allclose(raw_after[label], raw[0] + np.log(share), atol=1e-4)
    if not classes.dropped:
        np.testing.assert_allclose(after, taught, atol=1e-5)


@pytest.mark.parametrize("count", [20, 21, 99, 100, 200])
def test_any_number_of_new_classes_leaves_the_background_its_voxels(count):
    """With a hundredth each, a hundred new classes left nothing, and their logarithm ended the run."""
    start, moved, teacher, _ = networks(["liver", "spleen", "pancreas", *(f"organ_{n}" for n in range(count))])
    image = torch.randn(1, 1, 4, 8, 8)
    with torch.no_grad():
        before, after, taught = (softmax(network(image).numpy())[0] for network in (start, moved, teacher))
    np.testing.assert_allclose(after, taught, atol=1e-5)
    np.testing.assert_allclose(after[1:4], before[1:4], atol=1e-5)
    np.testing.assert_allclose(after[0], 0.8 * before[0], atol=1e-5)
    np.testing.assert_allclose(after[4:], np.broadcast_to(0.2 / count * before[0], after[4:].shape), atol=1e-5)


def test_class_axes_are_recognised_for_any_number_of_classes():
    assert {name: axes for name, axes in class_axes("light_unet", NETWORK, 9).items() if axes} == {
        "head.weight": [1], "head.bias": [0]}
    slicewise = class_axes("deeplabv3plus_resnet50", {}, 3)
    assert sorted(name for name, axes in slicewise.items() if axes) == ["network.head.bias", "network.head.weight"]


def expected(logits, teacher, codes, table, new) -> float:
    """KL per voxel with the new classes counted with the background, as far as the voxel may be either."""
    p, t = (np.moveaxis(softmax(array), 1, -1).reshape(-1, logits.shape[1]) for array in (logits, teacher))
    # To the teacher a new organ is background: only the sum of both can be compared.
    joined, values = [0, *new], []
    unchanged = [label for label in range(logits.shape[1]) if label not in joined]
    for student, target, allowed in zip(p, t, table[codes.ravel()], strict=True):
        if allowed.sum() < 2:
            continue
        target_shares = [target[joined].sum() * allowed[joined].any()] + [target[c] * allowed[c] for c in unchanged]
        student_shares = [sum(student[c] for c in joined if allowed[c])] + [student[c] * allowed[c] for c in unchanged]
        target_shares, student_shares = (np.array(shares) / sum(shares) for shares in (target_shares, student_shares))
        values.append(sum(w * np.log(w / g) for w, g in zip(target_shares, student_shares, strict=True) if w > 0))
    return float(np.mean(values))


@pytest.mark.parametrize("new", [[3], [2, 4]])
@pytest.mark.parametrize("sets", [({1},), ({0, 1, 2}, {1, 2}), ({3}, {0, 1, 2, 4}, {1, 3})])
def test_distillation_joins_new_classes_to_the_background(sets, new):
    table = table_of(5, *sets)
    generator = np.random.default_rng(3)
    logits, teacher = (generator.normal(0, 2, (2, 5, 3, 4)) for _ in range(2))
    codes = generator.integers(0, len(table), (2, 3, 4))
    supervision = batch(logits, codes, table, grad=True, teacher=teacher)
    loss = Distillation(new_classes=new)(*supervision)
    assert loss.item() == pytest.approx(expected(logits, teacher, codes, table, new), rel=1e-4)
    loss.backward()
    assert torch.isfinite(supervision.logits.grad).all()


def test_a_new_class_may_take_the_whole_background_at_no_cost():
    """What the teacher calls background may be the new class: moving it there costs nothing, an organ's voxel does."""
    table = table_of(3, {1})
    teacher = np.zeros((1, 3, 1, 2))
    teacher[0, :, 0] = [[5.0, -5.0], [-5.0, 5.0], [0.0, -10.0]]
    student = teacher.copy()
    student[0, 0, 0, 0], student[0, 2, 0, 0] = teacher[0, 2, 0, 0], teacher[0, 0, 0, 0]
    codes = np.zeros((1, 1, 2), int)
    supervision = batch(student, codes, table, teacher=teacher)
    assert float(Distillation(new_classes=[2])(*supervision)) == pytest.approx(0, abs=1e-5)
    assert float(Distillation()(*supervision)) > 1


def test_training_from_a_model_of_other_organs_reports_them(tmp_path):
    start = write_start(tmp_path / "start", ["spleen", "aorta"])
    manifest = write_manifest(tmp_path, 1)
    recipe = write_recipe(tmp_path, manifest, steps=1, start_from=str(start.folder))
    reporter = Listener()
    train(load_recipe(recipe), tmp_path / "run", False, "cpu", reporter)
    assert any(line.startswith("new to the start model start: liver, left_kidney") for line in reporter.warnings)
    assert any("leaves out: aorta" in line for line in reporter.warnings)
    with pytest.raises(UserError, match=r"new_classes: expected \[1, 3, 4, .*found \[\]"):
        train(load_recipe(recipe, ["losses={distillation: 1}"]), tmp_path / "other", False, "cpu", reporter)
