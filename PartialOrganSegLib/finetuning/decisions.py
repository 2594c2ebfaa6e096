"""What a fine-tuning run decides of its recipe: from its start model, device, cases and time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import Code, UserError
from ..models.bundle import Bundle
from ..models.folders import LONGEST_NAME
from ..organs import LabelSpace
from ..real_paths import real_path
from ..segmenting.backend import computes_bfloat16
from ..training.recipe import Recipe, load_recipe
from ..training.transfer import ClassMap
from .budget import Budget
from .cases import MEASURED, PreparedCase
from .holdout import HeldOut
from .measured_on import MeasuredOn
from .run_folder import MANIFEST_FILE
from .verdict import LOSS_TOLERATED

# Of the weight-space ensemble with the start model, that are tried.
ALPHAS = (1.0, 0.75, 0.5, 0.25)
# Of four CTs whose organs the start model had found at a Dice of about 0.6 the next one gained most from half of its
# weights, of three at about 0.3 from none of them; both forgot little.
NONE_BELOW, HALF_FROM = 0.3, 0.6
USUAL_ALPHA = 0.75
# Of learning, by the same Dice: at the high one a model forgets what it knows, at the low one it hardly learns what it
# does not. See docs/results/fine-tuning.md.
HIGH_RATE, LOW_RATE = 0.001, 0.0002
# From which an organ that the start model lacks gets its first weights: five seconds of one core.
NEW_CLASS_PATCHES = 16
_OF_CASES = "and the cases fine-tuned on, whose terms are their owner's"
# Settings of a recipe that a run decides, and how to ask for others.
DECIDED = {"steps": "; see --steps", "stages": "; see --steps", "manifest": "; see --data",
           "hold_out": "; see --validate", "validation.groups": "; see --validate",
           "validation.share": "; see --validate", "start_from": "; see --model", "bundle.name": "; see --name",
           "network": " by the start model", "takes_over": " by the cases", "beside": "; see --beside"}
# Of NVIDIA's GPUs; older ones compute bfloat16 very slowly or not at all.
BFLOAT16_CAPABILITY = (8, 0)

SettingValues = dict[str, object]  # by dotted keys


@dataclass(frozen=True)
class RecipeDraft:
    """A recipe's file, what the run decides of it, and the user's `overrides`, which have the last word."""

    file: Path
    decided: Mapping[str, object]
    overrides: Sequence[str]

    def with_settings(self, settings: Mapping[str, object]) -> RecipeDraft:
        """The draft with more decided; of settings decided before the new values hold."""
        return replace(self, decided={**self.decided, **settings})

    def read(self) -> Recipe:
        """The recipe. Raises UserError as `load_recipe`."""
        return load_recipe(self.file, [*(f"{key}={json.dumps(value)}" for key, value in self.decided.items()),
                                       *self.overrides])


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises UserError for settings that a fine-tuning decides itself."""
    for override in overrides:
        key = override.partition("=")[0]
        for name, advice in DECIDED.items():
            # A group of settings contains the decided one, or the other way round.
            if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}."):
                raise UserError(code=Code.SETTINGS_CONFLICT, subject=f"--set {key}",
                                expected="a setting that fine-tuning leaves open", found=f"one that it decides{advice}")


def _terms_of_data(terms: str) -> str:
    """The terms of the start model's data and the cases'; of a fine-tuned one they name such cases already."""
    if terms.endswith(_OF_CASES):
        return terms
    return f"{terms}; {_OF_CASES}"


def start_settings(start: Bundle, classes: ClassMap, run: Path, name: str | None,
                   device: torch.device) -> SettingValues:
    """What the start model and the device decide. `name`: the new model's, None after the start model.

    `classes`: from those of the network that learns, which of a joined start model is the last.
    """
    learner = start.learner
    preprocessing, licences = learner.preprocessing, learner.metadata.partialorganseg.licences
    settings: SettingValues = {
        "manifest": str(real_path(run / MANIFEST_FILE)), "start_from": str(real_path(start.folder)), "network": None,
        "preprocessing": {"spacing_zyx": preprocessing.spacing_zyx, "patch_zyx": preprocessing.patch_zyx,
                          "clip_hu": preprocessing.clip_hu, "subtract": preprocessing.subtract,
                          "divide": preprocessing.divide},
        "half_precision": training_precision(device), "batch_size": 2 if device.type == "cuda" else 1,
        "bundle.name": name or next_name(start.name),
        "bundle.description": _description(start, classes),
        "bundle.licences": {"code": licences.code, "weights": licences.weights,
                            "data": _terms_of_data(licences.data)}}
    if classes.new:
        settings["loss_arguments.distillation.new_classes"] = list(classes.new)
        # In the plain mean a new organ does not appear within the steps of a fine-tuning: the background outweighs it.
        settings["loss_arguments.marginal_cross_entropy.balanced"] = True
        settings["new_class_patches"] = NEW_CLASS_PATCHES
    return settings


def _description(start: Bundle, classes: ClassMap) -> str:
    """Of the new model, in one line: what its start model says of itself holds no more where organs come or go."""
    if not classes.new and not classes.dropped:
        return f"{start.learner.metadata.description} Fine-tuned."
    count = len(classes.source) - 1  # without the background
    return f"Fine-tuned from {start.name} {start.metadata.version}: {count} organs on CT. Research only."


