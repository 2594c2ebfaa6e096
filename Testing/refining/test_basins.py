"""The side of the CT's edges that a stroke lies on, and what it does to a thick error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining import judgement, neighbourhood, rule
from PartialOrganSegLib.refining.basins import CORE_MM, basin, core
from PartialOrganSegLib.refining.session import RefineSession

SHAPE, SPACING = (16, 40, 80), (3.0, 2.0, 2.0)
STOMACH = WORD16.index("stomach")


def two_halves(hu: tuple[float, float]) -> np.ndarray:
    """Tissue of one HU on the left, of another on the right, and noise."""
    values = np.full(SHAPE, hu[0], np.float32)
    values[..., SHAPE[2] // 2:] = hu[1]
    return values + np.random.default_rng(0).normal(0, 5, SHAPE).astype(np.float32)


def marked(z: int, y: int, x: int) -> np.ndarray:
    marker = np.zeros(SHAPE, bool)
    marker[z - 1:z + 2, y - 2:y + 3, x - 2:x + 3] = True
    return marker


def test_a_basin_ends_at_the_edge_between_two_markers():
    hu = two_halves((40, 110))
    # The edge lies nearer to one of the markers: it is the edge that counts, not the distance.
    enclosed = basin(hu, SPACING, marked(8, 20, 30), marked(8, 20, 75))
    truth = np.zeros(SHAPE, bool)
    truth[..., :SHAPE[2] // 2] = True
    assert dice(enclosed, truth) > 0.97


def test_without_a_rival_all_belongs_to_a_marker_and_without_a_marker_nothing():
    hu, nothing = two_halves((40, 110)), np.zeros(SHAPE, bool)
    assert basin(hu, SPACING, marked(8, 20, 20), nothing).all()
    assert not basin(hu, SPACING, nothing, marked(8, 20, 20)).any()


def test_where_both_mark_the_inside_holds():
    marker = marked(8, 20, 20)
    assert basin(two_halves((40, 110)), SPACING, marker, np.ones(SHAPE, bool))[marker].all()


def test_a_core_lies_deeper_than_its_distance():
    mask = np.zeros(SHAPE, bool)
    mask[4:12, 10:30, 10:40] = True
    expected = np.zeros(SHAPE, bool)
    expected[4:12, 11:29, 11:39] = True  # 2 mm is not deeper than 2.5 mm, a slice is 3 mm
    assert CORE_MM == 2.5
    np.testing.assert_array_equal(core(mask, SPACING), expected)


@pytest.fixture
def by_rule_alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What a basin does, shows where the network does not make up for it."""
    monkeypatch.setattr(judgement, "LEARNED_SHARE", 0.0)
    return monkeypatch


def thick_error(wall: float, columns: slice = slice(35, 75)) -> tuple[Volume, np.ndarray, np.ndarray, np.ndarray]:
    """A CT, labels that lack two thirds of a stomach, the truth, and a stroke of these columns in what they lack.

    The stomach lies in what looks like it; a dark wall of this thickness, a share of its radii, is around it.
    """
    spacing = (3.0, 2.0, 2.0)
    z, y, x = np.meshgrid(*(np.arange(n) * mm for n, mm in zip((24, 80, 90), spacing, strict=True)), indexing="ij")
    radius = ((z - 36) / 30) ** 2 + ((y - 80) / 50) ** 2 + ((x - 90) / 70) ** 2
    hu = np.where((radius > 1) & (radius < 1 + wall), -60.0, 60.0)
    hu += np.random.default_rng(0).normal(0, 20, hu.shape)
    truth = np.where(radius <= 1, STOMACH, 0).astype(np.uint8)
    drawn = np.full(truth.shape, neighbourhood.NOT_DRAWN, np.uint8)
    drawn[12, 39:42, columns] = STOMACH
    grid = Grid((90, 80, 24), (2.0, 2.0, 3.0))
    return Volume(hu.round().astype(np.int16), grid), np.where(x < 60, truth, 0), truth, drawn


