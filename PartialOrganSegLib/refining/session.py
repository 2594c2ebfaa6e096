"""Corrections of one CT, one after the other: strokes in, the changed region and labels out, each can be taken back.

Only the region around new strokes is computed, so the time depends on what was drawn and not on the CT's size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import Code, UserError
from ..imaging.components import NEIGHBOURS, voxel_counts
from ..imaging.shapes import Box3, LabelMap, Mask, Spacing3
from ..imaging.volume import ROUNDED_MM, Grid, Volume
from ..organ_records import Volumes, organ_record
from ..organs import LabelSpace
from .borders import at_edges
from .changes import OrganChange, organ_changes
from .neighbourhood import MARGIN_MM, NOT_DRAWN, Region
from .propagation import spread
from .questioning import in_question
from .regions import box_of, box_within, padded_box
from .stroke_input import StrokeSource, painted_strokes

LOG_VOLUMES = (-3.0, 1.0)  # beyond, how much an organ is too small or too large makes no difference
TOGETHER_MM = 10.0  # strokes of one label up to this far apart point at the same error


class RefineCancelled(Exception):
    """The work on strokes was ended by `RefineSession.cancel`; the labels are as they were before."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What a call of `RefineSession.add` did.

    `labels`: of the whole CT, as they are now. `region`: (z, y, x) the box of them that holds every changed voxel,
    None where nothing changed. `organs`: what each organ gained and lost, those alone that changed.
    """

    labels: Volume
    region: Box3 | None
    organs: tuple[OrganChange, ...]


@dataclass(frozen=True)
class _Step:
    """What `undo` puts back: the labels, the drawn map, the corrective strokes and the settled borders of a box."""

    box: Box3
    labels: LabelMap
    drawn: LabelMap
    corrective: Mask
    settled: Mask


class RefineSession:
    """One CT, its labels, and the strokes that correct them.

    Strokes are obeyed exactly. Around them labels change where the CT gives reason, connected with a stroke and at most
    `neighbourhood.MARGIN_MM` from it; as near, the outline of the organ that was drawn, or drawn over, moves to the
    CT's edges by `borders.BAND_MM` at most. `accepted` organs neither gain nor lose a voxel except where a stroke was
    drawn.

    >>> from PartialOrganSegLib.organs import WORD16
    >>> from PartialOrganSegLib.synthesis.phantom import make_phantom
    >>> ct, labels = make_phantom((40, 40, 40), (8.0, 8.0, 8.0))
    >>> drawn = Volume(np.full(labels.array.shape, 255, np.uint8), labels.grid)
    >>> drawn.array[20, 20, 20] = 1
    >>> session = RefineSession(ct, labels, WORD16)
    >>> correction = session.add(drawn)
    >>> int(correction.labels.array[20, 20, 20])
    1
    >>> np.array_equal(session.undo().labels.array, labels.array)
    True
    """

    def __init__(self, ct: Volume, labels: Volume, label_space: LabelSpace, accepted: Sequence[str] = (),
                 series_uid: str | None = None) -> None:
        """`ct` in HU; `labels` of its voxels, values of `label_space`; both stay as given. `series_uid`: of a DICOM CT;
        stroke files may name it.

        Raises UserError for what is no `Volume`, labels of another grid, a value without a meaning, an unknown organ.
        """
        for name, volume in (("ct", ct), ("labels", labels)):
            if not isinstance(volume, Volume):
                raise UserError(code=Code.VALUE_UNFIT, subject=name, found=type(volume).__name__,
                                expected="a Volume, as read_ct and results of segment have")
        labels = labels.in_order_of(ct.grid)
        _check_labels(ct, labels, label_space)
        self.label_space = label_space
        self._ct = ct
        self._series_uid = series_uid
        self._labels = labels.array.astype(np.uint8)
        self._drawn = np.full(ct.array.shape, NOT_DRAWN, np.uint8)
        self._corrective = np.zeros(ct.array.shape, bool)  # drawn where the labels said something else
        self._settled = np.zeros(ct.array.shape, bool)  # beside borders that were moved to an edge: once is enough
        self._accepted = np.isin(np.arange(256), label_space.indices(accepted))
        z, y, x = ct.grid.spacing[::-1]
        self._spacing: Spacing3 = (z, y, x)
        # Organs that are there as a whole, or were: what strokes leave of a small one is no fragment.
        self._whole = self._not_small()
        self._cut_off = np.zeros(256, bool)  # organs that a box of `take_over` holds a part of
        self._steps: list[_Step] = []
        self._cancelled = threading.Event()

    @property
    def grid(self) -> Grid:
        """The CT's."""
        return self._ct.grid

    @property
    def labels(self) -> Volume:
        """The labels as they are now, a copy."""
        return Volume(self._labels.copy(), self._ct.grid)

    @property
    def strokes(self) -> Volume:
        """All that was drawn, 255 where nothing is, a copy: a scribble map that a model can be taught with."""
        return Volume(self._drawn.copy(), self._ct.grid)

    def add(self, strokes: StrokeSource, progress: Callable[[int, int], None] = lambda done, total: None) -> Correction:
        """Corrects the labels by strokes: `Strokes`, their JSON file, or a map (file or `Volume`) of label values, 0
        where background was drawn and 255 where nothing was. `progress` is told how many of how many groups of strokes
        that lie close together were worked on.

        Raises UserError for strokes of another CT, outside of it, of an organ that the label space lacks, that
        contradict one another, and for none at all; RefineCancelled after `cancel`. The labels are then unchanged.
        """
        self._cancelled.clear()
        drawn = painted_strokes(strokes, self._ct.grid, self.label_space, self._series_uid).array
        new = drawn != NOT_DRAWN
        box = padded_box(box_of(new), MARGIN_MM, self._spacing, self._labels.shape)
        before = self._step(box)
        try:
            self._drawn[new] = drawn[new]
            self._corrective[new] = self._labels[new] != drawn[new]
            groups = list(self._errors_pointed_at(drawn, box))
            for number, (part, value) in enumerate(groups, 1):
                self._correct(part, value)
                progress(number, len(groups))
            # One group's spread may have covered another group's stroke.
            self._labels[new] = drawn[new]
        except BaseException:  # also a cancellation and Ctrl-C: half a correction would look like a whole one
            self._put_back(before)
            raise
        self._steps.append(before)
        return self._changed_since(before)

    def take_over(self, box: Box3, labels: LabelMap, drawn: LabelMap, accepted: Sequence[str] = ()) -> None:
        """What somebody edited elsewhere: labels and all strokes of a box (z, y, x) as they are now, and which organs
        are accepted. Corrections of before cannot be taken back any more. What lies outside of the box is as it was; an
        organ that reaches the box's faces goes on behind them.

        Raises UserError for a box beyond the CT, arrays of another shape, a value without a meaning, an unknown organ.
        """
        inside = all(0 <= part.start < part.stop <= size for part, size in zip(box, self._labels.shape, strict=True))
        shape = tuple(part.stop - part.start for part in box)
        if not inside or labels.shape != shape or drawn.shape != shape:
            bounds = [(part.start, part.stop) for part in box]
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject="labels", expected=f"a box within {self._labels.shape}",
                            found=f"one {bounds} (from, to) with arrays of {labels.shape} and {drawn.shape}")
        _check_values(labels, self.label_space)
        self._accepted = np.isin(np.arange(256), self.label_space.indices(accepted))
        # Labels that are not as they were left may be those of before a correction: outlines are open again.
        if not np.array_equal(labels, self._labels[box]):
            self._settled[box] = False
        self._labels[box], self._drawn[box] = labels, drawn
        self._corrective[box] &= drawn != NOT_DRAWN
        self._cut_off = _at_inner_faces(labels, box, self._labels.shape)
        self._whole |= self._not_small()
        self._steps.clear()

    def undo(self) -> Correction:
        """Takes the last call of `add` back. Raises UserError where there is none."""
        if not self._steps:
            raise UserError(code=Code.SETTING_MISSING, subject="undo", expected="a correction to take back",
                            found="none")
        step = self._steps.pop()
        corrected = self._step(step.box)
        self._put_back(step)
        return self._changed_since(corrected)

    def cancel(self) -> None:
        """Ends an `add` that another thread is in, within a fraction of a second."""
        self._cancelled.set()

    def _keep_on(self) -> None:
        if self._cancelled.is_set():
            raise RefineCancelled("cancelled")

    def _step(self, box: Box3) -> _Step:
        return _Step(box, self._labels[box].copy(), self._drawn[box].copy(), self._corrective[box].copy(),
                     self._settled[box].copy())

    def _put_back(self, step: _Step) -> None:
        self._labels[step.box] = step.labels
        self._drawn[step.box] = step.drawn
        self._corrective[step.box] = step.corrective
        self._settled[step.box] = step.settled

    def _errors_pointed_at(self, drawn: LabelMap, box: Box3) -> Iterator[tuple[tuple[Box3, Mask], int]]:
        """The places of new strokes that lie close together, each as its box and its mask in it, and their label."""
        for value in np.flatnonzero(voxel_counts(drawn[box], 256)).tolist():
            if value == NOT_DRAWN:
                continue
            # As far as they lie, which is less than all strokes do.
            around = box_within(box_of(drawn[box] == value), box)
            around = padded_box(around, TOGETHER_MM, self._spacing, self._labels.shape)
            strokes = drawn[around] == value
            # Strokes on neighbouring slices have voxels between them that are not drawn.
            gap = ndimage.distance_transform_edt(~strokes, sampling=self._spacing)
            parts, _ = ndimage.label(gap <= TOGETHER_MM / 2, NEIGHBOURS)
            parts[~strokes] = 0
            for number, place in enumerate(ndimage.find_objects(parts), 1):
                if place is not None:
                    z, y, x = place
                    yield (box_within((z, y, x), around), parts[place] == number), value

    def _correct(self, part: tuple[Box3, Mask], value: int) -> None:
        """Spreads one group of strokes, unless the labels say the same there already."""
        self._keep_on()
        inner, mask = part
        outer = padded_box(inner, MARGIN_MM, self._spacing, self._labels.shape)
        labels, drawn = self._labels[outer], self._drawn[outer]
        stroke = np.zeros(labels.shape, bool)
        z, y, x = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
        stroke[z, y, x] = mask
        stroke &= labels != value
        if not stroke.any():
            return
        changeable = np.zeros(labels.shape, bool)
        if not self._accepted[value]:
            changeable = in_question(labels, stroke, ~self._accepted, self._spacing)
        earlier = (drawn == value) & self._corrective[outer] & ~stroke
        wrong = int(np.bincount(labels[stroke]).argmax())
        region = Region(self._ct.array[outer], labels, drawn, changeable, self._spacing, earlier,
                        self._usual_mm3_of_fragment(value), (self._log_volume(value), self._log_volume(wrong)))
        labels[self._spread(region, stroke, value, outer)] = value
        self._move_outline(region, value or wrong, stroke, outer)

    def _spread(self, region: Region, stroke: Mask, value: int, box: Box3) -> Mask:
        """The voxels of the region, a `box` of the CT, that become `value`."""
        return spread(region, stroke, value, self._keep_on)

    def _move_outline(self, region: Region, organ: int, stroke: Mask, box: Box3) -> None:
        """The organ's border near the stroke to the CT's edges, once. `box`: of the region."""
        if organ == 0 or self._accepted[organ]:
            return
        # The outline of a fragment is nearly all wrong, and its inside no sample of the organ.
        if self._usual_mm3_of_fragment(organ) is not None:
            return
        labels = region.labels
        # Background is never accepted, so it may take and give whatever is not drawn.
        after = at_edges(region, organ, stroke, self._settled[box], self._keep_on)
        labels[(labels == organ) & ~after] = 0
        labels[after] = organ

    def _log_volume(self, value: int) -> float:
        """The logarithm of an organ's volume over its usual one; 0 of background, and where one is not known."""
        usual_ml = self._usual_ml(value)
        if usual_ml is None or self._cut_off[value]:
            return 0.0
        volume_ml = np.count_nonzero(self._labels == value) * float(np.prod(self._spacing)) / 1000
        relative = volume_ml / usual_ml.mean
        return float(np.log(relative + 0.01).clip(*LOG_VOLUMES))

    def _usual_mm3_of_fragment(self, value: int) -> float | None:
        """The usual volume of an organ that the labels have a fragment of, or nothing, as they did in the beginning;
        None for any other, for background, and where nobody knows the usual volume."""
        if self._whole[value] or self._cut_off[value]:
            return None
        return self._usual_mm3_if_small(value, int(np.count_nonzero(self._labels == value)))

    def _not_small(self) -> npt.NDArray[np.bool_]:
        """(class count,) whether there is now as much of an organ as a whole one has at least."""
        counts = voxel_counts(self._labels, self.label_space.class_count).tolist()
        return np.array([self._usual_mm3_if_small(value, count) is None for value, count in enumerate(counts)])

    def _usual_mm3_if_small(self, value: int, voxels: int) -> float | None:
        """The usual volume of an organ that is smaller than the 5th percentile, otherwise None."""
        usual_ml = self._usual_ml(value)
        if usual_ml is None or voxels * float(np.prod(self._spacing)) / 1000 >= usual_ml.p5:
            return None
        return usual_ml.mean * 1000

    def _usual_ml(self, value: int) -> Volumes | None:
        """None of background, and of an organ of which nobody knows it."""
        record = None
        if value > 0:
            record = organ_record(self.label_space.names[value - 1])
        return None if record is None else record.usual_ml

    def _changed_since(self, step: _Step) -> Correction:
        current = self._labels[step.box]
        changed = current != step.labels
        region = None
        if changed.any():
            region = box_within(box_of(changed), step.box)
        organs = organ_changes(step.labels, current, self.label_space, self._spacing)
        return Correction(self.labels, region, organs)


