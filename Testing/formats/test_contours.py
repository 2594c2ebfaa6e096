"""Contours hold just the mask's pixels, hole or not, however a reader fills them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from PartialOrganSegLib.formats.contours import plane_contours
from Testing.helpers.dicom_files import inside

# Pixels that touch at a corner belong to one part, as for the fill rules of most readers.
TOUCHING = np.ones((3, 3))


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


@settings(max_examples=150)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()))
def test_each_part_is_one_contour_around_its_pixels(mask: np.ndarray) -> None:
    polygons = plane_contours(mask)
    filled = [inside(polygon, mask.shape) for polygon in polygons]
    np.testing.assert_array_equal(np.sum(filled, axis=0) if filled else np.zeros(mask.shape), mask)
    assert len(polygons) == ndimage.label(mask, TOUCHING)[1]


@settings(max_examples=60)
@given(arrays(bool, (9, 11), elements=st.booleans()))
def test_readers_that_round_and_draw_the_outline_get_the_mask(mask: np.ndarray) -> None:
    """Every vertex rounds to a pixel of the mask, so an outline drawn between neighbours adds none."""
    for polygon in plane_contours(mask):
        columns, rows = np.rint(polygon).astype(int).T
        assert mask[rows, columns].all()


def test_a_hole_is_joined_by_a_channel_through_the_mask() -> None:
    mask = np.zeros((12, 14), bool)
    mask[1:11, 1:13] = True
    mask[4:7, 5:8] = False
    [ring] = plane_contours(mask)
    passes = [tuple(point) for point in np.round(ring, 6).tolist()]
    twice = sorted({point for point in passes if passes.count(point) == 2})
    # Entered and left at the same two points: a reader that fills by even-odd sees the channel with no width.
    assert len(twice) == 2
    assert twice[0][1] == twice[1][1]  # along one row
    assert area(ring) == pytest.approx(mask.sum(), rel=0.02)


def test_holes_beside_and_behind_each_other_and_an_island_in_a_hole() -> None:
    mask = np.zeros((20, 30), bool)
    mask[1:19, 1:29] = True
    # Holes of different size in one row, and one that the others hide from the border.
    mask[3:8, 3:9] = False
    mask[5, 11:16] = False
    mask[10:17, 3:20] = False
    mask[12:15, 6:12] = True
    mask[13, 8] = False
    polygons = plane_contours(mask)
    assert len(polygons) == 2
    np.testing.assert_array_equal(sum(inside(polygon, mask.shape) for polygon in polygons), mask)


def test_thin_parts_and_the_image_border() -> None:
    mask = np.zeros((6, 8), bool)
    mask[0, :] = mask[:, 7] = mask[4, 2] = True
    polygons = plane_contours(mask)
    assert sorted(len(polygon) for polygon in polygons) == [4, 10]
    np.testing.assert_array_equal(sum(inside(polygon, mask.shape) for polygon in polygons), mask)


def test_area_of_a_disc_is_that_of_its_pixels() -> None:
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 < 70 ** 2
    [polygon] = plane_contours(disc)
    assert area(polygon) == pytest.approx(disc.sum(), rel=2e-3)
    assert len(polygon) < 300


def test_nothing_has_no_contour() -> None:
    assert plane_contours(np.zeros((5, 5), bool)) == []
