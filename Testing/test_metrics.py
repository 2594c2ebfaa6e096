"""Dice where an annotation decides it, against counts made by hand."""

import numpy as np
import pytest

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.evaluation.metrics import candidate_dice, dice


def test_dice_of_two_masks():
    a, b = np.zeros(10, bool), np.zeros(10, bool)
    a[:4], b[2:8] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / (4 + 6))
    assert dice(a, a) == 1
    assert dice(a, np.zeros(10, bool)) == 0
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) is None


def test_only_decided_voxels_count():
    table = CandidateTable(4)
    one, either, rest = table.code({1}), table.code({1, 2}), table.code({0, 3})
    #                 correct  missed  may be 1 or 2   decided not 1   anything
    codes = np.array([one,     one,    either, either, rest, rest,     0, 0])
    predicted = np.array([1,   0,      1, 2,           1, 3,           1, 0])
    value, voxels = candidate_dice(predicted, codes, table.table, [1])
    assert (value, voxels) == (pytest.approx(2 * 1 / (2 + 2)), 2)
    value, voxels = candidate_dice(predicted, codes, table.table, [1, 2])
    assert (value, voxels) == (pytest.approx(2 * 3 / (4 + 4)), 4)


def test_an_invented_organ_counts_as_nought():
    table = CandidateTable(2)
    background = table.code({0})
    assert candidate_dice(np.array([0, 1]), np.full(2, background), table.table, [1]) == (0.0, 0)
    assert candidate_dice(np.array([0, 0]), np.full(2, background), table.table, [1]) == (None, 0)
