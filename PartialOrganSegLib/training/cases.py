"""The cases of a run: read, resampled and divided into those to train and those to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..annotation import OUTSIDE, CandidateTable
from ..datasets.checking import CaseFaults
from ..datasets.manifest import Manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..loading.cache import CachedCase, cache_cases
from ..loading.soft_cache import ClassSets, with_soft_targets
from ..organs import LabelSpace
from ..real_paths import real_path
from .recipe import Recipe
from .settings import uses_soft_targets
from .validation import held_out_groups, validation_groups


@dataclass(frozen=True)
class Cases:
    """Cases to train and to validate on, the candidate sets of both, and the sets of classes of their soft targets."""

    training: list[CachedCase]
    validation: list[CachedCase]
    table: CandidateTable
    soft_sets: ClassSets = ()

    def essence(self) -> dict[str, object]:
        """What must be the same when the run is resumed, as JSON has it."""
        names = [cached.image_file.name for cached in self.training]
        # Names of cached files end in a digest of what they were made from, so other files have other names.
        soft = [None if cached.soft_targets is None else cached.soft_targets.file.name for cached in self.training]
        # As checkpoints of 0.4.0 have them, which knew no code for outside.
        sets = np.delete(self.table.table, OUTSIDE, axis=0)
        # By number: a data set may be called after its folder, which may have been renamed.
        datasets = list(dict.fromkeys(cached.case.dataset for cached in self.training))
        drawing = [[datasets.index(cached.case.dataset), cached.case.weight] for cached in self.training]
        return {"cases": names, "candidate_sets": sets.astype(int).tolist(),
                "soft_targets": soft if any(soft) else None, "drawing": drawing,
                "measured": [cached.image_file.name for cached in self.validation]}


def read_cases(recipe: Recipe, manifest: Manifest, reporter: Reporter) -> Cases:
    """Reads and resamples what the manifest lists, except what is held out; splits off what is validated on.

    Warns of classes of which no training voxel is certain. Raises UserError for unknown groups and when no case is
    left.
    """
    space, stages = manifest.label_space, recipe.resolved_stages()
    held_out = held_out_groups(recipe.hold_out, manifest)
    validated = set(validation_groups(recipe, manifest))
    table = CandidateTable(space.class_count)
    cases = manifest.without(held_out)
    faults = CaseFaults(cases)
    for case in cases:
        faults.look(case, space)
    cached_cases = cache_cases(cases, space, table, recipe.preprocessing.spacing_zyx, recipe.manifest.parent / "cache",
                               reporter, recipe.air_is_background, faults)
    if any(stage.pseudo_labels is not None for stage in stages):
        # A pseudo-label is one class, so each needs a candidate set of its own, used by a case or not.
        for label in range(space.class_count):
            table.code({label})
    soft_sets: ClassSets = ()
    if any(uses_soft_targets(stage) for stage in stages):
        cached_cases, soft_sets = with_soft_targets(cached_cases, space, reporter)
    training = [cached for cached in cached_cases if cached.case.group not in validated]
    validation = [cached for cached in cached_cases if cached.case.group in validated]
    training = _without_images_of(validation, training, reporter)
    if not any(cached.case.weight > 0 for cached in training):
        raise UserError(code=Code.NO_CASES, subject=manifest.path, found="no case left to train on")
    _report_unlabelled_classes(training, space, recipe, reporter)
    return Cases(training, validation, table, soft_sets)


def _without_images_of(validation: Sequence[CachedCase], training: Sequence[CachedCase],
                       reporter: Reporter) -> list[CachedCase]:
    """The cases to train on, without those whose voxels are those of a case to validate on in a file of another kind.

    Copies are in one group already; here are those that were packed anew, turned or converted. Several cases of one
    file are meant: fine-tuning validates on a slab of a CT and trains on the remainder.
    """
    remaining = []
    for cached in training:
        twin = next((other for other in validation if _same_voxels(cached, other)), None)
        if twin is None:
            remaining.append(cached)
            continue
        reporter.warning(Problem(Code.CASES_JOINED, cached.case.name, hint="it is left out of the training",
                                 found=f"has the voxels of {twin.case.name}, which is validated on"))
    return remaining


def _same_voxels(first: CachedCase, second: CachedCase) -> bool:
    image, other = first.image(), second.image()
    if image.shape != other.shape or real_path(first.case.image) == real_path(second.case.image):
        return False
    # The middle slice tells nearly all apart.
    middle = len(image) // 2
    return np.array_equal(image[middle], other[middle]) and np.array_equal(image, other)


def _report_unlabelled_classes(cases: Sequence[CachedCase], label_space: LabelSpace, recipe: Recipe,
                               reporter: Reporter) -> None:
    """Warns of organs that no voxel shows for certain, unless the start model teaches them."""
    taught: set[int] = set()
    for cached in cases:
        taught.update(cached.positions)
    stages = recipe.resolved_stages() if recipe.start_from is not None else []
    for stage in stages:
        if stage.losses.get("distillation"):
            new_classes = stage.loss_arguments.get("distillation", {}).get("new_classes", [])
            # `build_start` compared it with the start model's.
            assert isinstance(new_classes, list)
            taught |= set(range(label_space.class_count)) - set(new_classes)
    missing = [organ.name for organ in label_space.organs if organ.index not in taught]
    if missing:
        reporter.warning(Problem(Code.NO_LABELS, found=f"no training voxel is certainly {', '.join(missing)}"))
