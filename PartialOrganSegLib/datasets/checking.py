"""Does a manifest describe what its files hold? Every case is read before anything trains on it."""

from __future__ import annotations

import numpy as np

from ..annotation import CandidateTable, Kind
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.reading import read_ct, read_labelmap
from ..organs import LabelSpace
from .case import Case, Manifest
from .soft_targets import read_soft_targets


def check_manifest(manifest: Manifest, reporter: Reporter | None = None) -> list[Problem]:
    """Reads every case. A problem each: missing files, other geometry, unknown or undeclared organs, with voxels.

    A full case without some organ, sides that could not be told and what is ignored are only warnings.
    """
    reporter = reporter or Reporter()
    problems: list[Problem] = []
    for done, case in enumerate(manifest.cases):
        missing = [str(path) for path in case.files() if not path.exists()]
        if missing:
            problems.append(Problem(Code.FILE_MISSING, case.name, f"the file {missing[0]}", "none"))
        else:
            try:
                problems += _check_labels(case, manifest.label_space, reporter)
            except UserError as error:
                problems.append(error.problem.within(case.name))
        reporter.progress("checking", done + 1, len(manifest.cases))
    return problems


def _check_labels(case: Case, label_space: LabelSpace, reporter: Reporter) -> list[Problem]:
    table = CandidateTable(label_space.class_count)
    image = read_ct(case.image, force=True)
    codes = case.read_codes(image, label_space, table, reporter)
    if case.soft_targets is not None:
        read_soft_targets(case.soft_targets).check(image.grid, label_space)
    if case.label is None or case.kind not in (Kind.FULL, Kind.PARTIAL):
        return []
    ignored = case.ignored_voxels(label_space)
    if ignored:
        reporter.warning(f"{case.name}: ignored: " + ", ".join(f"{organ} ({count} voxels)"
                                                               for organ, count in ignored.items()))
    if case.kind is Kind.FULL:
        possible = table.table[np.unique(codes)].any(axis=0)
        absent = [organ.name for organ in label_space.organs if not possible[organ.index]]
        if absent:
            reporter.warning(Problem(Code.ORGAN_ABSENT, case.name, found=f"full label without {', '.join(absent)}"))
        return []
    values, counts = np.unique(read_labelmap(case.label).array, return_counts=True)
    mapped = dict(case.label_map) | dict(case.split_left_right)
    return [Problem(Code.UNKNOWN_LABEL, f"{case.name}: {case.label}",
                    found=f"partial label holds {count} voxels of {label_space.names[value - 1]} (value {value}), "
                          "which is not among its annotated organs")
            for value, count in zip(values.tolist(), counts.tolist(), strict=True)
            if value and value not in mapped and label_space.names[value - 1] not in (*case.annotated, *case.ignored)]
