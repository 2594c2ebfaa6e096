"""What a fine-tuning run decides of its recipe: from its start model, device, cases and time."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import Code, UserError
from ..models.bundle import Bundle
from ..models.metadata import LONGEST_NAME
from ..organs import LabelSpace
from ..segmenting.backend import computes_bfloat16
from ..training.recipe import Recipe, load_recipe
from ..training.transfer import ClassMap
from .budget import Budget
from .cases import MEASURED, TakenCase
from .holdout import HeldOut
from .measured_on import MeasuredOn
from .outcome import LOSS_TOLERATED

SHARES = (0.0, 0.25, 0.5, 0.75)  # of the start model in the result, that are tried
# Of four CTs whose organs the start model had found at a Dice of about 0.6 the next one gained most from half of it, of
# three at about 0.3 from none of it; both forgot little.
NO_SHARE_BELOW, HALF_FROM = 0.3, 0.6
USUAL_SHARE = 0.25
# Settings of a recipe that a run decides, and how to wish for others.
DECIDED = {"steps": "; see --steps", "stages": "; see --steps", "manifest": "; see --data",
           "hold_out": "; see --validate", "validation.groups": "; see --validate",
           "validation.share": "; see --validate", "start_from": "; see --model", "bundle.name": "; see --name",
           "network": " by the start model", "takes_over": " by the cases"}
BFLOAT16_CAPABILITY = (8, 0)  # of NVIDIA's GPUs; older ones compute bfloat16 very slowly or not at all


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises UserError for settings that a fine-tuning decides itself."""
    for override in overrides:
        key = override.partition("=")[0]
        part = next((name for name in DECIDED if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.")),
                    None)
        if part is not None:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject=f"--set {key}",
                            expected="a setting that fine-tuning leaves open",
                            found=f"one that it decides{DECIDED[part]}")


def tuned_recipe(file: Path, start: Bundle, classes: ClassMap, run: Path, name: str | None, device: torch.device,
                 changes: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """The recipe file with what this run decides: start model, how it reads CTs, new classes, then `changes`, and what
    the user `overrides`. `name`: the new model's, None after the start model. `classes`: from those of the network that
    learns, which of a joined start model is the last."""
    learner = start.learner
    own = learner.preprocessing
    licences = learner.metadata.partialorganseg.licences
    content: dict[str, Any] = {
        "manifest": str((run / "manifest.yaml").resolve()), "start_from": str(start.folder.resolve()),
        "network": None, "spacing_zyx": own.spacing_zyx, "patch_zyx": own.patch_zyx, "clip_hu": own.clip_hu,
        "subtract": own.subtract, "divide": own.divide,
        "half_precision": training_precision(device), "batch_size": 2 if device.type == "cuda" else 1,
        "bundle.name": name or next_name(start.name),
        "bundle.description": f"{learner.metadata.description} Fine-tuned.",
        "bundle.licences": {"code": licences.code, "weights": licences.weights,
                            "data": f"{licences.data}; and the cases fine-tuned on, whose terms are their owner's"},
        **changes}
    if classes.new:
        content["loss_arguments.distillation.new_classes"] = list(classes.new)
        # In the plain mean a new organ does not appear within the steps of a fine-tuning: the background outweighs it.
        content.setdefault("loss_arguments.marginal_cross_entropy.balanced", True)
    return load_recipe(file, [*(f"{key}={json.dumps(value)}" for key, value in content.items()), *overrides])


def next_name(start: str) -> str:
    """The new model's name after the start model's: embedded, embedded-finetuned, embedded-finetuned-2, ..."""
    base, tuned, number = re.fullmatch(r"(.*?)(-finetuned(?:-(\d{1,4}))?)?", start).groups()
    ending = f"-finetuned-{int(number or 1) + 1}" if tuned else "-finetuned"
    return base[:LONGEST_NAME - len(ending)] + ending


def training_precision(device: torch.device) -> bool | str:
    """The recipe's `half_precision` that a device trains fastest with."""
    if device.type == "cpu":
        return computes_bfloat16()
    if device.type == "cuda":
        return True if torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY else "float16"
    return False


def stroke_settings(rates: Sequence[float]) -> dict[str, Any]:
    """What strokes change, with their classes' draw rates; nothing where there are none.

    The cross entropy is a mean over the labelled voxels of a mini-batch: beside a patch of masks, strokes would not be
    heard.
    """
    return {"loss_arguments.marginal_cross_entropy.draw_rates": list(rates), "batch_size": 1} if rates else {}


def joined_settings(start: Bundle, space: LabelSpace, classes: ClassMap, changed: Sequence[int]) -> dict[str, Any]:
    """What a joined start model changes: its trained network takes over the organs that the cases show.

    `classes`: from its learner's. One that only other members know and no case shows need not appear in it.
    """
    if not start.members:
        return {}
    appearing = [label for label in classes.new
                 if label in changed or space.names[label - 1] not in start.label_space.names]
    settings: dict[str, Any] = {"takes_over": [space.names[label - 1] for label in changed]}
    if classes.new and not appearing:
        settings["loss_arguments.marginal_cross_entropy.balanced"] = False
    return settings


def share_for(known: float | None) -> float:
    """The start model's share in the result for the Dice that it has of what the cases show; None: it has none.

    What is learnt of three patients goes too far for the next one where the start model knew the organ already, and is
    held back by it where it did not.
    """
    if known is None:
        return USUAL_SHARE
    return round(min(max((known - NO_SHARE_BELOW) / (HALF_FROM - NO_SHARE_BELOW), 0), 1) / 2, 2)


def shares_to_try(share: float, asked: bool, held: HeldOut) -> list[float]:
    """The start model's shares in the result that are measured beside the recipe's `share`; none where 0 was `asked`
    for.

    Larger ones, which may save a kept organ. Smaller ones only where other patients are measured on: in slabs of those
    that were trained on, the trained weights look better than they are.
    """
    if asked and not share:
        return []
    other_patients = MeasuredOn.CASES in held.measured_on.values()
    return [value for value in SHARES if value > share or (value < share and other_patients)]


def budget_settings(budget: Budget, measured: Sequence[TakenCase], changed: Sequence[str],
                    shares: Sequence[float]) -> dict[str, Any]:
    """What the budget decides of a recipe. Organs learnt and organs kept decide half each on which weights
    are the best; those that would not be selected come last."""
    return {"steps": budget.steps, "optimiser.warmup_steps": max(1, min(50, budget.steps // 10)),
            "checkpoint_every": max(10, min(100, budget.steps // 10)), "workers": budget.workers,
            "validation.groups": [MEASURED] if measured else [], "validation.every": budget.every,
            "validation.patience": 2, "validation.half": list(changed), "validation.tolerated_loss": LOSS_TOLERATED,
            "validation.start_shares": list(shares)}
