"""Counts the voxels of every segment of a layer, and finds where they are, slice by slice.

A slice that is as it was at the look before, by its checksum, is not counted again: a brush changes a few of hundreds.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import slicer

from .voxel_counts import Box, finished, mask_in, voxel_array

# Weights of a voxel's indices j and k in `Count.place`; i has weight 1. Primes, so that shifts do not cancel.
WEIGHT_J, WEIGHT_K = 1009.0, 100003.0


@dataclass(frozen=True)
class Count:
    """`voxels` of a segment and a fingerprint of where they are: the sum of weighted indices."""

    voxels: int
    place: float


EMPTY = Count(0, 0.0)


@dataclass(frozen=True)
class _Page:
    """A slice of a layer: for each of the label `values` in it the voxels, the sum of their weighted indices within the
    slice, and their box (first and last column, first and last row)."""

    checksum: int
    values: np.ndarray
    voxels: np.ndarray
    places: np.ndarray
    boxes: np.ndarray


@dataclass
class LayerScan:
    """The count of each label value of a layer, and its box of indices (i0, i1, j0, j1, k0, k1)."""

    counts: dict[int, Count] = field(default_factory=dict)
    boxes: dict[int, Box] = field(default_factory=dict)
    extent: Box | None = None
    pages: list[_Page] = field(default_factory=list, compare=False)


def scan_layer(image: slicer.vtkOrientedImageData,
               earlier: LayerScan | None = None) -> Generator[None, None, LayerScan]:
    """Looks at a layer slice by slice and yields after each, so that a window can go on working meanwhile. `earlier`: a
    look at it, or at another layer of its size, before.

    Nearly all voxels of a CT are in no organ and are not counted. Whoever changes the layer between two slices
    must begin anew.
    """
    extent = image.GetExtent()
    earlier_pages = None
    if earlier is not None and earlier.extent == extent:
        earlier_pages = earlier.pages
    pages = []
    for number, page in enumerate(voxel_array(image)):
        checksum = zlib.crc32(np.ascontiguousarray(page))
        if earlier_pages is not None and earlier_pages[number].checksum == checksum:
            pages.append(earlier_pages[number])
        else:
            pages.append(_look_at(page, checksum))
        yield
    return _joined(extent, pages)


def _look_at(page: np.ndarray, checksum: int) -> _Page:
    at = np.flatnonzero(page != 0)
    labels = page.reshape(-1)[at].astype(np.intp)
    rows, columns = np.divmod(at, page.shape[1])
    all_voxels = np.bincount(labels)
    values = np.flatnonzero(all_voxels)
    places = np.bincount(labels, columns + WEIGHT_J * rows)[values]
    boxes = np.zeros((values.size, 4), np.int64)
    for number, value in enumerate(values):
        of_value = labels == value
        across, down = columns[of_value], rows[of_value]  # rows come in their order
        boxes[number] = across.min(), across.max(), down[0], down[-1]
    return _Page(checksum, values, all_voxels[values], places, boxes)


def _joined(extent: Box, pages: list[_Page]) -> LayerScan:
    """What the slices of a layer have together."""
    i0, _i1, j0, _j1, k0, _k1 = extent
    scan = LayerScan(extent=extent, pages=pages)
    for k, page in enumerate(pages, k0):
        # the place of the slice, and of its first voxel, in the sum of indices
        places = page.places + (i0 + WEIGHT_J * j0 + WEIGHT_K * k) * page.voxels
        for value, voxels, place, box in zip(page.values.tolist(), page.voxels.tolist(), places.tolist(),
                                             page.boxes.tolist(), strict=True):
            count = scan.counts.get(value, EMPTY)
            scan.counts[value] = Count(count.voxels + voxels, count.place + place)
            in_page = (box[0] + i0, box[1] + i0, box[2] + j0, box[3] + j0)
            below = scan.boxes.get(value, (*in_page, k, k))
            scan.boxes[value] = (min(below[0], in_page[0]), max(below[1], in_page[1]), min(below[2], in_page[2]),
                                 max(below[3], in_page[3]), below[4], k)
    return scan


def layer_counts(image: slicer.vtkOrientedImageData) -> dict[int, Count]:
    """The count of every label value of a layer."""
    return finished(scan_layer(image)).counts


def count_in(segment: slicer.vtkSegment, box: Box) -> Count:
    """The count of a segment that has no voxel outside of a box of its layer."""
    mask = mask_in(segment, box)
    k, j, i = np.nonzero(mask)
    weights = (i + box[0]) + WEIGHT_J * (j + box[2]) + WEIGHT_K * (k + box[4])
    return Count(int(i.size), float(weights.sum()))
