"""Patches are drawn evenly over data sets and organs, and repeatably."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import Case
from PartialOrganSegLib.loading.cache import CachedCase
from PartialOrganSegLib.loading.sampling import PatchSampler
from PartialOrganSegLib.loading.targets import Targets


class _Cut:
    """Stands for the augmentation: draws from the generator and says what it was given."""

    def __call__(self, image, codes, centre, generator, soft):
        place = torch.tensor(np.asarray(centre), dtype=torch.float32).view(1, 1, 1, 3)
        return place, torch.full((1, 1, 3), int(generator.integers(99)), dtype=torch.uint8), soft


def essence(patch: tuple[Targets, int]) -> tuple[list, list, int]:
    targets, number = patch
    return targets.image.tolist(), targets.candidate_map.tolist(), number


def invented_case(folder: Path, name: str, dataset: str, weight: float, voxels: dict[int, int]) -> CachedCase:
    """A cached case of 10 x 12 x 14 voxels with `voxels[label]` remembered positions each."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", np.zeros((10, 12, 14), np.int16))
    case = Case(name, name, dataset, folder / "i", Kind.FULL, weight=weight)
    positions = {}
    for label, count in voxels.items():
        positions[label] = np.full((count, 3), label)
        positions[label][:, 2] += np.arange(count) % 5
    return CachedCase(case, folder / f"{name}.npy", folder / f"{name}.npy", np.arange(99, dtype=np.uint8), positions,
                      CandidateTable(17))


@pytest.fixture
def cases(tmp_path: Path) -> list[CachedCase]:
    return [invented_case(tmp_path, "big", "one", 3.0, {1: 400, 2: 3}),
            invented_case(tmp_path, "small", "one", 3.0, {2: 9, 4: 1}),
            invented_case(tmp_path, "lone", "two", 1.0, {5: 10}), invented_case(tmp_path, "off", "three", 0.0, {6: 10})]


def test_draws_depend_on_seed_and_number_alone(cases):
    forwards = PatchSampler(cases, _Cut(), 3, 50)
    backwards = PatchSampler(cases, _Cut(), 3, 9999)
    in_order = [essence(forwards[n]) for n in range(50)]
    assert [essence(backwards[n]) for n in reversed(range(50))][::-1] == in_order
    # Fifty equal draws would pass the comparison above too.
    assert len({str(draw) for draw in in_order}) > 40
    assert [essence(PatchSampler(cases, _Cut(), 4, 50)[n]) for n in range(50)] != in_order
    assert len(forwards) == 50


def test_datasets_by_weight_and_organs_evenly(cases):
    sampler = PatchSampler(cases, _Cut(), 0, 0, anywhere=0.0)
    draws = [sampler.draw(n) for n in range(4000)]
    # Weights 3 and 1 and 0 for the datasets: a quarter of the draws for "lone", whatever their number of cases.
    names = [cases[case].case.name for case, *_ in draws]
    assert names.count("off") == 0
    assert names.count("lone") / 4000 == pytest.approx(0.25, abs=0.03)
    labels = [int(centre[0]) for case, centre, _ in draws if cases[case].case.dataset == "one"]
    for label in (1, 2, 4):  # however many voxels or cases each has
        assert labels.count(label) / len(labels) == pytest.approx(1 / 3, abs=0.03)
    with_both = [name for name, (_, centre, _) in zip(names, draws, strict=True) if centre[0] == 2]
    assert with_both.count("big") / len(with_both) == pytest.approx(0.5, abs=0.05)


def test_some_patches_lie_anywhere(cases):
    sampler = PatchSampler(cases[:1], _Cut(), 0, 0, anywhere=1.0)
    centres = np.array([sampler.draw(n)[1] for n in range(2000)])
    assert (centres.min(0) == 0).all()
    assert (centres.max(0) == [9, 11, 13]).all()


def test_unlabelled_cases_are_drawn_anywhere(tmp_path: Path):
    sampler = PatchSampler([invented_case(tmp_path, "u", "one", 1.0, {})], _Cut(), 0, 0)
    assert all((sampler.draw(n)[1] < [10, 12, 14]).all() for n in range(20))
