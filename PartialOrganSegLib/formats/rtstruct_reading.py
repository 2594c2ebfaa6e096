"""Reads RT Structure Sets (PS3.3 A.19): contours, filled in the slices of the CT that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Code, UserError
from ..imaging.shapes import Coordinates, Mask, Shape3
from ..imaging.volume import Grid
from .dicom_references import first_series

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FLAT = 0.5  # slices that a contour's points may differ in; more, and it lies in another plane than the slices


@dataclass(frozen=True)
class StructureSet:
    """`contours`: name of a region of interest to its closed contours, each (n, 3) in LPS mm."""

    path: Path
    series_uid: str
    contours: Mapping[str, list[Coordinates]]

    @classmethod
    def of(cls, path: Path, dataset: Dataset) -> StructureSet:
        """What a structure set draws. Points and open lines are left out: they enclose nothing."""
        names = {int(roi.ROINumber): str(roi.get("ROIName", "")) for roi in dataset.get("StructureSetROISequence", [])}
        contours: dict[str, list[Coordinates]] = {}
        for roi in dataset.get("ROIContourSequence", []):
            name = names.get(int(roi.ReferencedROINumber), "")
            for contour in roi.get("ContourSequence", []):
                if str(contour.get("ContourGeometricType", "")).upper() not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                    continue
                points = np.asarray(contour.ContourData, float).reshape(-1, 3)
                if len(points) >= 3:
                    contours.setdefault(name, []).append(points)
        return cls(path, first_series(dataset), contours)

    @property
    def names(self) -> list[str]:
        """Of the structures with a closed contour."""
        return list(self.contours)

    def masks(self, grid: Grid) -> Iterator[tuple[str, Mask]]:
        """See `DrawnStructures.masks`: a voxel counts whose centre is inside. Contours of one slice that lie in one
        another are holes (even-odd rule)."""
        to_voxel = np.linalg.inv(grid.matrix)
        for name, contours in self.contours.items():
            mask: Mask = np.zeros(grid.shape, np.bool_)
            for points in contours:
                voxels = (np.c_[points, np.ones(len(points))] @ to_voxel.T)[:, :3]
                self._fill(name, voxels, mask)
            yield name, mask

    def _fill(self, name: str, voxels: Coordinates, mask: Mask) -> None:
        """Fills one contour, (n, 3) in voxels (x, y, z)."""
        depths = voxels[:, 2]
        slice_number = round(float(depths.mean()))
        if np.ptp(depths) > _FLAT or not 0 <= slice_number < mask.shape[0]:
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject=f"{self.path}: {name}",
                            expected="contours in the slices of the CT",
                            found=f"one at slice {depths.min():.1f} to {depths.max():.1f} of {mask.shape[0]}")
        mask[slice_number] ^= inside(voxels[:, :2], mask.shape)


def inside(polygon: Coordinates, shape: Shape3) -> Mask:
    """(y, x) bool: the pixel centres of a slice of a volume of `shape` (z, y, x) that lie inside a polygon (n, 2) of
    (x, y) in pixels, by the even-odd rule."""
    _, rows, columns = shape
    is_inside: Mask = np.zeros((rows, columns), np.bool_)
    centres = np.arange(columns)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # Of an edge the rows between its ends; a row through a corner counts for one of both edges.
        low, high = sorted((y0, y1))
        crossed = np.arange(max(0, int(np.ceil(low))), min(rows, int(np.ceil(high))))
        crossings = x0 + (crossed - y0) * (x1 - x0) / (y1 - y0)
        is_inside[crossed] ^= centres[None] < crossings[:, None]
    return is_inside
