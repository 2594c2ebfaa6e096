"""Candidate sets of every kind of annotation (the table of section 0 of the methods)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import (
    OUTSIDE,
    UNKNOWN,
    CandidateTable,
    Kind,
    encode_labels,
    encode_scribble,
    label_candidates,
)
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16

EVERYTHING = set(range(17))
LIVER, SPLEEN, COLON, RECTUM = (WORD16.index(name) for name in ("liver", "spleen", "colon", "rectum"))


def candidates(kind: Kind, annotated=(), label_map=None, values=range(17)) -> dict[int, set[int]]:
    sets = label_candidates(kind, annotated, label_map or {}, WORD16, values)
    return {value: set(classes) for value, classes in sets.items()}


def test_full_label_leaves_no_choice():
    assert candidates(Kind.FULL) == {value: {value} for value in range(17)}


def test_partial_label_merges_the_background_with_all_organs_not_annotated():
    sets = candidates(Kind.PARTIAL, ["liver", "spleen"], values=[0, LIVER, SPLEEN])
    assert sets == {0: EVERYTHING - {LIVER, SPLEEN}, LIVER: {LIVER}, SPLEEN: {SPLEEN}}


def test_organ_a_partial_case_does_not_vouch_for_stays_open():
    sets = candidates(Kind.PARTIAL, ["liver"], values=[0, LIVER, COLON])
    assert sets[COLON] == EVERYTHING - {LIVER}
    assert COLON in sets[0]


def test_partial_label_of_all_organs_is_a_full_label():
    assert candidates(Kind.PARTIAL, WORD16.names) == candidates(Kind.FULL)


def test_coarse_label_is_one_of():
    names = {20: ["colon", "rectum"], 10: ["colon", "background"]}
    full = candidates(Kind.FULL, label_map=names, values=[0, 1, 10, 20])
    assert full == {0: {0}, 1: {1}, 10: {COLON, 0}, 20: {COLON, RECTUM}}
    partial = candidates(Kind.PARTIAL, ["liver", "colon", "rectum"], names, [0, LIVER, 20])
    assert partial == {0: EVERYTHING - {LIVER, COLON, RECTUM}, LIVER: {LIVER}, 20: {COLON, RECTUM}}


def test_value_of_the_background_can_be_coarse():
    assert candidates(Kind.FULL, label_map={0: ["background", "rectum"]}, values=[0]) == {0: {0, RECTUM}}


@pytest.mark.parametrize("value", [17, 255, -1])
def test_value_that_means_nothing_is_refused(value):
    with pytest.raises(UserError, match=rf"label value {value}: expected 0\.\.16"):
        candidates(Kind.FULL, values=[value])


def test_scribbles_say_nothing_where_nothing_is_drawn():
    table = CandidateTable(17)
    scribble = np.array([255, 255, 0, 5, 255, 0], np.uint8)
    codes = encode_scribble(scribble, table)
    allowed = table.table[codes]
    assert [set(np.flatnonzero(row)) for row in allowed] == [EVERYTHING, EVERYTHING, {0}, {5}, EVERYTHING, {0}]


def test_a_stroke_can_leave_a_choice():
    table = CandidateTable(17)
    codes = encode_scribble(np.array([255, 254, 3, 0], np.uint8), table, meaning={254: frozenset({10, 13})})
    allowed = table.table[codes]
    assert [set(np.flatnonzero(row)) for row in allowed] == [EVERYTHING, {10, 13}, {3}, {0}]


def test_unknown_and_outside_are_codes_of_their_own_that_exclude_nothing():
    table = CandidateTable(5)
    assert table.code(range(5)) == UNKNOWN == 0
    assert OUTSIDE == 1
    assert table.table.tolist() == [[True] * 5] * 2
    assert table.singletons() == {}


def test_a_set_keeps_its_code():
    table = CandidateTable(4)
    codes = [table.code({0, 1}), table.code([2]), table.code([1, 0, 1])]
    assert codes == [2, 3, 2]
    assert table.singletons() == {3: 2}


def test_another_tables_codes_keep_their_meaning():
    # The same sets under other codes: what is saved with one table must not be read with another.
    theirs, ours = CandidateTable(4), CandidateTable(4)
    for classes in ([2], [0, 1]):
        theirs.code(classes)
    ours.code([3])
    codes = np.array([[UNKNOWN, OUTSIDE], [theirs.code([2]), theirs.code([0, 1])]])
    translated = ours.translation(np.flatnonzero(row) for row in theirs.table)[codes]
    assert translated[0].tolist() == [UNKNOWN, OUTSIDE]
    assert np.array_equal(ours.table[translated], theirs.table[codes])


@pytest.mark.parametrize("wrong", [[], [4], [-1, 0]])
def test_empty_and_unknown_sets_are_refused(wrong):
    with pytest.raises(ValueError, match="non-empty subset"):
        CandidateTable(4).code(wrong)


def test_codes_fit_a_byte():
    table = CandidateTable(17)
    # 299 different sets, as the bits of 1 to 299.
    sets = [{c for c in range(9) if number >> c & 1} for number in range(1, 300)]
    assert [table.code(classes) for classes in sets[:254]] == list(range(2, 256))
    with pytest.raises(UserError, match="more than 255"):
        table.code(sets[254])


@settings(max_examples=40)
@given(st.sets(st.integers(1, 16), min_size=1), st.lists(st.integers(0, 16), min_size=1, max_size=30))
def test_encoded_partial_label_allows_what_the_definition_allows(annotated, values):
    names = [WORD16.names[index - 1] for index in annotated]
    labels = np.array(values, np.int16).reshape(1, 1, -1)
    table = CandidateTable(17)
    sets = label_candidates(Kind.PARTIAL, names, {}, WORD16, sorted(set(values)))
    codes = encode_labels(labels, sets, table)
    allowed = table.table[codes][0, 0]
    for value, row in zip(values, allowed, strict=True):
        expected = {value} if value in annotated else EVERYTHING - annotated
        assert set(np.flatnonzero(row)) == expected
