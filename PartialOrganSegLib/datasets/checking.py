"""Does a manifest describe what its files hold? Every case is read before anything trains on it."""

from __future__ import annotations

import numpy as np

from ..annotation import CandidateTable, Kind
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.reading import read_ct
from ..organs import LabelSpace
from .case import Case, Manifest
from .patients import one_image_in_two_groups
from .soft_targets import read_soft_targets


def check_manifest(manifest: Manifest, reporter: Reporter | None = None) -> list[Problem]:
    """Reads every case; a problem for each fault: missing files, another geometry, unknown or undeclared organs.

    A full case without some organ, sides that could not be decided and ignored organs are only warnings.
    """
    reporter = reporter or Reporter()
    problems: list[Problem] = []
    for number, case in enumerate(manifest.cases, 1):
        # The first fault of a case is enough: what follows from a missing file would only hide it.
        missing = [str(path) for path in case.files() if not path.exists()]
        if missing:
            problems.append(Problem(Code.FILE_MISSING, case.name, f"the file {missing[0]}", "none"))
        else:
            try:
                problems += _check_labels(case, manifest.label_space, reporter)
            except UserError as error:
                problems.append(error.problem.within(case.name))
        reporter.progress("checking", number, len(manifest.cases))
    for first, case in one_image_in_two_groups(manifest.cases):
        reporter.warning(Problem(Code.CASES_JOINED, f"{case.name} and {first.name}",
                                 found=f"one image in the groups {case.group} and {first.group}, so it may be trained "
                                       "and validated on at once"))
    return problems


def _check_labels(case: Case, label_space: LabelSpace, reporter: Reporter) -> list[Problem]:
    """Problems of a case whose files exist. Raises UserError for the first that stops its being read."""
    table = CandidateTable(label_space.class_count)
    image = read_ct(case.image, force=True)
    codes = case.read_codes(image, label_space, table, reporter)
    if case.soft_targets is not None:
        read_soft_targets(case.soft_targets).check(image.grid, label_space)
    if case.label is None or case.kind not in (Kind.FULL, Kind.PARTIAL):
        return []
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
        return []
    return _undeclared_organs(case, label_space)


def _undeclared_organs(case: Case, label_space: LabelSpace) -> list[Problem]:
    """A problem for each organ that a partial label holds, but does not annotate."""
    values, counts = np.unique(case.read_label(label_space).array, return_counts=True)
    mapped = dict(case.label_map) | dict(case.split_left_right)
    problems = []
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value == 0 or value in mapped:
            continue
        organ = label_space.names[value - 1]
        if organ not in (*case.annotated, *case.ignored):
            problems.append(Problem(Code.UNKNOWN_LABEL, f"{case.name}: {case.label}",
                                    found=f"partial label holds {count} voxels of {organ} (value {value}), which is "
                                          "not among its annotated organs"))
    return problems
