"""How much is spent on a row: the same number of steps, and with the small budget the same small network and grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training.recipe import Recipe, load_recipe

from .table import Row, Table

# What a row keeps of its recipe: losses and their arguments, stages and regimes, sampling, deep supervision, HU window.
# Replaced: what needs a GPU or days. Chosen so that dense labels of 14 phantoms give a mean Dice of about 0.7: neither
# has everything been learned then nor nothing.
SMALL_SETTINGS: dict[str, object] = {
    "preprocessing.spacing_zyx": [8.0, 8.0, 8.0], "preprocessing.patch_zyx": [32, 32, 48], "batch_size": 1,
    "network": {"name": "light_unet", "arguments": {"channels": [16, 32, 48, 64], "norm": "instance"}},
    "augmentation": {"strength": 0.0}, "schedule": {"name": "poly"}, "validation": None, "half_precision": False,
    "workers": 0, "checkpoint_every": 100,
}
SMALL_OPTIMISER = {"name": "adamw", "learning_rate": 0.01, "dual_learning_rate": 0.02, "weight_decay": 0.01,
                   "warmup_steps": 20, "decay_power": 0.9, "clip_gradient": 5.0, "ema": 0.97}
SMALL_CRF = "loss_arguments.crf.radius=[0, 2, 2]"  # 16 mm; the recipe's five voxels of 1 mm would be 40 mm here


@dataclass(frozen=True)
class Budget:
    """`steps` of every row (None: as many as the table says), `phantoms` where no data is given, what a report says of
    it, and `half_precision` where recipes shall train in bfloat16, whatever they say themselves."""

    name: str
    steps: int | None
    phantoms: int
    description: str
    half_precision: bool = False

    @property
    def is_small(self) -> bool:
        """Whether recipes are changed to what two processor cores can do."""
        return self.name == "small"

    def organs(self, table: Table) -> tuple[str, ...]:
        """Those of a table that are trained and measured."""
        if self.is_small:
            return table.small_organs
        return table.organs

    def steps_of(self, table: Table) -> int:
        """How many steps every row of a table gets."""
        if self.steps is not None:
            return self.steps
        if self.is_small:
            return table.small_steps
        return total_steps(load_recipe(_shipped(table.recipe)))


SMALL = Budget("small", None, 30, "one small network, grid and optimiser for all rows (PIPO-FAN's table: its own "
               "network, an eighth of its channels), no augmentation; losses, stages, sampling and HU windows are the "
               "recipes'")
FULL = Budget("full", None, 60, "the recipes as shipped")
BUDGETS = {budget.name: budget for budget in (SMALL, FULL)}


def row_recipe(table: Table, row: Row, budget: Budget, manifest: Path, seed: int) -> Recipe:
    """The shipped recipe of a row with its changes and the budget's; of a row with folds, one fold's. Stages keep their
    shares of the steps."""
    path = _shipped(row.recipe)
    changes = [*row.changes]
    if budget.is_small:
        settings = {**SMALL_SETTINGS, **table.small}
        if row.recipe == "partialorganseg":
            settings = SMALL_SETTINGS  # not the table's: it is a 3D recipe
        changes = [*(f"{key}={_text(value)}" for key, value in settings.items()), *changes]
        if row.recipe == "scribble_crf":
            changes.append(SMALL_CRF)
        changes += row.small
    if budget.half_precision:
        changes.append("half_precision=true")
    changes += [f"manifest={_text(str(manifest))}", f"seed={seed}"]
    steps = budget.steps_of(table) // max(1, row.folds)
    stages = _stage_changes(load_recipe(path, changes), load_recipe(path), steps, budget)
    return load_recipe(path, [*changes, *stages])


def total_steps(recipe: Recipe) -> int:
    """The steps of all stages."""
    return sum(stage.steps for stage in recipe.resolved_stages())


def _shipped(name: str) -> Path:
    return resource("recipes", f"{name}.yaml")


def _stage_changes(recipe: Recipe, shipped: Recipe, steps: int, budget: Budget) -> list[str]:
    """Deals `steps` to the stages as the recipe does; pseudo-labels are renewed as often in a stage as there, and the
    same share of a patch's voxels is drawn."""
    stages = recipe.resolved_stages()
    total, recipe_steps, dealt, changes = total_steps(recipe), 0, 0, []
    smaller = math.prod(recipe.preprocessing.patch_zyx) / math.prod(shipped.preprocessing.patch_zyx)
    for number, stage in enumerate(stages):
        # A recipe without stages has the settings of its only one at the top.
        place = ""
        if recipe.stages:
            place = f"stages.{number}."
        # Rounded at the stages' ends, so that what rounding takes from one stage the next one gets.
        recipe_steps += stage.steps
        stage_steps = max(1, round(steps * recipe_steps / total) - dealt)
        dealt += stage_steps
        changes.append(f"{place}steps={stage_steps}")
        if stage.pseudo_labels is not None:
            interval = max(1, round(stage.pseudo_labels.every * stage_steps / stage.steps))
            changes.append(f"{place}pseudo_labels.every={interval}")
        if stage.voxels_per_set:
            changes.append(f"{place}voxels_per_set={max(1, round(stage.voxels_per_set * smaller))}")
        if budget.is_small:
            changes.append(f"{place}optimiser={_text(SMALL_OPTIMISER)}")
    return changes


def _text(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
