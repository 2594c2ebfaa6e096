"""What a stroke makes doubtful: labels that it contradicts; of one that it grazes, what lies near the stroke alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining import judgement
from PartialOrganSegLib.refining.questioning import GRAZED_MM, in_question
from PartialOrganSegLib.refining.session import RefineSession

SPACING = (5.0, 2.0, 2.0)
LIVER, KIDNEY, STOMACH = (WORD16.index(name) for name in ("liver", "right_kidney", "stomach"))
EVERY = np.ones(256, bool)


def halves() -> np.ndarray:
    """Background, then a kidney from column 40 on."""
    labels = np.zeros((8, 30, 60), np.uint8)
    labels[..., 40:] = KIDNEY
    return labels


def line(first: int, stop: int) -> np.ndarray:
    stroke = np.zeros((8, 30, 60), bool)
    stroke[4, 15, first:stop] = True
    return stroke


def test_of_a_grazed_label_only_what_is_near_the_stroke_is_doubtful():
    labels, stroke = halves(), line(11, 42)  # 2 of 31 voxels in the kidney
    doubtful = in_question(labels, stroke, EVERY, SPACING)
    assert doubtful[labels == 0].all()
    gap = ndimage.distance_transform_edt(~(stroke & (labels == KIDNEY)), sampling=SPACING)
    kidney = labels == KIDNEY
    np.testing.assert_array_equal(doubtful[kidney], gap[kidney] <= GRAZED_MM)
    assert 0 < doubtful[kidney].sum() < kidney.sum()


def test_what_a_tenth_of_a_stroke_lies_in_is_doubtful_as_a_whole():
    assert in_question(halves(), line(31, 41), EVERY, SPACING).all()


def test_what_may_not_change_is_not_doubtful_and_neither_is_what_no_stroke_contradicts():
    labels = halves()
    labels[:, :5] = LIVER
    may_change = EVERY.copy()
    may_change[KIDNEY] = False
    doubtful = in_question(labels, line(20, 60), may_change, SPACING)
    np.testing.assert_array_equal(doubtful, labels == 0)


@given(st.integers(0, 59), st.integers(1, 60))
def test_all_that_was_drawn_over_is_doubtful(first: int, length: int):
    stroke = line(first, first + length)
    assert in_question(halves(), stroke, EVERY, SPACING)[stroke].all()


@pytest.mark.parametrize(("first", "stop", "is_grazed"), [(11, 42, True), (20, 58, False)])
def test_a_stroke_that_grazes_a_neighbour_leaves_the_rest_of_it(
        first: int, stop: int, is_grazed: bool, monkeypatch: pytest.MonkeyPatch):
    # The rule alone: the network sees in one grey value everywhere that there is nothing to go by.
    monkeypatch.setattr(judgement, "LEARNED_SHARE", 0.0)
    labels = halves()
    hu = np.full(labels.shape, 60, np.int16)  # the neighbour looks like what was drawn
    grid = Grid((60, 30, 8), (2.0, 2.0, 5.0))
    stroke = line(first, stop)
    drawn = np.where(stroke, STOMACH, 255).astype(np.uint8)
    session = RefineSession(Volume(hu, grid), Volume(labels, grid), WORD16)
    after = session.add(Volume(drawn, grid)).labels.array
    far = ndimage.distance_transform_edt(~(stroke & (labels == KIDNEY)), sampling=SPACING) > GRAZED_MM
    assert (after[stroke] == STOMACH).all()
    assert bool(((labels == KIDNEY) & (after == STOMACH) & far).any()) != is_grazed
