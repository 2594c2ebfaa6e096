"""A set of predictions against its references: case by case, one CT in memory at a time."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..annotation import CandidateTable, Kind
from ..datasets.case import Case
from ..datasets.own_names import read_named_labels
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.itk import grid_of, image_of
from ..formats.strokes import NOT_DRAWN
from ..imaging.shapes import LabelMap, Mask
from ..imaging.volume import ROUNDED_MM, Grid, Volume
from ..organs import LabelSpace
from .confusion import Confusion, case_confusions
from .metrics import joint_counts
from .overlay import overlay_png
from .scoring import Score, score_structures
from .structures import Structure, scored_structures
from .summary import trusted_means

_BEYOND = NOT_DRAWN  # which no label space has for an organ


@dataclass(frozen=True)
class Options:
    """`tolerance_mm` of the surface Dice; `organs` to score (None: all); `resample` predictions onto other grids;
    `worst`: how many cases get a picture."""

    tolerance_mm: float = 2.0
    organs: tuple[str, ...] | None = None
    resample: bool = False
    worst: int = 10


@dataclass
class Evaluation:
    """What came of it. `pictures`: a PNG of the worst structure of each of the worst cases, worst first.
    `confusions`: what missed voxels were called."""

    scores: list[Score] = field(default_factory=list)
    resampled: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    confusions: list[Confusion] = field(default_factory=list)


def evaluate(cases: Sequence[Case], predictions: Mapping[str, Path], space: LabelSpace, options: Options,
             reporter: Reporter | None = None) -> Evaluation:
    """Scores the prediction of every case that has one. A case that fails is reported and does not stop the others."""
    reporter = reporter or Reporter()
    result = Evaluation()
    worst: list[_Picture] = []  # a heap: the best of the worst cases on top
    scored: set[int] = set()  # the classes that some reference vouches for
    todo = [case for case in cases if case.name in predictions]
    for number, case in enumerate(todo):
        try:
            predicted_case = _PredictedCase.read(case, predictions[case.name], space, options, reporter)
        except UserError as error:
            reporter.error(error.problem.within(case.name))
            result.failures[case.name] = str(error)
            continue
        if predicted_case.was_resampled:
            result.resampled.append(case.name)
        scored.update(index for structure in predicted_case.structures for index in structure.classes)
        scores = predicted_case.scores(options.tolerance_mm)
        result.scores += scores
        result.confusions += predicted_case.confusions(space)
        mean = trusted_means(scores).get(case.name)
        if mean is None:
            reporter.warning(Problem(Code.CASE_SKIPPED, case.name, found="nothing to score: none of its structures is "
                                     "in the reference or predicted"))
        elif options.worst:
            # The first of cases that are equally bad stays.
            rank = (-mean[0], -number)
            if len(worst) < options.worst:
                heapq.heappush(worst, _Picture(*rank, case.name, *predicted_case.picture(scores)))
            elif rank > worst[0][:2]:
                heapq.heapreplace(worst, _Picture(*rank, case.name, *predicted_case.picture(scores)))
        reporter.progress("evaluating", number + 1, len(todo))
    not_scored = [organ for organ in options.organs or () if space.index(organ) not in scored]
    # Without it a table lacks the organ, and nobody knows why.
    if not_scored and result.scores:
        reporter.warning(Problem(Code.ORGAN_ABSENT, found="no reference that was scored annotates "
                                 f"{', '.join(not_scored)} apart from other organs, so that is not scored"))
    result.pictures = {picture.case: (picture.structure, picture.png) for picture in sorted(worst, reverse=True)}
    return result


class _Picture(NamedTuple):
    """Of a case; larger is worse. `structure`: the one that is shown."""

    negative_dice: float
    negative_number: int
    case: str
    structure: str
    png: bytes


@dataclass(frozen=True)
class _PredictedCase:
    """A case with its prediction in memory. `codes` (z, y, x) into `table` (K, C) bool; `predicted`: class indices."""

    case: Case
    image: Volume
    codes: LabelMap
    table: Mask
    predicted: LabelMap
    structures: Sequence[Structure]
    was_resampled: bool

    @classmethod
    def read(cls, case: Case, file: Path, space: LabelSpace, options: Options, reporter: Reporter) -> _PredictedCase:
        """Raises UserError for a file that cannot be read, a label beyond `space` and another grid."""
        case.require_files()
        image = case.read_image() if _has_ct(case) else case.read_label(space)
        table = CandidateTable(space.class_count)
        codes = case.read_codes(image, space, table, reporter)
        case.check_declared(space)
        labels = read_named_labels(file, space, reporter).in_order_of(image.grid)
        highest = int(labels.array.max(initial=0))
        if highest >= space.class_count:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=file,
                            expected=f"labels 0..{space.class_count - 1} of {space.name}", found=highest)
        fits = labels.grid.same_as(image.grid, ROUNDED_MM)
        if not fits:
            if not options.resample:
                raise UserError(code=Code.GEOMETRY_DIFFERS, subject=file,
                                expected=f"the reference's grid, {image.grid.differing_from(labels.grid)}",
                                hint="--resample puts it there")
            in_organ = ~table.table[:, 0][codes]
            labels = _on_grid(file, labels, image.grid, in_organ, case.name, reporter)
        structures = scored_structures(case, codes, table.table, space)
        if options.organs is not None:
            allowed = set(space.indices(options.organs))
            structures = [structure for structure in structures if allowed.issuperset(structure.classes)]
        return cls(case, image, codes, table.table, labels.array, structures, not fits)

    def scores(self, tolerance_mm: float) -> list[Score]:
        """The figures of each of the structures, in their order."""
        return score_structures(self.case.name, self.predicted, self.codes, self.table, self.structures,
                                self.image.grid.spacing[::-1], tolerance_mm, self.case.kind is Kind.SCRIBBLE,
                                self.counts)

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """(K, C) voxels by the reference's candidate set and the predicted class."""
        return joint_counts(self.predicted, self.codes, (self.table.shape[0], self.table.shape[1]))

    def confusions(self, space: LabelSpace) -> list[Confusion]:
        """What the missed voxels of each of the structures were called."""
        return case_confusions(self.case.name, self.counts, self.table, self.structures, space,
                               self.image.grid.voxel_ml)

    def picture(self, scores: Sequence[Score]) -> tuple[str, bytes]:
        """The structure with the lowest Dice, the first of several, and a PNG of it."""
        _, place = min((score.dice, place) for place, score in enumerate(scores) if score.dice is not None)
        structure = self.structures[place]
        in_structure = np.zeros(self.table.shape[1], bool)
        in_structure[list(structure.classes)] = True
        inside: Mask = np.logical_not((self.table & ~in_structure).any(1))
        ct: Volume | None = None
        if _has_ct(self.case):
            ct = self.image
        return structure.name, overlay_png(ct, in_structure[self.predicted], inside[self.codes], self.image.grid)