def _at_inner_faces(labels: LabelMap, box: Box3, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(256,) the values of `labels`, of a box (z, y, x) of a CT of `shape`, at those faces that are not the CT's."""
    reached = np.zeros(256, bool)
    for axis, (part, size) in enumerate(zip(box, shape, strict=True)):
        for place, is_inner in ((0, part.start > 0), (-1, part.stop < size)):
            if is_inner:
                reached[labels.take(place, axis)] = True
    return reached


def _check_labels(ct: Volume, labels: Volume, label_space: LabelSpace) -> None:
    if not labels.grid.same_as(ct.grid, ROUNDED_MM):
        raise UserError(code=Code.GEOMETRY_DIFFERS, subject="labels",
                        expected=f"the CT's grid, {ct.grid.differing_from(labels.grid)}")
    _check_values(labels.array, label_space)


def _check_values(labels: LabelMap, label_space: LabelSpace) -> None:
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):  # nor is NaN equal to itself
        raise UserError(code=Code.UNKNOWN_LABEL, subject="labels", expected="whole numbers", found="fractions or NaN")
    # Of signed whole numbers, as numpy makes them, -1 would become 255.
    for value in (labels.max(initial=0), labels.min(initial=0)):
        if not 0 <= value < label_space.class_count:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=f"labels: value {value}",
                            expected=f"0..{label_space.class_count - 1} ({label_space.name})")
