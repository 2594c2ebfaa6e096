"""A set of predictions against its references: case by case, one CT in memory at a time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..annotation import CandidateTable, Kind
from ..datasets.case import Case
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.itk import grid_of, image_of
from ..formats.reading import read_labelmap
from ..imaging.volume import Grid, Volume
from ..organs import LabelSpace
from .overlay import overlay_png
from .scoring import Score, score_structures
from .structures import Structure, scored_structures

GRID_TOLERANCE_MM = 0.1


@dataclass(frozen=True)
class Options:
    """`tolerance_mm` of the surface Dice; `organs` to judge (None: all); `resample` predictions onto other grids;
    `worst`: how many cases get a picture."""

    tolerance_mm: float = 2.0
    organs: tuple[str, ...] | None = None
    resample: bool = False
    worst: int = 10


@dataclass
class Evaluation:
    """What came of it. `pictures`: a PNG of the worst structure of each of the worst cases, worst first."""

    scores: list[Score] = field(default_factory=list)
    resampled: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def evaluate(cases: Sequence[Case], predictions: Mapping[str, Path], space: LabelSpace, options: Options,
             reporter: Reporter | None = None) -> Evaluation:
    """Judges the prediction of every case that has one. A case that fails is told and does not stop the others."""
    reporter = reporter or Reporter()
    result = Evaluation()
    worst: list[tuple[float, int, str, str, bytes]] = []  # a heap: the best of the worst cases on top
    todo = [case for case in cases if case.name in predictions]
    for number, case in enumerate(todo):
        try:
            scores, picture = _score_case(case, predictions[case.name], space, options, result, reporter, worst)
        except UserError as error:
            reporter.error(error.problem.within(case.name))
            result.failures[case.name] = str(error)
            continue
        result.scores += scores
        if picture is not None:
            figure, name, png = picture
            heapq.heappush(worst, (-figure, -number, case.name, name, png))
            if len(worst) > options.worst:
                heapq.heappop(worst)
        reporter.progress("evaluating", number + 1, len(todo))
    result.pictures = {name: (structure, png) for _, _, name, structure, png in sorted(worst, reverse=True)}
    return result


def _score_case(case: Case, file: Path, space: LabelSpace, options: Options, result: Evaluation, reporter: Reporter,
                worst: Sequence[tuple[float, int, str, str, bytes]]
                ) -> tuple[list[Score], tuple[float, str, bytes] | None]:
    plain = case.image == case.label
    image = read_labelmap(case.image) if plain else case.read_image()
    table = CandidateTable(space.class_count)
    codes = case.read_codes(image, space, table, reporter)
    predicted = _read_prediction(file, image.grid, space, options, case.name, result)
    structures = scored_structures(case, codes, table.table, space)
    if options.organs is not None:
        allowed = set(space.indices(options.organs))
        structures = [structure for structure in structures if set(structure.classes) <= allowed]
    scores = score_structures(case.name, predicted, codes, table.table, structures, image.grid.spacing[::-1],
                   options.tolerance_mm, case.kind is Kind.SCRIBBLE)
    judged = [(score.dice, place) for place, score in enumerate(scores) if score.dice is not None]
    if not judged:
        reporter.warning(Problem(Code.CASE_SKIPPED, case.name, found="nothing to judge: none of its structures is in "
                                 "the reference or predicted"))
        return scores, None
    mean = float(np.mean([value for value, _ in judged]))
    if not options.worst or (len(worst) == options.worst and -mean <= worst[0][0]):
        return scores, None
    structure = structures[min(judged)[1]]
    ct = None if plain else image
    png = overlay_png(ct, *_masks(predicted, codes, table.table, structure), image.grid)
    return scores, (mean, structure.name, png)


def _masks(predicted: np.ndarray, codes: np.ndarray, table: np.ndarray,
           structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    member = np.zeros(table.shape[1], bool)
    member[list(structure.classes)] = True
    return member[predicted], ~(table & ~member).any(1)[codes]


def _read_prediction(file: Path, grid: Grid, space: LabelSpace, options: Options, name: str,
                     result: Evaluation) -> np.ndarray:
    labels = read_labelmap(file)
    highest = int(labels.array.max(initial=0))
    if highest >= space.class_count:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=file,
                        expected=f"labels 0..{space.class_count - 1} of {space.name}", found=highest)
    if labels.grid.same_as(grid, GRID_TOLERANCE_MM):
        return labels.array
    if not options.resample:
        raise UserError(code=Code.GEOMETRY_DIFFERS, subject=file, expected=f"the reference's grid {_told(grid)}",
                        found=_told(labels.grid), hint="--resample puts it there")
    result.resampled.append(name)
    return resample_labels(labels, grid).array


def resample_labels(labels: Volume, grid: Grid) -> Volume:
    """Labels on another grid, nearest neighbour; background outside."""
    target = sitk.Image(list(grid.size), sitk.sitkUInt8)
    target.SetSpacing(grid.spacing)
    target.SetOrigin(grid.origin)
    target.SetDirection(grid.direction)
    image = sitk.Resample(image_of(labels), target, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return Volume(sitk.GetArrayFromImage(image), grid_of(image))


def _told(grid: Grid) -> str:
    numbers = (" x ".join(map(str, grid.size)), " x ".join(f"{mm:.4g}" for mm in grid.spacing),
               ", ".join(f"{mm:.1f}" for mm in grid.origin))
    return "{} voxels of {} mm from ({})".format(*numbers)
