"""A row's run: trained by the library's trainer, then measured on all organs of all test cases by its predictor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.folds import FOLDS_FILE, train_folds
from PartialOrganSegLib.training.recipe import Recipe
from PartialOrganSegLib.training.trainer import train

from .budgets import total_steps
from .references import Reference
from .results import Result, divergence_curve, learning_curve, organ_figures, processor_seconds, read_result

RESULT = "result.json"
VERSION = 2  # raised when the same recipe and data would give another result

# Settings that recipes did not have when the first tables were made, with what is the same as none.
LATER_SETTINGS: dict[str, object] = {
    "partial_only": [], "shift": 0.3, "axis_scale": 0.05, "scale_factors": [], "blur": 0.15, "thick_slices": 0.15,
    "contrast": 0.25, "shading": 0.1, "noise": 0.35, "test_scales": [], "backbone_weights": None, "class_rate": 1.0,
    "new_class_patches": 0, "beside": False, "background": True, "in_plane": False, "least_confidence": 0.0}


@dataclass(frozen=True)
class Run:
    """One row with one seed. `organs`: those of its label space; `all_organs`: those that test labels are numbered by.
    `recipe`: with `folds`, each fold's.

    `folder` is of this run's settings and data alone: with other ones it is another folder.
    """

    row: str
    seed: int
    recipe: Recipe
    organs: Sequence[str]
    all_organs: Sequence[str]
    test: Sequence[Reference]
    folder: Path
    folds: int = 0

    @classmethod
    def in_folder(cls, runs: Path, row: str, seed: int, recipe: Recipe, organs: Sequence[str],
                  all_organs: Sequence[str], test: Sequence[Reference], folds: int = 0) -> Run:
        """The run with its own folder in `runs`, named by every setting, the manifest's content and the test cases."""
        # What changes no figure is left out; the manifest's name is a digest of its content.
        settings = recipe.model_dump(mode="json", exclude={"manifest", "checkpoint_every", "workers"})
        essence: list[object] = [VERSION, _without_later(settings), recipe.manifest.name, list(organs),
                   [case.labels.name for case in test]]
        if folds:
            essence.append(folds)
        digest = hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:8]
        return cls(row, seed, recipe, organs, all_organs, test, runs / f"{row}-seed{seed}-{digest}",
                   folds)

    def result(self) -> Result | None:
        """What it gave; None before it has finished."""
        file = self.folder / RESULT
        if not file.exists():
            return None
        return read_result(file)

    def carry_out(self, device: str, reporter: Reporter) -> Result:
        """Trains, or goes on where it was stopped, and measures; nothing is done twice."""
        finished = self.result()
        if finished is not None:
            return finished
        # The result is written last, so that a run stopped while it was measured is measured anew, not trained.
        # The first fold's log stands for all of them.
        log = self.folder / "log.jsonl"
        if self.folds:
            log = self.folder / "fold_0" / "log.jsonl"
            train_folds(self.recipe, self.folder, (self.folder / FOLDS_FILE).exists(), device, reporter,
                        count=self.folds)
        else:
            last = self.folder / "checkpoints" / "last.pt"
            train(self.recipe, self.folder, last.exists(), device, reporter)
        result = self._measured(device)
        result.steps = total_steps(self.recipe)
        result.curve, result.step_seconds = learning_curve(log)
        result.kl = divergence_curve(log)
        result.processor_seconds = processor_seconds(log)
        result.write(self.folder / RESULT)
        return result

    def _measured(self, device: str) -> Result:
        """Figures at each case's own resolution. Predictions are numbered by the model's label space."""
        scales: Sequence[float] = ()
        if self.recipe.validation is not None:
            scales = self.recipe.validation.test_scales  # a method that is tested at several sizes (Zhou 2019, 2D)
        predictor = Predictor(load_bundle(self.folder / "model"), device, scales=scales or (1.0,))
        space = predictor.bundle.label_space
        result = Result({}, 0.0)
        for case in self.test:
            predicted = predictor.predict(read_ct(case.image, force=True)).labels.array
            reference = read_labelmap(case.labels)
            for figures in (result.dice, result.hd95, result.hausdorff):
                figures[case.name] = {}
            for name in self.organs:
                overlap, hd95, farthest = organ_figures(
                    predicted == space.index(name), reference.array == self.all_organs.index(name) + 1,
                    reference.grid.spacing[::-1])
                result.dice[case.name][name] = overlap
                result.hd95[case.name][name] = hd95
                result.hausdorff[case.name][name] = farthest
        return result


def _without_later(settings: object) -> object:
    """Without `LATER_SETTINGS` that have no effect, so that runs from before they existed keep their folders."""
    if isinstance(settings, list):
        return [_without_later(value) for value in settings]
    if not isinstance(settings, dict):
        return settings
    essence = {}
    for name, value in settings.items():
        if name not in LATER_SETTINGS or value != LATER_SETTINGS[name]:
            essence[name] = _without_later(value)
    return essence
