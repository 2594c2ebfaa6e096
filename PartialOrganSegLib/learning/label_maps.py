"""Puts masks of one CT together into one label map: masks a file each, structures in DICOM, several label maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError
from ..formats.own_slices import OwnSlices
from ..formats.reading import read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.shapes import Mask
from ..imaging.volume import Volume
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

    def structure(self, joint_value: int) -> str:
        """The name of a structure in DICOM; empty for values of a label map."""
        if self.drawing.structures is None:
            return ""
        number = next(number for number, value in self.values.items() if value == joint_value)
        return self.drawing.structures.names[number - 1]

    def masks(self, own_slices: OwnSlices, unfit: dict[int, UserError]) -> Iterator[tuple[int, Mask]]:
        """Joint value and mask (z, y, x) of each structure, on the CT's grid. Structures in DICOM that do not lie on it
        are empty, and their joint values and errors go into `unfit`. Raises UserError for other files."""
        if self.drawing.structures is not None:
            unfit_numbers: dict[int, UserError] = {}
            masks = self.drawing.structures.masks(own_slices.grid, own_slices.positions, unfit_numbers)
            for number, (_, mask) in enumerate(masks, 1):
                if number in self.values:
                    yield self.values[number], mask
            unfit |= {self.values[number]: error for number, error in unfit_numbers.items() if number in self.values}
            return
        labels = read_labelmap(self.path, segmentations=True).in_order_of(own_slices.grid).array
        for value, joint_value in self.values.items():
            yield joint_value, labels == value


@dataclass(frozen=True)
class Overlap:
    """A value of the joint label map for voxels that several structures claim, whose values are `of`."""

    value: int
    of: tuple[int, ...]


@dataclass(frozen=True)
class JointLabels:
    """What values beyond the structures' own mean. `unseen`: the value of voxels in which nobody could draw, so that
    they may be anything; None where there are none. `between_planes`: of these the slices that are known from the
    structures alone, with the name of one that is on both sides of them. `unfit`: values of structures that are to be
    learnt and do not lie on the CT, or leave slices of it out; nothing is written where there are any."""

    overlaps: list[Overlap]
    unseen: int | None = None
    between_planes: Mapping[int, str] = field(default_factory=dict)
    unfit: Mapping[int, UserError] = field(default_factory=dict)


def join_masks(sources: list[MaskSource], own_slices: OwnSlices, target: Path,
               undecided: Collection[int] = ()) -> JointLabels:
    """Writes the joint label map on the CT's grid. A voxel that two structures claim gets a value of its own: it is one
    of both. A structure whose value is `undecided` claims nothing that another one does: a body's outline goes round
    all organs, and may lie anywhere. Raises UserError for masks that do not lie on the grid and for more values than a
    byte has."""
    labels: npt.NDArray[np.uint8] = np.zeros(own_slices.grid.shape, np.uint8)
    highest = max(value for source in sources for value in source.values.values())
    _check_count(highest, target)
    overlaps: dict[tuple[int, ...], int] = {}
    unfit: dict[int, UserError] = {}
    planes: dict[str, set[int]] = {}
    for source in sources:
        for value, mask in source.masks(own_slices, unfit):
            name = source.structure(value)
            if name:
                planes.setdefault(name, set()).update(np.flatnonzero(mask.any(axis=(1, 2))).tolist())
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
    # A couch beyond the image is none's loss.
    unfit = {value: error for value, error in unfit.items() if value not in undecided}
    if unfit:
        return JointLabels([], unfit=unfit)
    unseen = None
    between_planes: dict[int, str] = {}
    if own_slices.may_hide_gaps:
        between_planes = _between(planes)
    filled_in = [*own_slices.filled_in(), *between_planes]
    # Structures in DICOM lie on the series' images. In a slice that reading made up between two of them an organ would
    # count as absent, though no one could draw it there. What the neighbours show is a guess, and none is made.
    if filled_in and planes:
        unseen = highest + len(overlaps) + 1
        _check_count(unseen, target)
        labels[filled_in] = np.where(labels[filled_in] == 0, unseen, labels[filled_in])
    target.parent.mkdir(parents=True, exist_ok=True)
    write_labelmap(target, Volume(labels, own_slices.grid))
    return JointLabels([Overlap(value, of) for of, value in overlaps.items()], unseen, between_planes)


def _between(planes: Mapping[str, set[int]]) -> dict[int, str]:
    """The slices in which no structure has a plane, though one of them, which is named, has some above and below: the
    series may have lacked them. One that another structure has a plane in was there to be drawn on."""
    drawn = set().union(*planes.values())
    between: dict[int, str] = {}
    for name, depths in planes.items():
        for depth in range(min(depths, default=0), max(depths, default=0)):
            if depth not in drawn:
                between.setdefault(depth, name)
    return dict(sorted(between.items()))


def _check_count(highest: int, target: Path) -> None:
    """Raises UserError where the joint values do not fit into a byte."""
    if highest > MOST_VALUES:
        raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject=target, found="more",
                        expected=f"at most {MOST_VALUES} structures and overlaps of them on one CT")
