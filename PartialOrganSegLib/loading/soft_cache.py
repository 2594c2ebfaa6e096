"""Soft targets at working spacing, kept beside the cached cases and memory-mapped as these are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..atomic import whole_file
from ..datasets.soft_targets import read_soft_targets
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..organs import LabelSpace
from .cache import CACHE_VERSION, CachedCase, CachedSoftTargets
from .cached_sets import read_checked, read_sets, write_sets
from .contents import Contents, digest, stamps
from .locking import locked

ClassSets = tuple[tuple[int, ...], ...]


def with_soft_targets(cached: Sequence[CachedCase], label_space: LabelSpace,
                      reporter: Reporter) -> tuple[list[CachedCase], ClassSets]:
    """The cases, those that have a teacher's soft targets with them, and the sets of classes that the teachers' classes
    stand for, numbered in the order of the cases.

    Each file is resampled once, onto the voxels of its case's cached image; a changed one anew, and so is a cached one
    that is damaged. Raises UserError for a file that does not fit its image or the label space.
    """
    contents: Contents | None = None
    numbers: dict[tuple[int, ...], int] = {}
    resampled: dict[int, tuple[Path, ClassSets]] = {}
    for position, case in enumerate(cached):
        if case.case.soft_targets is None:
            continue
        contents = contents or Contents(case.image_file.parent)
        resampled[position] = _resampled(case, case.case.soft_targets, label_space, contents, reporter)
        for classes in resampled[position][1]:
            numbers.setdefault(classes, len(numbers))
        reporter.progress("reading soft targets", position + 1, len(cached))
    if contents is not None:
        contents.save()
    # Only now all sets of the run are known, which every case must have room for.
    cases = list(cached)
    for position, (file, sets) in resampled.items():
        rows = tuple(numbers[classes] for classes in sets)
        cases[position] = replace(cases[position], soft_targets=CachedSoftTargets(file, rows, tuple(numbers)))
    return cases, tuple(numbers)


def _resampled(cached: CachedCase, source: Path, label_space: LabelSpace, contents: Contents,
               reporter: Reporter) -> tuple[Path, ClassSets]:
    """The file of probabilities at working spacing, made where it is missing, and the sets of its classes."""
    case, folder, shape = cached.case, cached.image_file.parent, cached.image().shape
    if not source.exists():
        raise UserError(code=Code.FILE_MISSING, subject=case.name, expected=f"the file {source}", found="none")
    try:
        # The name of the image's own file is not enough: it does not say where the soft targets are from. Up to 0.4.0
        # they were called after place and time, see `cache`.
        key = digest([CACHE_VERSION, label_space.names, stamps(source), stamps(case.image), shape])
        if not (folder / f"{case.name}-{key}.soft.npy").exists():
            key = digest([CACHE_VERSION, label_space.names, contents.of(source), contents.of(case.image), shape])
        file, sets_file = (folder / f"{case.name}-{key}{ending}" for ending in (".soft.npy", ".soft.json"))
        with locked(file.with_suffix(".lock")):
            if not _usable(file, sets_file, shape, label_space.class_count):
                if file.exists() and sets_file.exists():
                    reporter.warning(Problem(Code.FILE_DAMAGED, str(file), "whole cached soft targets", "damaged ones",
                                             hint="they are made anew"))
                targets = read_soft_targets(source)
                sets = targets.sets(label_space)
                probabilities = targets.resampled(case.read_image().grid, shape)
                with whole_file(file) as temporary:
                    np.save(temporary, probabilities)
                write_sets(sets_file, sets, (probabilities,))
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=folder,
                        found=f"soft targets of {case.name} could not be cached ({error.strerror or error})") from None
    except UserError as error:
        raise error.within(case.name) from None
    return file, tuple(tuple(classes) for classes in read_sets(sets_file))


def _usable(file: Path, sets_file: Path, shape: tuple[int, ...], class_count: int) -> bool:
    """Whether both are there, whole and fit the case's image of `shape`."""
    try:
        probabilities = np.lib.format.open_memmap(file, mode="r")
        sets = read_checked(sets_file, (probabilities,), class_count)
    except (OSError, ValueError, EOFError, RecursionError):
        return False
    fitting = probabilities.dtype == np.uint8 and probabilities.shape[1:] == shape
    return fitting and len(sets) == len(probabilities)
