"""Puts masks of one CT together into one label map: masks a file each, structures in DICOM, several label maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError
from ..formats.reading import read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.shapes import Mask
from ..imaging.volume import Grid, Volume
from .survey import Drawing

MOST_VALUES = 254  # of a byte, 0 is the background and 255 "not drawn"


@dataclass(frozen=True, eq=False)
class MaskSource:
    """A drawing whose values (of structures: their numbers from 1 on) become `values` of the joint label map."""

    drawing: Drawing
    values: Mapping[int, int]

    @property
    def path(self) -> Path:
        """The drawing's file."""
        return self.drawing.path

    def masks(self, grid: Grid) -> Iterator[tuple[int, Mask]]:
        """Joint value and mask (z, y, x) of each structure, on the CT's grid. Raises UserError."""
        if self.drawing.structures is not None:
            for number, (_, mask) in enumerate(self.drawing.structures.masks(grid), 1):
                if number in self.values:
                    yield self.values[number], mask
            return
        labels = read_labelmap(self.path, segmentations=True).array
        for value, joint_value in self.values.items():
            yield joint_value, labels == value


@dataclass(frozen=True)
class Overlap:
    """A value of the joint label map for voxels that several structures claim, whose values are `of`."""

    value: int
    of: tuple[int, ...]


def join_masks(sources: list[MaskSource], grid: Grid, target: Path,
               undecided: Collection[int] = ()) -> list[Overlap]:
    """Writes the joint label map on `grid`. A voxel that two structures claim gets a value of its own: it is one of
    both. A structure whose value is `undecided` claims nothing that another one does: a body's outline goes round all
    organs. Raises UserError for what does not lie on the grid and for more values than a byte has."""
    labels: npt.NDArray[np.uint8] = np.zeros(grid.shape, np.uint8)
    highest = max(value for source in sources for value in source.values.values())
    _check_count(highest, target)
    overlaps: dict[tuple[int, ...], int] = {}
    for source in sources:
        for value, mask in source.masks(grid):
            claimed, free = mask & (labels > 0), mask & (labels == 0)
            for earlier in np.unique(labels[claimed]).tolist():
                members = next((of for of, joint in overlaps.items() if joint == earlier), (earlier,))
                combined = tuple(sorted({*members, value}))
                combined = tuple(member for member in combined if member not in undecided) or combined
                joint = combined[0]
                if len(combined) > 1:
                    joint = overlaps.setdefault(combined, highest + len(overlaps) + 1)
                _check_count(joint, target)
                replaced = claimed & (labels == earlier)
                claimed &= ~replaced  # what was given a value is not to be given another one
                labels[replaced] = joint
            labels[free] = value
    target.parent.mkdir(parents=True, exist_ok=True)
    write_labelmap(target, Volume(labels, grid))
    return [Overlap(value, of) for of, value in overlaps.items()]


def _check_count(highest: int, target: Path) -> None:
    """Raises UserError where the joint values do not fit into a byte."""
    if highest > MOST_VALUES:
        raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject=target, found="more",
                        expected=f"at most {MOST_VALUES} structures and overlaps of them on one CT")