def _has_ct(case: Case) -> bool:
    """Without a CT of its own a case has its label in the CT's place, whose values are no HU."""
    return case.image != case.label


def _on_grid(file: Path, labels: Volume, grid: Grid, in_organ: Mask, case: str, reporter: Reporter) -> Volume:
    """A prediction on the reference's grid, background beyond its end. `in_organ` (z, y, x) bool: what is some organ.

    Warns of organs beyond its end, which count as missed. Raises UserError where it covers nothing of the grid: then it
    is of another patient, or one of the two lies elsewhere than its header says.
    """
    resampled = resample_labels(labels, grid, _BEYOND)
    beyond = resampled.array == _BEYOND
    if beyond.all():
        raise UserError(code=Code.GEOMETRY_DIFFERS, subject=file, expected="some of the reference's place, "
                        + grid.differing_from(labels.grid))
    lost = np.count_nonzero(in_organ & beyond)
    if lost:
        reporter.warning(Problem(Code.GEOMETRY_DIFFERS, f"{case}: {file}", hint="it counts as missed",
                                 found=f"{lost / np.count_nonzero(in_organ):.1%} of the reference's organs lies beyond "
                                       "the prediction's end"))
    resampled.array[beyond] = 0
    return resampled


def resample_labels(labels: Volume, grid: Grid, beyond: int = 0) -> Volume:
    """Labels (of 8 bits) on another grid, nearest neighbour; `beyond` their end that value, background unless said."""
    target = sitk.Image(list(grid.size), sitk.sitkUInt8)
    target.SetSpacing(grid.spacing)
    target.SetOrigin(grid.origin)
    target.SetDirection(grid.direction)
    image = sitk.Resample(image_of(labels), target, sitk.Transform(), sitk.sitkNearestNeighbor, beyond)
    return Volume(sitk.GetArrayFromImage(image), grid_of(image))
