"""Reads RT Structure Sets (PS3.3 A.19): contours, filled in the slices of the CT that they were drawn on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError
from ..imaging.shapes import Affine, Coordinates, Mask, Shape3
from ..imaging.volume import Grid
from .dicom_references import first_series, name_in, refuse_too_many
from .own_slices import OwnSlices

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FLAT = 0.5  # slices that a contour's points may differ in; more, and it lies in another plane than the slices
_SAME_PLANE = 0.05  # slices: contours nearer to each other lie in one plane, where one may be a hole in another
_OF_GAPS = 3  # of a structure's planes: fewer may be where it is in several parts
_NEXT_SLICE = 1.1  # slices from a plane to the next one; more leaves a slice out, here or further on
_FARTHEST_MM = 100_000.0
_EDGES_AT_ONCE = 4096  # of a polygon, so that memory stays bounded whatever their number
_SAME_CONTOUR = 0.1  # pixels: contours nearer to each other throughout are one, written twice
_SAME_AREA = 0.02  # of the larger; a hole leaves more of what it is in
_IN_ANOTHER = 0.9  # of a contour's pixels: with fewer in another one it overlaps that, and is no hole
_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _XOR)
_ENCLOSE_NOTHING = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")


@dataclass(frozen=True)
class _Contour:
    """A closed one, `points` (n, 3) in LPS mm or (n, 2) in pixels. `is_xor`: of the type that takes away what others
    of its plane enclose."""

    points: Coordinates
    is_xor: bool


@dataclass(frozen=True)
class _Structure:
    """A region of interest and its closed contours."""

    name: str
    contours: list[_Contour]


@dataclass(frozen=True)
class StructureSet:
    """What a structure set draws; two of its structures may have one name."""

    path: Path
    series_uid: str
    structures: Sequence[_Structure]

    @classmethod
    def of(cls, path: Path, dataset: Dataset) -> StructureSet:
        """Points and open lines are left out: they enclose nothing. Raises UserError for contours whose structure is
        not named, for such as are none, and where those of the listed structures are missing altogether."""
        names = {int(roi.ROINumber): name_in(roi, "ROIName") for roi in dataset.get("StructureSetROISequence", [])}
        structures = []
        # Structures that were found nowhere have an item without contours; a file without any items has lost them.
        contour_items = dataset.get("ROIContourSequence")
        if contour_items is None or (names and not contour_items):
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="ROI Contour Sequence (3006,0039)",
                            found=f"none, and {len(names)} structures listed")
        for roi in contour_items:
            number = int(roi.ReferencedROINumber)  # which an item has whatever it draws
            closed = [_Contour(_points(path, contour), _kind(contour) == _XOR)
                      for contour in roi.get("ContourSequence", []) if _is_closed(contour)]
            # Planning systems close "contours" of one or two points: they enclose nothing either.
            contours = [contour for contour in closed if len(contour.points) >= 3]
            if not contours:
                continue
            if not names.get(number):
                raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a name for every drawn structure",
                                found=f"none for number {number}")
            structures.append(_Structure(names[number], contours))
            refuse_too_many(path, len(structures))
        return cls(path, first_series(dataset), structures)

    @property
    def names(self) -> list[str]:
        """Of the structures with a closed contour."""
        return [structure.name for structure in self.structures]

    def masks(self, grid: Grid, positions: Coordinates | None = None,
              unfit: dict[int, UserError] | None = None) -> Iterator[tuple[str, Mask]]:
        """See `DrawnStructures.masks`: a voxel counts whose centre is inside. A contour that lies in another one of its
        plane is a hole; those that overlap add up, unless they are of the type that says otherwise."""
        own_slices = OwnSlices(grid, positions)
        for number, structure in enumerate(self.structures, 1):
            try:
                mask = self._mask(structure, own_slices)
            except UserError as error:
                # A couch beyond the image, a target drawn in every third slice: the organs beside them are good.
                if unfit is None:
                    raise
                unfit[number] = error
                mask = np.zeros(grid.shape, np.bool_)
            yield structure.name, mask

    def _mask(self, structure: _Structure, own_slices: OwnSlices) -> Mask:
        """(z, y, x). Raises UserError for contours that do not lie on the CT or leave slices of it out."""
        grid = own_slices.grid
        mask: Mask = np.zeros(grid.shape, np.bool_)
        planes = self._planes(structure, np.linalg.inv(grid.matrix), grid)
        for depth, polygons in planes:
            drawn = _enclosed(polygons, grid.shape)
            # Two planes of a finer CT may fall into one slice: they add up, and take nothing from each other.
            mask[own_slices.nearest(depth)] |= drawn
        self._refuse_skipped_slices(structure.name, [depth for depth, _ in planes], own_slices)
        return mask

    def _planes(self, structure: _Structure, to_voxel: Affine, grid: Grid) -> list[tuple[float, list[_Contour]]]:
        """Depth in slices, from the lowest, and contours of (x, y) in pixels of each plane, each once: files that were
        put together hold some twice, which would take each other away."""
        contours: list[tuple[float, _Contour]] = []
        for contour in structure.contours:
            voxels = (np.c_[contour.points, np.ones(len(contour.points))] @ to_voxel.T)[:, :3]
            depths = voxels[:, 2]
            if np.ptp(depths) > _FLAT or not -_FLAT <= depths.mean() <= grid.shape[0] - 1 + _FLAT:
                raise UserError(code=Code.GEOMETRY_DIFFERS, subject=f"{self.path}: {structure.name}",
                                expected="contours in the slices of the CT",
                                found=f"one at slice {depths.min():.1f} to {depths.max():.1f} of {grid.shape[0]}")
            # Of a contour beside the CT nothing would be left, and the organ would count as absent.
            if (voxels[:, :2].max(axis=0) < -0.5).any() or (voxels[:, :2].min(axis=0) > np.array(grid.size[:2])).any():
                raise UserError(code=Code.GEOMETRY_DIFFERS, subject=f"{self.path}: {structure.name}",
                                expected="contours on the CT", found=f"one beside it, at slice {depths.mean() + 1:.3g}")
            contours.append((float(depths.mean()), _Contour(voxels[:, :2], contour.is_xor)))
        planes: list[tuple[float, list[_Contour]]] = []
        for depth, polygon in sorted(contours, key=lambda contour: contour[0]):
            if not planes or depth - planes[-1][0] > _SAME_PLANE:
                planes.append((depth, []))
            polygons = planes[-1][1]
            if not any(_is_same(polygon, other) for other in polygons):
                polygons.append(polygon)
        return planes

    def _refuse_skipped_slices(self, name: str, depths: Sequence[float], own_slices: OwnSlices) -> None:
        """Raises UserError for a structure that was drawn in planes further apart than the slices, as in every second
        one: between them it is there as well."""
        distances = np.diff(depths)
        # Where the series lacks a slice, nobody could draw one.
        gaps = sum(high - low > _NEXT_SLICE and own_slices.are_between(low, high)
                   for low, high in itertools.pairwise(depths))
        # A structure in several parts has a gap between them, and its other planes follow each other.
        if gaps >= _OF_GAPS and 2 * gaps >= len(distances):
            listed = ", ".join(f"{depth + 1:.3g}" for depth in depths[:4])
            raise UserError(code=Code.SLICES_MISSING, subject=f"{self.path}: {name}",
                            expected="contours in every slice that shows the structure",
                            found=f"slices {listed} without those in between",
                            hint="interpolate them where they were drawn")


def _is_closed(contour: Dataset) -> bool:
    """Whether a contour encloses something. Raises ValueError for one of an unknown kind."""
    kind = _kind(contour)
    if kind not in (*_CLOSED, *_ENCLOSE_NOTHING):
        raise ValueError(f"a contour of type '{kind:.20}'")
    return kind in _CLOSED


def _kind(contour: Dataset) -> str:
    return str(contour.get("ContourGeometricType", "")).upper()


def _is_same(polygon: _Contour, other: _Contour) -> bool:
    """Whether two contours run along the same line, wherever each begins, whichever way round and however rounded."""
    for end in (np.min, np.max):
        if np.abs(end(polygon.points, axis=0) - end(other.points, axis=0)).max() > _SAME_CONTOUR:
            return False
    areas = _area(polygon.points), _area(other.points)
    return abs(areas[0] - areas[1]) <= _SAME_AREA * max(areas)


def _area(polygon: Coordinates) -> float:
    """Of a polygon (n, 2), by Gauss's formula."""
    x, y = (polygon - polygon.mean(axis=0)).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _enclosed(polygons: Sequence[_Contour], shape: Shape3) -> Mask:
    """(y, x) bool: what the contours of a plane enclose together."""
    drawn: Mask = np.zeros(shape[1:], np.bool_)
    around = np.zeros(shape[1:], np.int32)  # how many contours go round a pixel
    # From the largest, so that what a hole is in comes before it.
    for polygon in sorted(polygons, key=lambda contour: -_area(contour.points)):
        within = inside(polygon.points, shape)
        if not within.any():
            continue
        # In how many others it lies: in one it is a hole, in two an island in a hole. An overlap is neither.
        depth = np.quantile(around[within], 1 - _IN_ANOTHER, method="lower")
        around += within
        if polygon.is_xor:
            drawn ^= within
        else:
            drawn[within] = depth % 2 == 0
    return drawn


