"""Soft targets at working spacing, kept beside the cached cases and memory-mapped as these are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..atomic import whole_file
from ..datasets.soft_targets import read_soft_targets
from ..errors import Code, UserError
from ..events import Reporter
from ..organs import LabelSpace
from .cache import CACHE_VERSION, CachedCase, CachedSoftTargets, digest, stamps
from .locking import locked

ClassSets = tuple[tuple[int, ...], ...]


def with_soft_targets(cached: Sequence[CachedCase], label_space: LabelSpace,
                      reporter: Reporter) -> tuple[list[CachedCase], ClassSets]:
    """The cases, those that have a teacher's soft targets with them, and the sets of classes that the teachers' classes
    stand for, numbered in the order of the cases.

    Each file is resampled once, onto the voxels of its case's cached image; a changed one anew. Raises UserError for a
    file that does not fit its image or the label space.
    """
    numbers: dict[tuple[int, ...], int] = {}
    resampled: dict[int, tuple[Path, ClassSets]] = {}
    for position, case in enumerate(cached):
        if case.case.soft_targets is None:
            continue
        resampled[position] = _resampled(case, case.case.soft_targets, label_space)
        for classes in resampled[position][1]:
            numbers.setdefault(classes, len(numbers))
        reporter.progress("reading soft targets", position + 1, len(cached))
    # Only now all sets of the run are known, which every case must have room for.
    cases = list(cached)
    for position, (file, sets) in resampled.items():
        rows = tuple(numbers[classes] for classes in sets)
        cases[position] = replace(cases[position], soft_targets=CachedSoftTargets(file, rows, tuple(numbers)))
    return cases, tuple(numbers)


def _resampled(cached: CachedCase, source: Path, label_space: LabelSpace) -> tuple[Path, ClassSets]:
    """The file of probabilities at working spacing, made where it is missing, and the sets of its classes."""
    case, folder, shape = cached.case, cached.image_file.parent, cached.image().shape
    if not source.exists():
        raise UserError(code=Code.FILE_MISSING, subject=case.name, expected=f"the file {source}", found="none")
    # The name of the image's own file is not enough: it does not say where the soft targets are from.
    key = digest([CACHE_VERSION, label_space.names, stamps(source), stamps(case.image), shape])
    file, sets_file = (folder / f"{case.name}-{key}{end}" for end in (".soft.npy", ".soft.json"))
    try:
        with locked(file.with_suffix(".lock")):
            if not file.exists() or not sets_file.exists():
                targets = read_soft_targets(source)
                sets = targets.sets(label_space)
                probabilities = targets.resampled(case.read_image().grid, shape)
                with whole_file(sets_file) as temporary:
                    temporary.write_text(json.dumps(sets))
                with whole_file(file) as temporary:
                    np.save(temporary, probabilities)
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=folder,
                        found=f"soft targets of {case.name} could not be cached ({error.strerror or error})") from None
    except UserError as error:
        raise error.within(case.name) from None
    return file, tuple(tuple(classes) for classes in json.loads(sets_file.read_text()))
