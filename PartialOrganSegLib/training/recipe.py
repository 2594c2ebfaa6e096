"""A recipe: every setting of a training run and of its stages, validated once when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ..errors import Code, UserError, did_you_mean, kind_of
from ..real_paths import below, real_path
from ..resources import moved, resource
from ..yaml_file import read_yaml
from .former_settings import with_current_names
from .overrides import apply_override
from .registered import Arguments, known_hooks
from .setting_errors import first_problem
from .settings import (
    Alpha,
    AugmentationSettings,
    BundleSettings,
    NetworkSettings,
    PreprocessingSettings,
    Settings,
    Stage,
    StageSettings,
    ValidationSettings,
)

RECIPE_FILE, MODEL_FOLDER = "recipe.yaml", "model"  # in a run's folder
# Of these groups a stage changes single keys; other settings it replaces whole.
MERGED = ("optimiser", "schedule", "sampling")


class Recipe(StageSettings):
    """All settings of a run.

    `stages` lists what each stage changes; without any the run is one stage. `network`: null takes the one of
    `start_from`. `alpha`: what is measured and written are (1 - alpha) times the weights of `start_from` plus alpha
    times the trained ones, a weight-space ensemble (WiSE-FT, Wortsman 2022, equation 1); 1 is the trained ones alone.
    Of a joined start model the last network is trained; it `takes_over` these organs, of which other members had the
    say (null: all that the training cases show for certain), where validation does not find them worse.
    `beside`: the start model, of one network or joined, stays whole; a copy of the one that would learn on is trained,
    and has the say of what it `takes_over` and of new organs alone (`models.joined`).
    `half_precision`: true is bfloat16, and float32 on a CPU without it; "float16" (GPU only) scales the loss.
    `batch_size` is per process.
    `new_class_patches`: from so many patches a class that the start model does not have gets its first weights, by what
    tells its voxels apart among the features; 0: it begins as rare background.
    `air_is_background`: what lies outside the body is background, where masks leave it open. `hooks`: what looks on at
    the run (`training.hooks.Hook`), by registered name or `package.module:Class`, with arguments.
    """

    manifest: Path
    hold_out: list[str] = Field(default=[])
    validation: ValidationSettings | None = None
    start_from: Path | None = None
    alpha: Alpha = 1.0
    takes_over: list[str] | None = None
    beside: bool = False
    new_class_patches: int = Field(default=0, ge=0)
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    network: NetworkSettings | None = None
    air_is_background: bool = False
    augmentation: AugmentationSettings = AugmentationSettings()
    batch_size: int = Field(default=2, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)  # what PyTorch takes
    workers: int = Field(default=1, ge=0)
    half_precision: Literal[True, False, "float16"] = True
    bundle: BundleSettings = BundleSettings()
    hooks: Annotated[dict[str, Arguments], AfterValidator(known_hooks)] = Field(default={})
    stages: list[Stage] = Field(default=[])

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, content: object) -> object:
        """Gives settings their present names, and each stage what is set for all."""
        if not isinstance(content, dict):
            return content
        content = with_current_names(content)
        stages = content.get("stages")
        if not isinstance(stages, list):
            return content
        shared = {key: value for key, value in content.items() if key in StageSettings.model_fields}
        return content | {"stages": [_merged(shared, stage) for stage in stages]}

    def resolved_stages(self) -> list[Stage]:
        """The stages in order, each with all its settings; a network stays in its phase until a stage names another."""
        resolved: list[Stage] = []
        for stage in self.stages:
            if stage.phase is None and resolved:
                stage = stage.model_copy(update={"phase": resolved[-1].phase})
            resolved.append(stage)
        if resolved:
            return resolved
        return [Stage.model_validate(self.model_dump(include=set(StageSettings.model_fields)))]

    def changed(self, **settings: object) -> Recipe:
        """A validated copy with other settings; this recipe stays as it is.

        A group of settings given as a mapping changes the keys it names (`preprocessing={"clip_hu": (-200, 300)}`);
        losses, loss arguments and lists are replaced whole. Raises UserError as `load_recipe`, and for a setting of the
        stages where the recipe has a list of them: change `stages` then.

        >>> recipe = Recipe(manifest="manifest.yaml", optimiser={"learning_rate": 0.01})
        >>> shorter = recipe.changed(steps=100, optimiser={"ema": 0.9})
        >>> shorter.steps, shorter.optimiser.learning_rate, shorter.optimiser.ema, recipe.steps
        (100, 0.01, 0.9, 1000)
        """
        in_stages = [name for name in settings if name in StageSettings.model_fields]
        if self.stages and in_stages and "stages" not in settings:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject=in_stages[0],
                            expected="a change of stages, each of which has its own", found="one of the whole recipe")
        content = self.model_dump()
        for name, value in settings.items():
            content[name] = _changed_group(getattr(self, name, None), value)
        try:
            return Recipe.model_validate(content)
        except ValidationError as error:
            raise UserError(first_problem(error, Recipe)) from None


def _changed_group(group: object, value: object) -> object:
    """`value` for a setting; a mapping is completed with what the group of settings has."""
    if not isinstance(group, Settings) or not isinstance(value, Mapping):
        return value
    content: dict[str, object] = group.model_dump()
    for name, inner in value.items():
        content[name] = _changed_group(getattr(group, name, None), inner)
    return content


def _merged(shared: Mapping[str, Any], change: object) -> object:
    """A stage's settings: what it changes of the `shared` ones, key by key in the groups of `MERGED`."""
    if not isinstance(change, dict):
        return change
    stage = {**shared, **change}
    for name in MERGED:
        if isinstance(shared.get(name), dict) and isinstance(change.get(name), dict):
            stage[name] = {**shared[name], **change[name]}
    return stage


def shipped_recipes() -> dict[str, Path]:
    """Name to file of the recipes that come with the library."""
    return {file.stem: file for file in sorted(resource("recipes").glob("*.yaml"))}


def find_recipe(name_or_path: Path | str) -> Path:
    """The file of a recipe. Raises UserError for a bare name that is neither a file nor a shipped recipe's."""
    path = moved(Path(name_or_path))
    if path.exists() or path.suffix or path.parent != Path("."):
        return path
    shipped = shipped_recipes()
    if path.name not in shipped:
        raise UserError(code=Code.FILE_MISSING, subject=path,
                        expected=f"a recipe's file or one of {', '.join(shipped)}", found="neither",
                        hint=did_you_mean(path.name, shipped))
    return shipped[path.name]


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, a file or a shipped one ("full"); `overrides` are `key.sub=value` with YAML values. Paths are
    relative to the recipe's folder, those of overrides to the current one.

    Raises UserError naming the key, the value, what is allowed and the nearest name. Settings under a former name are
    warned of (FutureWarning).
    """
    path = find_recipe(path)
    content = read_yaml(path, "recipe")
    if not isinstance(content, dict):
        raise UserError(code=Code.VALUE_UNFIT, subject=path, expected="settings as 'key: value'",
                        found=kind_of(content))
    try:
        # Before the overrides: these may name by its present name what the file calls by its former one.
        content = with_current_names(content)
    except ValueError as error:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=path, found=str(error)) from None
    for override in overrides:
        apply_override(content, override)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(first_problem(error, Recipe).within(path)) from None
    folder = real_path(path).parent
    recipe.manifest = below(folder, recipe.manifest)
    if recipe.start_from is not None:
        recipe.start_from = below(folder, recipe.start_from)
    if recipe.network is not None and recipe.network.backbone_weights is not None:
        recipe.network.backbone_weights = below(folder, recipe.network.backbone_weights)
    return recipe
