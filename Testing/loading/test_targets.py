"""`Targets` on their way from the sampler to the losses: together, apart, coarser, cropped."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.annotation import OUTSIDE, UNKNOWN, CandidateTable, Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.loading.augmentation import Augmentation
from PartialOrganSegLib.loading.cache import cache_cases
from PartialOrganSegLib.loading.sampling import PatchSampler, as_unlabelled
from PartialOrganSegLib.loading.targets import SoftMap, Targets
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.training_data import SPACING_ZYX, write_case

# Rows 0 and 1 are unknown and outside; then two classes alone and a pair.
SETS = torch.tensor([[True] * 3, [True] * 3, [True, False, False], [False, True, False], [True, False, True]])


def everything(seed: int, size: tuple[int, ...] = (4, 6, 8), batch: int = 2) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    return Targets(
        torch.randint(0, 5, (batch, *size), generator=generator).to(torch.uint8), SETS,
        torch.rand(batch, 1, *size, generator=generator), torch.rand(batch, 3, *size, generator=generator),
        SoftMap(torch.randint(0, 255, (batch, 2, *size), generator=generator).to(torch.uint8),
                torch.tensor([[True, True, False], [False, False, True]])),
        torch.tensor([True, False])[:batch], voxels_per_set=7)


def test_pooled_takes_centres_and_averages_the_image():
    targets = everything(0)
    coarse = targets.pooled((2, 3, 4))
    centres = (..., slice(1, None, 2), slice(1, None, 2), slice(1, None, 2))
    assert torch.equal(coarse.candidate_map, targets.candidate_map[centres])
    assert torch.equal(coarse.teacher, targets.teacher[centres])
    assert torch.equal(coarse.soft.probabilities, targets.soft.probabilities[centres])
    blocks = targets.image.numpy().reshape(2, 1, 2, 2, 3, 2, 4, 2)
    np.testing.assert_allclose(coarse.image.numpy(), blocks.mean((3, 5, 7)), rtol=1e-5)
    assert coarse.finer_map is None
    assert torch.equal(coarse.fully_labelled, targets.fully_labelled)
    assert coarse.voxels_per_set == 7
    assert targets.pooled((2, 3, 4), by_share=True).finer_map is targets.candidate_map


@pytest.mark.parametrize("size", [(2, 6, 8), (1, 5, 7), (4, 6, 8)])
def test_central_is_the_same_part_of_everything(size):
    targets = everything(1)
    window = (..., *(slice((full - part) // 2, (full - part) // 2 + part)
                     for full, part in zip((4, 6, 8), size, strict=True)))
    middle = targets.central(size)
    for name in ("candidate_map", "image", "teacher"):
        assert torch.equal(getattr(middle, name), getattr(targets, name)[window])
    assert torch.equal(middle.soft.probabilities, targets.soft.probabilities[window])
    assert torch.equal(middle.fully_labelled, targets.fully_labelled)


def test_to_moves_every_tensor():
    moved = everything(2).to("meta")
    tensors = [moved.candidate_map, moved.candidate_sets, moved.image, moved.teacher, *moved.soft, moved.fully_labelled]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_joined_is_one_batch_and_lacking_soft_targets_are_zeros():
    first, second = everything(3), everything(4)
    # Cases with and without a teacher's file are mixed in one batch.
    bare = Targets(second.candidate_map, SETS, second.image, second.teacher, fully_labelled=second.fully_labelled)
    joined = Targets.joined([first, bare, second])
    for name in ("candidate_map", "image", "teacher", "fully_labelled"):
        parts = [getattr(part, name) for part in (first, bare, second)]
        assert torch.equal(getattr(joined, name), torch.cat(parts))
    soft = joined.soft.probabilities
    assert torch.equal(soft, torch.cat([first.soft.probabilities, torch.zeros_like(soft[:2]),
                                        second.soft.probabilities]))
    assert soft.dtype == torch.uint8
    assert Targets.joined([bare, bare]).soft is None


def test_loader_processes_can_send_them():
    # Worker processes of PyTorch's loader pickle what they send.
    sent = pickle.loads(pickle.dumps(everything(5)))
    assert torch.equal(sent.candidate_map, everything(5).candidate_map)


@pytest.mark.parametrize(("change", "message"), [
    ({"image": torch.zeros(1, 1, 4, 6, 8)}, "image"), ({"teacher": torch.zeros(2, 2, 4, 6, 8)}, "expected 3 classes"),
    ({"soft": SoftMap(torch.zeros(2, 3, 4, 6, 8), SETS[:2])}, "soft targets"),
    ({"fully_labelled": torch.tensor([True])}, "2 patches"), ({"candidate_sets": SETS[[0, 2, 3, 4, 4]]}, "row 1"),
    ({"candidate_sets": SETS[[2, 1, 2, 3, 4]]}, "row 0"), ({"candidate_sets": SETS[:1]}, "row 1")])
def test_tensors_that_do_not_fit_are_refused(change, message):
    fitting = {"candidate_map": torch.zeros(2, 4, 6, 8, dtype=torch.uint8), "candidate_sets": SETS}
    with pytest.raises(ValueError, match=message):
        Targets(**{**fitting, **change})


def test_a_sampler_says_what_lies_outside_and_which_cases_are_full(tmp_path: Path):
    """A patch larger than the CT: whatever the case, padding is outside, not unknown, and full stays full."""
    write_case(tmp_path, "a", 0)
    case = Case("a", "a", "d", tmp_path / "a_image.nii.gz", Kind.FULL, label=tmp_path / "a_label.nii.gz")
    table = CandidateTable(WORD16.class_count)
    (full,) = cache_cases([case], WORD16, table, SPACING_ZYX, tmp_path / "cache", Reporter())
    shape = np.array(full.image().shape)
    cut = Augmentation(tuple(int(size) + 4 for size in shape), SPACING_ZYX, (-300.0, 500.0), 60.0, 150.0, strength=0.0)
    for cached, expected in ((full, True), (as_unlabelled(full), False)):
        targets, number = PatchSampler([cached], cut, 0, 9, anywhere=1.0)[3]
        assert number == 3
        assert targets.fully_labelled.tolist() == [expected]
        outside = (targets.candidate_map == OUTSIDE).numpy()
        assert outside.sum() == (shape + 4).prod() - shape.prod()
        assert (targets.image[0, 0].numpy()[outside[0]] == (-300.0 - 60.0) / 150.0).all()
        assert (targets.candidate_map == UNKNOWN).any() == (not expected)
        assert torch.equal(targets.candidate_sets, torch.from_numpy(table.table))