def next_name(start: str) -> str:
    """The new model's name after the start model's.

    >>> next_name("embedded"), next_name("embedded-finetuned"), next_name("embedded-finetuned-2")
    ('embedded-finetuned', 'embedded-finetuned-2', 'embedded-finetuned-3')
    """
    base, ending = start, "-finetuned"
    generation = re.fullmatch(r"(.*)-finetuned(?:-(\d{1,4}))?", start)
    if generation is not None:
        base, number = generation.groups()
        ending = f"-finetuned-{int(number or 1) + 1}"
    return base[:LONGEST_NAME - len(ending)] + ending


def training_precision(device: torch.device) -> bool | str:
    """The recipe's `half_precision` that a device trains fastest with."""
    if device.type == "cpu":
        return computes_bfloat16()
    if device.type == "cuda":
        return True if torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY else "float16"
    return False


def stroke_settings(rates: Sequence[float]) -> SettingValues:
    """What strokes change, with their classes' draw rates; nothing where there are none.

    The cross entropy is a mean over the labelled voxels of a mini-batch: beside a patch of masks, strokes would not be
    heard.
    """
    if not rates:
        return {}
    return {"loss_arguments.marginal_cross_entropy.draw_rates": list(rates), "batch_size": 1}


def beside_settings(from_drawings_alone: bool) -> SettingValues:
    """What a copy that learns beside the start model changes. What it forgets nobody asks it for; where the drawings
    say of every voxel whether it is one of the organs to be learnt, the start model has nothing to teach it."""
    settings: SettingValues = {"beside": True}
    if from_drawings_alone:
        settings["losses.distillation"] = 0.0
        # Beside masks of one organ it is the air round the body, and would have nearly half of the patches.
        settings["sampling.background"] = False
    return settings


def joined_settings(start: Bundle, space: LabelSpace, classes: ClassMap, changed: Sequence[int],
                    beside: bool = False) -> SettingValues:
    """What a joined start model, or one that is learnt `beside`, changes: the network that is trained takes over the
    organs that the cases show.

    `classes`: from its learner's. One that only other members know and no case shows need not appear in it.
    """
    if not start.members and not beside:
        return {}
    appearing = [label for label in classes.new
                 if label in changed or space.names[label - 1] not in start.label_space.names]
    settings: SettingValues = {"takes_over": [space.names[label - 1] for label in changed]}
    if classes.new and not appearing:
        settings["loss_arguments.marginal_cross_entropy.balanced"] = False
    return settings


def alpha_for(start_dice: float | None) -> float:
    """The trained weights' part in the result for the start model's Dice of what the cases show; None: it has none.

    What is learnt of three patients goes too far for the next one where the start model knew the organ already, and is
    held back by it where it did not.
    """
    if start_dice is None:
        return USUAL_ALPHA
    return round(1 - _knowledge(start_dice) / 2, 2)


def rate_for(start_dice: float | None, beside: bool) -> float:
    """The learning rate for the start model's Dice of what the cases show; None: it has none. `beside`: a copy learns,
    which has nothing to keep."""
    if beside:
        return HIGH_RATE
    if start_dice is None:
        return LOW_RATE
    return float(f"{HIGH_RATE * (LOW_RATE / HIGH_RATE) ** _knowledge(start_dice):.1g}")


def _knowledge(start_dice: float) -> float:
    """From 0, the start model knows as good as nothing of what the cases show, to 1."""
    return min(max((start_dice - NONE_BELOW) / (HALF_FROM - NONE_BELOW), 0.0), 1.0)


def alphas_to_try(alpha: float, set_by_user: bool, held: HeldOut) -> list[float]:
    """The alphas that are measured beside the recipe's `alpha`; none where the user wants the trained weights alone.

    Smaller ones, which may save a kept organ. Larger ones only where other patients are measured on: in slabs of those
    that were trained on, the trained weights look better than they are.
    """
    if set_by_user and alpha == 1:
        return []
    other_patients = MeasuredOn.CASES in held.measured_on.values()
    return [value for value in ALPHAS if value < alpha or (value > alpha and other_patients)]


def budget_settings(budget: Budget, measured: Sequence[PreparedCase], changed: Sequence[str],
                    alphas: Sequence[float], synthetic: Sequence[str] = ()) -> SettingValues:
    """What the budget decides of a recipe. Organs learnt and organs kept decide half each on which weights
    are the best; those that would not be selected come last. `synthetic`: organs that only phantoms measure, which
    decide nothing."""
    # Where the time decides, an early end would be no gain: the best weights are taken in any case.
    patience = 2 if budget.step_limit == budget.steps else 0
    # The most there may be, of which the time decides.
    return {"steps": budget.step_limit, "optimiser.warmup_steps": max(1, min(50, budget.steps // 10)),
            "checkpoint_every": max(10, min(100, budget.steps // 10)), "workers": budget.workers,
            "validation.groups": [MEASURED] if measured else [], "validation.every": budget.measure_every,
            "validation.patience": patience, "validation.half": list(changed),
            "validation.tolerated_loss": LOSS_TOLERATED, "validation.alphas": list(alphas),
            "validation.ignored": list(synthetic)}
