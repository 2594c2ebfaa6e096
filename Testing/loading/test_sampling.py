"""How datasets, kinds and places are mixed in the mini-batches, as the papers' protocols say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.annotation import OUTSIDE, CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import Case
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.loading.cache import CachedCase
from PartialOrganSegLib.loading.sampling import PatchSampler, as_unlabelled


def made_up(folder: Path, name: str, dataset: str, kind: Kind, weight: float = 1.0) -> CachedCase:
    """A cached case of 10 x 12 x 14 voxels that shows background at voxel 0 and organ 1 at voxel 1 of each axis."""
    np.save(folder / f"{name}.npy", np.zeros((10, 12, 14), np.int16))
    case = Case(name, name, dataset, folder / "i", kind, weight=weight)
    return CachedCase(case, folder / f"{name}.npy", folder / f"{name}.npy", np.arange(9, dtype=np.uint8),
                      {label: np.full((1, 3), label) for label in (0, 1)}, CandidateTable(17))


@pytest.fixture
def cases(tmp_path: Path) -> list[CachedCase]:
    return [made_up(tmp_path, "a", "many", Kind.FULL, 5.0), made_up(tmp_path, "b", "many", Kind.FULL, 5.0),
            made_up(tmp_path, "c", "livers", Kind.PARTIAL), made_up(tmp_path, "d", "spleens", Kind.PARTIAL)]


def names(sampler: PatchSampler, count: int) -> list[str]:
    return [sampler.cases[sampler.draw(n)[0]].case.name for n in range(count)]


def test_datasets_equally_often(cases):
    drawn = names(PatchSampler(cases, None, 0, 0, datasets="equal"), 3000)
    for group in ("ab", "c", "d"):
        assert sum(name in group for name in drawn) / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_whole_mini_batches_of_one_dataset_after_the_other(cases):
    drawn = names(PatchSampler(cases, None, 0, 0, datasets="alternate", batch=3), 90)
    datasets = [{"a": "many", "b": "many", "c": "livers", "d": "spleens"}[name] for name in drawn]
    # Each mini-batch of three is of one dataset: statistics of a batch norm never mix them.
    assert datasets == (["many"] * 3 + ["livers"] * 3 + ["spleens"] * 3) * 10


@pytest.mark.parametrize(("share", "batch"), [(0.75, 4), (0.5, 2), (2 / 3, 3), (0.25, 8)])
def test_a_mini_batch_holds_its_share_of_full_cases(cases, share, batch):
    """Zhou 2019, section 4.1: 3 : 1, in every mini-batch."""
    full = np.array([name in "ab" for name in names(PatchSampler(cases, None, 1, 0, full_share=share, batch=batch),
                                                    50 * batch)]).reshape(50, batch)
    assert (full.sum(1) == round(share * batch)).all()


@pytest.mark.parametrize("chosen", [slice(0, 2), slice(2, 4)])
def test_a_share_of_cases_that_do_not_exist_is_refused(cases, chosen):
    with pytest.raises(UserError, match=r"sampling\.full_share: expected fully labelled cases and others"):
        PatchSampler(cases[chosen], None, 0, 0, full_share=0.75)


def test_at_least_one_patch_on_an_organ(cases):
    """Shi 2021, section 4.2: the first of each mini-batch lies on an organ, never on background or anywhere."""
    sampler = PatchSampler(cases, None, 0, 0, anywhere=1.0, foreground=1, batch=2)
    centres = [tuple(sampler.draw(n)[1]) for n in range(200)]
    assert set(centres[::2]) == {(1, 1, 1)}
    # The second of each pair lies anywhere.
    assert len(set(centres[1::2])) > 50


def test_the_background_need_not_count_as_an_organ(cases):
    """Where masks are partial it is the air round the body, which half of the patches of a single organ would show."""
    positions = {0: np.array([[0, 0, 0]]), 2: np.array([[1, 1, 1]])}
    both = replace(cases[0], positions=positions)
    for background, centres in ((True, {(0, 0, 0), (1, 1, 1)}), (False, {(1, 1, 1)})):
        sampler = PatchSampler([both], None, 0, 0, anywhere=0.0, background=background)
        assert {tuple(sampler.draw(n)[1]) for n in range(50)} == centres
    # A case without an organ is seen anywhere.
    air = PatchSampler([replace(cases[0], positions={0: positions[0]})], None, 0, 0, anywhere=0.0, background=False)
    assert len({tuple(air.draw(n)[1]) for n in range(50)}) > 30


def test_unlabelled_means_that_nothing_of_the_annotation_is_seen(cases):
    hidden = as_unlabelled(cases[0])
    assert not hidden.codes().any()
    assert not hidden.fully_labelled
    assert hidden.translation[OUTSIDE] == OUTSIDE
    assert hidden.positions == {}
    sampler = PatchSampler([hidden], None, 0, 0)
    assert len({tuple(sampler.draw(n)[1]) for n in range(50)}) > 30


def test_a_draw_is_told_by_case_and_place(cases):
    sampler = PatchSampler(cases, None, 0, 0, anywhere=0.0, foreground=1)
    assert sampler.describe(5) == f"{names(sampler, 6)[5]} at (1, 1, 1)"
