"""Reads the cases of a manifest, once, and writes what their annotations allow in the run's label space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..annotation import UNKNOWN, CandidateTable
from ..datasets.case import Case
from ..datasets.checking import CaseFaults
from ..errors import Code, UserError
from ..events import Reporter
from ..formats.reading import read_ct
from ..formats.writing import write_labelmap
from ..imaging.components import voxel_counts
from ..imaging.resampling import working_shape
from ..imaging.volume import Volume
from ..organs import LabelSpace
from ..real_paths import real_path
from .cases import PreparedCase, files_sha256

# Letters of a case's name in a file's.
LONGEST_IN_FILE = 60


@dataclass(frozen=True)
class Translation:
    """Candidate sets of the label space `source` as those of `target`: what one of both lacks was background to it.

    An organ that `target` lacks may go by another name there ("kidney", "left_kidney"): any organ that `source` lacks.
    `blurred` organs of the target become "that organ or background": known well enough not to be called another one,
    not well enough to be measured by. With `annotated`, only of these organs it is said where they are and are not.
    """

    source: LabelSpace
    target: LabelSpace
    blurred: Collection[int] = ()
    annotated: Collection[int] | None = None

    def __call__(self, classes: frozenset[int]) -> frozenset[int]:
        """A candidate set in the target's labels, 0 the background."""
        translated = {self._label(label) for label in classes}
        if 0 in translated:
            # Organs that the source does not know lie somewhere in its background.
            translated |= {organ.index for organ in self.target.organs if organ.name not in self.source.names}
        if translated & set(self.blurred):
            translated.add(0)
        if self.annotated is not None and not translated & set(self.annotated):
            translated = set(range(self.target.class_count)) - set(self.annotated)
        return frozenset(translated)

    def _label(self, label: int) -> int:
        if label == 0:
            return 0
        name = self.source.names[label - 1]
        return self.target.index(name) if name in self.target.names else 0


def prepare_cases(cases: Sequence[Case], translation: Translation, spacing_zyx: Sequence[float], folder: Path,
                  reporter: Reporter, force: bool = False) -> list[PreparedCase]:
    """Reads cases of a manifest with the label space `translation.source` and writes their candidate maps into
    `folder`. `spacing_zyx` mm is the working spacing.

    Raises UserError, naming the case, for one that is no CT (unless `force`) or whose label does not fit; of several,
    for the last, the others being reported as errors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prepared = []
    faults = CaseFaults(cases)
    for number, case in enumerate(cases):
        try:
            # Numbered: on some systems CASE and case are one file.
            target = folder / f"{number}-{case.name[:LONGEST_IN_FILE]}.codes.nii.gz"
            prepared.append(_prepare(case, translation, spacing_zyx, target, reporter, force))
        except UserError as error:
            problem = error.problem
            if problem.code is Code.NOT_A_CT:
                problem = replace(problem, hint="--force learns from it all the same")
            faults.add(case, UserError(problem))
        reporter.progress("reading cases", number + 1, len(cases))
    faults.raise_any(reporter)
    return prepared


def _prepare(case: Case, translation: Translation, spacing_zyx: Sequence[float], target: Path, reporter: Reporter,
             force: bool) -> PreparedCase:
    case.require_files()
    image = read_ct(case.image, reporter=reporter, force=force)
    case.check_declared(translation.source)
    source_table = CandidateTable(translation.source.class_count)
    source_codes = case.read_codes(image, translation.source, source_table, reporter)
    table = CandidateTable(translation.target.class_count)
    candidate_map = Volume(_translated(source_codes, source_table, table, translation), image.grid)
    write_labelmap(target, candidate_map)
    # Slices are counted from below, whatever the file's axes are.
    canonical = candidate_map.canonical()
    slices, voxels = {}, {}
    for code, label in table.singletons().items():
        in_slices = (canonical.array == code).sum((1, 2))
        slices[label], voxels[label] = np.flatnonzero(in_slices), int(in_slices.sum())
    image_sha256 = files_sha256([case.image])
    return PreparedCase(
        name=case.name, group=case.group, dataset=case.dataset, kind=case.kind, weight=case.weight,
        image=real_path(case.image), candidate_map=real_path(target), candidate_sets=sets_of(table),
        set_voxels=tuple(voxel_counts(candidate_map.array, len(table.table)).tolist()), slices=slices, voxels=voxels,
        shape=working_shape(canonical.array.shape, canonical.grid.spacing[::-1], spacing_zyx),
        sha256=_case_sha256(case, translation.source, image_sha256), image_sha256=image_sha256)


def _translated(codes: npt.NDArray[np.uint8], source: CandidateTable, target: CandidateTable,
                translation: Translation) -> npt.NDArray[np.uint8]:
    """`codes` of the table `source` as codes of `target`, which gets the sets that occur and no others: a run can tell
    256 of them apart."""
    lookup = np.full(len(source.table), UNKNOWN, np.uint8)
    sets = sets_of(source)
    for code in np.unique(codes).tolist():
        lookup[code] = target.code(translation(sets[code]))
    return lookup[codes]


def sets_of(table: CandidateTable) -> tuple[frozenset[int], ...]:
    """The candidate sets of a table, by their codes."""
    return tuple(frozenset(np.flatnonzero(row).tolist()) for row in table.table)


def _case_sha256(case: Case, space: LabelSpace, image_sha256: str) -> str:
    """Of all that the case says: the content of its files and how these are to be understood."""
    meaning = [case.kind.value, case.annotated, case.label_map, case.split_left_right, space.names]
    if case.ignored:
        meaning.append(case.ignored)
    if case.other_values:
        meaning.append((case.other_values,))
    annotation = files_sha256([path for path in case.files() if path != case.image])
    return hashlib.sha256(json.dumps([image_sha256, annotation, meaning]).encode()).hexdigest()