def _points(path: Path, contour: Dataset) -> Coordinates:
    """(n, 3) in LPS mm, n = 0 for an empty one. Raises UserError for numbers that are no points, or fewer of them than
    the file says."""
    count = contour.get("NumberOfContourPoints")
    if not count and not contour.get("ContourData"):
        return np.zeros((0, 3))
    points: Coordinates = np.asarray(contour.ContourData, float)
    if not points.size or points.size % 3 or not np.isfinite(points).all() or np.abs(points).max() > _FARTHEST_MM:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="x, y and z of each point as Contour Data "
                        "(3006,0050)", found=f"{points.size} numbers that are none")
    if count is not None and int(count) != points.size // 3:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"{int(count)} points in a contour, as Number "
                        "of Contour Points (3006,0046) says", found=points.size // 3)
    return points.reshape(-1, 3)


def inside(polygon: Coordinates, shape: Shape3) -> Mask:
    """(y, x) bool: the pixel centres of a slice of a volume of `shape` (z, y, x) that lie inside a polygon (n, 2) of
    (x, y) in pixels, by the even-odd rule."""
    _, rows, columns = shape
    is_inside: Mask = np.zeros((rows, columns), np.bool_)
    # Nothing is inside beyond the polygon's own rows and columns.
    left, top = np.clip(np.floor(polygon.min(axis=0)), 0, (columns, rows)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(polygon.max(axis=0)) + 1, 0, (columns, rows)).astype(int).tolist()
    height, width = bottom - top, right - left
    # How many edges cross each row between a pixel's centre and the one to its left, counted for all edges at once.
    crossings: npt.NDArray[np.int64] = np.zeros(height * (width + 1), np.int64)
    following = np.roll(polygon, -1, axis=0)
    for start in range(0, len(polygon), _EDGES_AT_ONCE):
        first, second = polygon[start:start + _EDGES_AT_ONCE], following[start:start + _EDGES_AT_ONCE]
        low, high = np.minimum(first[:, 1], second[:, 1]), np.maximum(first[:, 1], second[:, 1])
        # Of an edge the rows between its ends; a row through a corner counts for one of both edges.
        begins = np.clip(np.ceil(low), top, bottom).astype(np.int64)
        counts = np.clip(np.ceil(high), top, bottom).astype(np.int64) - begins
        edge = np.repeat(np.arange(len(counts)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + begins[edge]
        (x0, y0), (x1, y1) = first[edge].T, second[edge].T
        x = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
        places = (row - top) * (width + 1) + np.clip(np.ceil(x), left, right).astype(np.int64) - left
        crossings += np.bincount(places, minlength=len(crossings))
    # A pixel is inside where an odd number of edges lies to its right.
    to_the_right = np.cumsum(crossings.reshape(height, width + 1)[:, ::-1], axis=1)[:, ::-1]
    is_inside[top:bottom, left:right] = to_the_right[:, 1:] % 2 == 1
    return is_inside
