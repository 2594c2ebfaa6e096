"""Cross-validation: a network for every fold, each trained without one part of the patients and validated on it, and
the ensemble of all (`models.ensemble`).

    RUN/folds.json        which patients each fold is validated on
    RUN/fold_0 ...        a whole run each, which can be looked at, scored and resumed by itself
    RUN/model             the ensemble
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..annotation import Kind
from ..atomic import whole_file
from ..datasets.manifest import Manifest, load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..models.bundle import Bundle, load_bundle
from ..models.ensemble import write_ensemble
from .recipe import MODEL_FOLDER, Recipe
from .run_files import RunFiles
from .settings import ValidationSettings
from .trainer import train
from .validation import held_out_groups

FOLDS_FILE = "folds.json"


def deal_folds(manifest: Manifest, count: int, seed: int, hold_out: Sequence[str] = ()) -> list[list[str]]:
    """The groups (patients) that each of `count` folds is validated on; every annotated one is in one fold.

    Each data set is dealt evenly, and no group is divided. Cases without annotation are trained on in every fold.
    `hold_out`: groups, by any of their names, that are in none. Raises UserError for one that the manifest does not
    have, and for fewer than two folds or fewer annotated groups than folds.
    """
    if count < 2:
        raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject="folds", expected="2 or more", found=count)
    held_out = held_out_groups(hold_out, manifest)
    dataset_of: dict[str, str] = {}
    for case in manifest.cases:
        if case.kind is not Kind.UNLABELLED and case.group not in held_out:
            dataset_of.setdefault(case.group, case.dataset)
    if len(dataset_of) < count:
        raise UserError(code=Code.NO_CASES, subject="folds", expected=f"at least {count} annotated patients",
                        found=len(dataset_of))
    generator = np.random.default_rng(seed)
    folds: list[list[str]] = [[] for _ in range(count)]
    dealt = 0
    for dataset in sorted(set(dataset_of.values())):
        groups = sorted(group for group, name in dataset_of.items() if name == dataset)
        for place in generator.permutation(len(groups)):
            # On from where the data set before ended, so that small sets do not all fill the first folds.
            folds[dealt % count].append(groups[place])
            dealt += 1
    return [sorted(groups) for groups in folds]


def fold_recipe(recipe: Recipe, groups: Sequence[str]) -> Recipe:
    """The recipe of a fold that is validated on `groups` and on nothing else."""
    settings = recipe.validation or ValidationSettings()
    validation = settings.model_dump() | {"groups": list(groups), "share": 0.0}
    return recipe.changed(validation=validation)


def train_folds(recipe: Recipe, folder: Path, resume: bool, device: str = "auto", reporter: Reporter | None = None, *,
                count: int) -> Bundle:
    """Trains a network for each of `count` folds into `folder`, one after the other, and writes their ensemble.

    What it costs is reported before it starts. `resume` goes on where an earlier call stopped: finished folds are kept.
    Raises UserError as `training.trainer.train`, and for folds that are not those that the folder was begun with.
    """
    reporter = reporter or Reporter()
    folds = deal_folds(load_manifest(recipe.manifest), count, recipe.seed, recipe.hold_out)
    files = [RunFiles(folder / f"fold_{number}") for number in range(count)]
    # Of several processes (torchrun) the first alone looks, and writes: the others might find what it just wrote.
    first = os.environ.get("RANK", "0") == "0"
    if first:
        _check_folder(folder, folds, resume)
    steps = sum(stage.steps for stage in recipe.resolved_stages())
    unfinished = [run for run in files if not run.model.exists()]
    if unfinished:
        runs = f"{len(unfinished)} runs of {steps} steps each, one after the other,"
        if len(unfinished) == 1:
            runs = f"1 run of {steps} steps,"
        reporter.warning(Problem(Code.SETTING_SLOW, f"{count} folds", hint="one network alone: leave --folds out",
                                 found=f"{runs} and a model that takes {count} times as long for every CT"))
    if first:
        _write_folds(folder, folds)
    for number, (run, groups) in enumerate(zip(files, folds, strict=True)):
        reporter.progress("folds", number, count)
        if not run.model.exists():
            train(fold_recipe(recipe, groups), run.folder, run.last.exists(), device, reporter)
    reporter.progress("folds", count, count)
    bundles = [load_bundle(run.model) for run in files]
    if not first:
        return bundles[0]
    return write_ensemble(folder / MODEL_FOLDER, bundles, recipe.bundle.name, recipe.bundle.version,
                          recipe.bundle.description, {"validation_dice": _mean_dice(bundles), "folds": count})


def _check_folder(folder: Path, folds: Sequence[Sequence[str]], resume: bool) -> None:
    """Raises UserError for a folder that is in use, unless it is to be resumed and has the same folds."""
    file = folder / FOLDS_FILE
    if not file.exists():
        RunFiles(folder).check(False)
        return
    if not resume:
        raise UserError(code=Code.FILE_EXISTS, subject=folder, expected="a new run folder", found=FOLDS_FILE,
                        hint="add --resume or another -o")
    before = json.loads(file.read_text(encoding="utf-8"))
    if before != [list(groups) for groups in folds]:
        raise UserError(code=Code.RESUME_DIFFERS, subject="--resume",
                        found=f"the patients were dealt otherwise when {folder} was begun (see {FOLDS_FILE})",
                        hint="resume with the same cases, --folds and seed, or start a new run")


def _write_folds(folder: Path, folds: Sequence[Sequence[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / FOLDS_FILE) as temporary:
        temporary.write_text(json.dumps(folds, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _mean_dice(bundles: Sequence[Bundle]) -> dict[str, float]:
    """Of each organ the mean over the folds that measured it; each fold measured its network on its own patients."""
    values: dict[str, list[float]] = {}
    for bundle in bundles:
        measured = bundle.metadata.partialorganseg.metrics.get("validation_dice", {})
        if isinstance(measured, Mapping):
            for organ, dice in measured.items():
                values.setdefault(organ, []).append(float(dice))
    return {organ: float(np.mean(of_folds)) for organ, of_folds in values.items()}