def corrected(ct: Volume, start: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The stomach after one stroke."""
    session = RefineSession(ct, Volume(start, ct.grid), WORD16)
    return session.add(Volume(drawn, ct.grid)).labels.array == STOMACH


def test_a_basin_leads_a_correction_through_a_thick_error_to_its_wall(by_rule_alone: pytest.MonkeyPatch):
    ct, start, truth, drawn = thick_error(wall=0.2)
    with_basins = dice(corrected(ct, start, drawn), truth == STOMACH)
    by_rule_alone.setattr(rule, "BASIN_LOG_ODDS", 0.0)
    by_rule_alone.setattr(rule, "ENCLOSED_SHORTER", 0.0)
    without = dice(corrected(ct, start, drawn), truth == STOMACH)
    assert dice(start == STOMACH, truth == STOMACH) < without < 0.6  # what looks alike around it is as probable
    assert with_basins > 0.9


def test_a_stroke_that_is_short_for_its_error_reaches_the_error_s_wall(by_rule_alone: pytest.MonkeyPatch):
    ct, start, truth, drawn = thick_error(wall=0.2, columns=slice(43, 57))
    reached = corrected(ct, start, drawn)
    by_rule_alone.setattr(rule, "ENCLOSED_SHORTER", 0.0)
    by_its_length_alone = corrected(ct, start, drawn)
    assert dice(by_its_length_alone, truth == STOMACH) < 0.7
    assert dice(reached, truth == STOMACH) > 0.95
    # Beyond the wall it is as far as it was.
    assert (reached & (truth != STOMACH)).sum() <= 1.05 * (by_its_length_alone & (truth != STOMACH)).sum() + 50


def test_a_neighbour_s_border_that_is_wrong_does_not_keep_a_correction_away(by_rule_alone: pytest.MonkeyPatch):
    ct, start, truth, drawn = thick_error(wall=0.2)
    colon = WORD16.index("colon")
    depth = ndimage.distance_transform_edt(truth == STOMACH, sampling=(3.0, 2.0, 2.0))
    start[(start == 0) & (depth > 0) & (depth <= 6)] = colon  # its rim: the stroke lies in what is called background
    missing = (start == 0) & (truth == STOMACH)
    found = corrected(ct, start, drawn)
    assert found[missing].mean() > 0.85
    assert not found[start == colon].any()
    by_rule_alone.setattr(rule, "OTHER_CORE_MM", 0.0)
    assert corrected(ct, start, drawn)[missing].mean() < 0.6


@pytest.mark.parametrize(("half_thickness_mm", "reaches_farther"), [(12, False), (24, True)])
def test_from_a_thin_organ_a_short_stroke_takes_no_more_for_its_basin(
        half_thickness_mm: int, reaches_farther: bool, by_rule_alone: pytest.MonkeyPatch):
    ct, start, _, drawn = thick_error(wall=0.2, columns=slice(43, 57))
    rows = slice(40 - half_thickness_mm // 2, 40 + half_thickness_mm // 2)  # of 2 mm, around the stroke's
    start[:, rows][start[:, rows] == 0] = WORD16.index("duodenum")
    reached = corrected(ct, start, drawn).sum()
    by_rule_alone.setattr(rule, "ENCLOSED_SHORTER", 0.0)
    by_its_length_alone = corrected(ct, start, drawn).sum()
    assert bool(reached > 1.05 * by_its_length_alone) == reaches_farther


@pytest.mark.parametrize("slices", [1, 2, 3, 4])
def test_a_ct_of_few_slices_is_corrected_as_well(slices: int):
    ct, start, _, drawn = thick_error(wall=0.2)
    part = slice(12, 12 + slices)
    grid = Grid((90, 80, slices), ct.grid.spacing)
    session = RefineSession(Volume(ct.array[part], grid), Volume(start[part], grid), WORD16)
    after = session.add(Volume(drawn[part], grid)).labels.array
    assert (after[drawn[part] == STOMACH] == STOMACH).all()
    assert (after == STOMACH).sum() > (start[part] == STOMACH).sum() + (drawn == STOMACH).sum()
