"""Does a manifest describe what its files hold? Every case is read before anything trains on it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..annotation import CandidateTable, Kind
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.checks import doubtful_ct
from ..imaging.volume import Volume
from ..organs import LabelSpace
from .case import Case, Manifest
from .patients import one_image_in_two_groups
from .soft_targets import read_soft_targets


def check_manifest(manifest: Manifest, reporter: Reporter | None = None, *,
                   doubt_images: bool = False) -> list[Problem]:
    """Reads every case; a problem for each fault: missing files, another geometry, unknown or undeclared organs.

    A full case without some organ, sides that could not be decided and ignored organs are only warnings; with
    `doubt_images` so is an image that does not look like a CT in HU.
    """
    reporter = reporter or Reporter()
    problems: list[Problem] = []
    for number, case in enumerate(manifest.cases, 1):
        # The first fault of a case is enough: what follows from a missing file would only hide it.
        try:
            image = _check_labels(case, manifest.label_space, reporter)
            reason = doubtful_ct(image.array) if doubt_images else None
            if reason is not None:
                reporter.warning(Problem(Code.NOT_A_CT, f"{case.name}: {case.image}", "a CT in HU", reason))
        except UserError as error:
            problems.append(error.problem.within(case.name))
        reporter.progress("checking", number, len(manifest.cases))
    for first, case in one_image_in_two_groups(manifest.cases):
        reporter.warning(Problem(Code.CASES_JOINED, f"{case.name} and {first.name}",
                                 found=f"one image in the groups {case.group} and {first.group}, so it may be trained "
                                       "and validated on at once"))
    return problems


class CaseFaults:
    """The first fault of each of `cases`, said as `check` says it before work that needs all of them ends."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._faults: dict[str, Problem | None] = {case.name: None for case in cases}

    def __contains__(self, case: Case) -> bool:
        return self._faults.get(case.name) is not None

    def add(self, case: Case, error: UserError) -> None:
        """A fault of a case; those after its first follow from it."""
        if case not in self:
            self._faults[case.name] = error.problem.within(case.name)

    def look(self, case: Case, label_space: LabelSpace) -> None:
        """Adds a missing file, or an organ that a partial label holds and does not annotate."""
        try:
            case.require_files()
            case.check_declared(label_space)
        except UserError as error:
            self.add(case, error)

    def raise_any(self, reporter: Reporter) -> None:
        """Reports all faults but the last, in the order of the cases, and raises that as UserError; does nothing where
        there is none."""
        problems = [problem for problem in self._faults.values() if problem is not None]
        if not problems:
            return
        for problem in problems[:-1]:
            reporter.error(problem)
        raise UserError(problems[-1])


def _check_labels(case: Case, label_space: LabelSpace, reporter: Reporter) -> Volume:
    """Reads a case and warns of what may be amiss; its image. Raises UserError for the first fault."""
    table = CandidateTable(label_space.class_count)
    image = case.read_image()
    codes = case.read_codes(image, label_space, table, reporter)
    case.check_declared(label_space)
    if case.soft_targets is not None:
        read_soft_targets(case.soft_targets).check(image.grid, label_space)
    if case.label is None or case.kind not in (Kind.FULL, Kind.PARTIAL):
        return image
    ignored = case.ignored_voxels(label_space)
    if ignored:
        listed = ", ".join(f"{organ} ({count} voxels)" for organ, count in ignored.items())
        reporter.warning(Problem(Code.LABELS_IGNORED, f"{case.name}: ignored", found=listed, data={"voxels": ignored}))
    if case.kind is Kind.FULL:
        # Absent even as one of several candidates: then the label is probably a partial one.
        possible = set(np.flatnonzero(table.table[np.unique(codes)].any(axis=0)).tolist())
        absent = [organ.name for organ in label_space.organs if organ.index not in possible]
        if absent:
            reporter.warning(Problem(Code.ORGAN_ABSENT, case.name, found=f"full label without {', '.join(absent)}"))
    return image
