"""From a mask's pixels to closed polygons, one for every part, with holes joined in by keyholes.

DICOM knows two ways to write a hole (PS3.3 C.8.8.6.3): a keyhole, which is a channel of no width from the outer contour
to the inner one, all in one polygon, or separate contours of type CLOSEDPLANAR_XOR, since 2020. The keyhole is used
here: readers that skip an unknown contour type, that unite contours and that take their exclusive or all read it alike,
because every polygon is a part of its own.

A polygon runs between the pixel centres, at 0.49 pixels from those that belong to the mask: 0.5 would be halfway. So a
reader that asks which pixel centres lie inside, and one that rounds vertices to pixels and draws the outline as well,
both get the mask back. Corners are cut as marching squares does, which keeps the area of all but the thinnest parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from ..imaging.shapes import Coordinates, Mask

Integers = npt.NDArray[np.integer[Any]]

_REACH = 0.49  # of a pixel, from the centre of a mask's pixel to the polygon around it
# A pixel's four sides in the order in which its outline runs, the pixel on the right hand: outward step (row, column)
# and direction of travel. Side k + 1 is a right turn, side k - 1 a left turn.
_OUTWARD = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
_ALONG = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_RIGHT, _LEFT = 1, 3


def plane_contours(mask: Mask) -> list[Coordinates]:
    """Polygons (n, 2) of (column, row) in pixels of a boolean (rows, columns) mask; pixel centres are whole numbers.

    Pixels that touch at a corner are one part. The first vertex is not repeated at the end. Each polygon has at least
    four vertices and touches no other; it touches itself along its keyholes only.
    """
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return []
    corner = np.array([rows.min(), columns.min()])
    inside = np.pad(mask[corner[0]:rows.max() + 1, corner[1]:columns.max() + 1], 1)
    pixels, sides, following = _outlines(inside)
    starts = _join_holes(inside.shape[1], pixels, sides, following)
    points = pixels + _OUTWARD[sides] * _REACH + corner - 1
    polygons = []
    for start in starts:
        # A keyhole's two ends occur twice: numbers from len(points) on are the second passes.
        path = np.array(_walk(start, following)) % len(points)
        polygons.append(_without_straight(points[path])[:, ::-1])
    return polygons


def _outlines(inside: Mask) -> tuple[Integers, Integers, list[int]]:
    """All sides of pixels that border the outside: pixel (n, 2), side (n,), and the number of the side that follows."""
    by_side = []
    for side in range(4):
        outside = ~np.roll(inside, -_OUTWARD[side], axis=(0, 1))  # rolls over the padding, which is outside
        pixels = np.argwhere(inside & outside)
        by_side.append(np.column_stack([pixels, np.full(len(pixels), side)]))
    borders = np.concatenate(by_side)
    pixels, sides = borders[:, :2], borders[:, 2]
    # An outline turns left around a pixel that it meets diagonally, so that pixels touching there are one part.
    ahead = pixels + _ALONG[sides]
    diagonal = ahead + _OUTWARD[sides]
    turns_left = inside[tuple(diagonal.T)]
    straight = ~turns_left & inside[tuple(ahead.T)]
    next_pixel = np.where(turns_left[:, None], diagonal, np.where(straight[:, None], ahead, pixels))
    next_side = np.where(turns_left, sides + 3, np.where(straight, sides, sides + 1)) % 4
    width = inside.shape[1]
    keys = _key(pixels, sides, width)
    order = np.argsort(keys)
    following: list[int] = order[np.searchsorted(keys[order], _key(next_pixel, next_side, width))].tolist()
    return pixels, sides, following


def _key(pixels: Integers, sides: Integers, width: int) -> Integers:
    """A number of its own for each side of each pixel."""
    keys: Integers = (pixels[:, 0] * width + pixels[:, 1]) * 4 + sides
    return keys


def _join_holes(width: int, pixels: Integers, sides: Integers, following: list[int]) -> list[int]:
    """Splices every hole into the outline to its left, in place; returns a side of every outer outline.

    From the hole's leftmost place the channel runs along the pixel row through the mask to the next outline on the
    left: an outer one or that of a hole that reaches further left, so joining can end only at an outer one.
    """
    count = len(sides)
    loops, loop = csgraph.connected_components(
        sparse.coo_matrix((np.ones(count, bool), (np.arange(count), following)), shape=(count, count)), directed=False)
    # Outer outlines turn right on the whole: travel along rows at their top minus at their bottom encloses an area.
    travel = np.where(sides == 0, -pixels[:, 0], np.where(sides == 2, pixels[:, 0] + 1, 0))
    is_hole = np.bincount(loop, travel, loops) < 0
    _, first = np.unique(loop, return_index=True)
    preceding = np.empty(count, int)
    preceding[following] = np.arange(count)
    number_of = dict(zip(_key(pixels, sides, width).tolist(), range(count), strict=True))
    lefts = np.flatnonzero((sides == _RIGHT) & is_hole[loop])  # right sides of pixels that have the hole on their right
    lefts = lefts[np.lexsort((pixels[lefts, 1], loop[lefts]))]
    following += [0] * count
    for near in lefts[np.unique(loop[lefts], return_index=True)[1]].tolist():
        row, column = pixels[near].tolist()
        while (far := number_of.get((row * width + column) * 4 + _LEFT)) is None:
            column -= 1
        # far, near, around the hole, near again, far again, and on: the second passes have numbers of their own.
        following[far + count], following[near + count] = following[far], far + count
        following[far], following[preceding[near]] = near, near + count
    outer: list[int] = first[~is_hole].tolist()
    return outer


def _walk(start: int, following: list[int]) -> list[int]:
    """The sides of one outline, from `start` round to it."""
    path, side = [start], following[start]
    while side != start:
        path.append(side)
        side = following[side]
    return path


def _without_straight(points: Coordinates) -> Coordinates:
    """Drops the vertices between which a polygon runs straight on; turning points of keyholes stay."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turns = np.abs(cross) > 1e-9
    turns_back = (before * after).sum(axis=1) < 0
    vertices: Coordinates = points[turns | turns_back]
    return vertices
