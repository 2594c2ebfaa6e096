"""Dice where an annotation decides it, against counts made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.evaluation.metrics import candidate_dice, dice, joint_counts, left_open


def test_dice_of_two_masks():
    a, b = np.zeros(10, bool), np.zeros(10, bool)
    a[:4], b[2:8] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / (4 + 6))
    assert dice(a, a) == 1
    assert dice(a, np.zeros(10, bool)) == 0
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) is None


def agreement(predicted, codes, table: np.ndarray, classes: list[int]) -> tuple[float | None, int]:
    return candidate_dice(joint_counts(np.array(predicted), np.array(codes), table.shape), table, classes)


def test_only_decided_voxels_count():
    table = CandidateTable(4)
    organ, either, outer = table.code({1}), table.code({1, 2}), table.code({0, 3})
    #           correct  missed  may be 1 or 2   decided not 1   anything
    codes =     [organ,    organ,    either, either, outer, outer,     0, 0]
    predicted = [1,      0,      1,      2,      1,    3,        1, 0]
    assert agreement(predicted, codes, table.table, [1]) == (pytest.approx(2 * 1 / (2 + 2)), 2)
    assert agreement(predicted, codes, table.table, [1, 2]) == (pytest.approx(2 * 3 / (4 + 4)), 4)


def test_an_invented_organ_counts_as_nought():
    table = CandidateTable(2)
    background = table.code({0})
    assert agreement([0, 1], [background] * 2, table.table, [1]) == (0.0, 0)
    assert agreement([0, 0], [background] * 2, table.table, [1]) == (None, 0)


def test_a_coarse_label_that_is_sure_of_no_voxel_gives_no_dice():
    table = CandidateTable(3)
    head_or_none, none = table.code({0, 1}), table.code({0})
    codes = [head_or_none, head_or_none, head_or_none, none, none]

    def judged(predicted: list[int]) -> tuple[float | None, float | None]:
        counts = joint_counts(np.array(predicted), np.array(codes), table.table.shape)
        return candidate_dice(counts, table.table, [1])[0], left_open(counts, table.table, [1])

    assert judged([1, 1, 1, 1, 0]) == (None, 3 / 4)
    assert judged([1, 0, 0, 1, 0]) == (None, 1 / 2)
    assert judged([1, 0, 0, 1, 1]) == (0, None)  # most of it is where it cannot be
    assert judged([0, 0, 0, 0, 0]) == (None, None)


@given(st.integers(0, 2**32 - 1), st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=6),
       st.sets(st.integers(0, 3), min_size=1))
def test_as_the_dice_of_the_masks_that_are_decided(seed, sets, classes):
    generator = np.random.default_rng(seed)
    table = np.array([[label in allowed for label in range(4)] for allowed in sets])
    codes = generator.integers(0, len(sets), (2, 3, 4)).astype(np.uint8)
    predicted = generator.integers(0, 4, codes.shape).astype(np.uint8)
    sure = np.array([allowed <= classes for allowed in sets])[codes]
    decided = sure | np.array([not allowed & classes for allowed in sets])[codes]
    predicted_mask = np.isin(predicted, list(classes)) & decided
    value, voxels = agreement(predicted, codes, table, sorted(classes))
    assert voxels == sure.sum()
    found = np.isin(predicted, list(classes))
    if not sure.any() and found.any() and 2 * (found & decided).sum() <= found.sum():
        assert value is None
        return
    assert value == (None if dice(predicted_mask, sure) is None else pytest.approx(dice(predicted_mask, sure)))
