"""Reads DICOM SEG (PS3.3 A.51): a bit plane a segment and slice, or one label map, put onto the CT's grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError
from ..imaging.shapes import Coordinates, Mask
from ..imaging.volume import Grid
from ..memory_claims import check_claim
from .dicom_references import first_series, name_in, refuse_too_many
from .own_slices import ROUNDED, OwnSlices

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_OFF_GRID = 0.1  # voxels that a frame's pixels may lie beside those of the CT


@dataclass(frozen=True)
class _Frame:
    """A plane of pixels (rows, columns); `matrix` (4, 3) takes (column, row, 1) to LPS mm. `number`: the segment's, 0
    for a label map, whose pixels are such numbers."""

    pixels: npt.NDArray[np.unsignedinteger]
    matrix: Coordinates
    number: int

    def drawn(self) -> set[int]:
        """The numbers of the segments that have a pixel in it."""
        present = {int(value) for value in np.unique(self.pixels)} - {0}
        if self.number and present:
            return {self.number}
        return present


@dataclass(frozen=True)
class DicomSegmentation:
    """`segments`: number to name."""

    path: Path
    series_uid: str
    segments: Mapping[int, str]
    frames: list[_Frame]

    @classmethod
    def of(cls, path: Path, dataset: Dataset) -> DicomSegmentation:
        """What a segmentation draws. Raises UserError for probabilities, which say of no voxel what it is."""
        kind = str(dataset.get("SegmentationType", "BINARY"))
        if kind not in ("BINARY", "LABELMAP"):
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a segmentation of type BINARY or LABELMAP",
                            found=kind)
        count = int(dataset.get("NumberOfFrames", 1))
        pixel_bytes = max(1, int(dataset.BitsAllocated) // 8) * int(dataset.get("SamplesPerPixel", 1))
        check_claim(path, count * int(dataset.Rows) * int(dataset.Columns) * pixel_bytes, path.stat().st_size,
                    packed=True)
        names = {int(segment.SegmentNumber): name_in(segment, "SegmentLabel") for segment in dataset.SegmentSequence}
        refuse_too_many(path, len(names))
        pixels = np.asarray(dataset.pixel_array).reshape(count, int(dataset.Rows), int(dataset.Columns))
        shared = dataset.SharedFunctionalGroupsSequence[0]
        frames = []
        for plane, group in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            number = 0
            if kind == "BINARY":
                identification = _macro(group, shared, "SegmentIdentificationSequence")
                number = int(identification.ReferencedSegmentNumber)
                if number not in names:
                    raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a segment for every frame",
                                    found=f"a frame of segment {number}, which the file does not list")
            segmentation_frame = _Frame(plane, _matrix(group, shared), number)
            for drawn in segmentation_frame.drawn():
                if not names.get(drawn):
                    raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a label for every segment with "
                                    "pixels", found=f"none for number {drawn}")
            frames.append(segmentation_frame)
        return cls(path, first_series(dataset), names, frames)

    @property
    def names(self) -> list[str]:
        """Of the segments that have a voxel."""
        return [self.segments[number] for number in self._drawn()]

    def _drawn(self) -> list[int]:
        return sorted(set().union(*(frame.drawn() for frame in self.frames)))

    def masks(self, grid: Grid, positions: Coordinates | None = None,
              unfit: dict[int, UserError] | None = None) -> Iterator[tuple[str, Mask]]:
        """See `DrawnStructures.masks`. A frame on one of the series' own slices that reading moved onto the grid moves
        with it, by half a voxel at most."""
        own_slices = OwnSlices(grid, positions)
        for place, number in enumerate(self._drawn(), 1):
            mask: Mask = np.zeros(grid.shape, np.bool_)
            try:
                for frame in self.frames:
                    if frame.number in (0, number):
                        drawn = frame.pixels == (1 if frame.number else number)
                        self._place(frame, drawn, self.segments[number], own_slices, mask)
            except UserError as error:
                if unfit is None:
                    raise
                unfit[place] = error
                mask[:] = False
            yield self.segments[number], mask

    def _place(self, frame: _Frame, drawn: npt.NDArray[np.bool_], name: str, own_slices: OwnSlices,
               mask: Mask) -> None:
        """Sets the voxels of `mask` on which the pixels of a frame lie that are `drawn` of the segment of that name."""
        grid = own_slices.grid
        rows, columns = drawn.nonzero()
        if not len(rows):
            return
        to_voxel = np.linalg.inv(grid.matrix)
        points = np.stack([columns, rows, np.ones(len(rows))], axis=1) @ frame.matrix.T
        voxels = (points @ to_voxel.T)[:, :3]
        # Halfway between two voxels is the upper one throughout: rounding to even numbers would leave some out.
        nearest = np.floor(voxels + 0.5 + ROUNDED).astype(int)
        outside = (nearest < 0).any() or (nearest >= np.asarray(grid.size)).any()
        off_grid = np.abs(voxels - nearest).max() > _OFF_GRID
        first = (to_voxel @ frame.matrix[:, 2])[:3]
        # Pixels of another size or direction drift off in the course of a plane.
        drift = voxels - first - np.stack([columns, rows, np.zeros(len(rows))], axis=1)
        if own_slices.holds(first) and np.abs(drift).max() <= _OFF_GRID:
            nearest[:, 2], off_grid = own_slices.nearest(float(first[2])), False
            outside = (nearest < 0).any() or (nearest >= np.asarray(grid.size)).any()
        if outside or off_grid:
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject=f"{self.path}: {name}",
                            expected="segments on the voxels of the CT or of its series' images",
                            found="some beside them", hint="export it on the grid of the images themselves")
        x, y, z = nearest.T
        mask[z, y, x] = True


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """A functional group macro, which stands with each frame or once for all."""
    sequence = group.get(keyword) or shared.get(keyword)
    if not sequence:
        raise KeyError(f"no {keyword}")
    macro: Dataset = sequence[0]
    return macro


def _matrix(group: Dataset, shared: Dataset) -> Coordinates:
    """(4, 3): (column, row, 1) to (x, y, z, 1) in LPS mm."""
    position = np.asarray(_macro(group, shared, "PlanePositionSequence").ImagePositionPatient, float)
    axes = np.asarray(_macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, _macro(group, shared, "PixelMeasuresSequence").PixelSpacing)
    numbers = [*position, *axes.ravel(), row_mm, column_mm]
    if len(position) != 3 or not np.isfinite(numbers).all() or min(row_mm, column_mm) <= 0:
        raise ValueError("a frame without a place")
    matrix = np.zeros((4, 3))
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = axes[0] * column_mm, axes[1] * row_mm, position
    matrix[3, 2] = 1
    return matrix
