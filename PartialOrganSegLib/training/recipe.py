"""A recipe: every setting of a training run and of its stages, validated once when it is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from ..errors import Code, Problem, UserError, did_you_mean, nearest
from ..resources import moved, resource
from ..yaml_file import read_yaml
from .settings import (
    AugmentationSettings,
    BundleSettings,
    NetworkSettings,
    Stage,
    StageSettings,
    ValidationSettings,
)


def _low_high(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError(f"expected low < high, found {window}")
    return window


Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Voxels = Annotated[int, Field(ge=1)]
RECIPE_FILE, MODEL_FOLDER = "recipe.yaml", "model"  # in a run's folder
PATHS = ("manifest", "start_from")
MERGED = ("optimiser", "schedule", "sampling")  # of these a stage changes single keys; others it replaces whole


class Recipe(StageSettings):
    """All settings. Spacing in mm and sizes in voxels are z, y, x; the window is in HU.

    `stages` lists what each stage changes; without any the run is one stage. `network`: null takes the one of
    `start_from`, whose weights make up `start_share` of those that are measured and written. Of a joined start model
    the last network is trained; it `takes_over` these organs, of which others had the say (null: all that the training
    cases show for certain), where validation does not find them worse. `half_precision`: true is
    bfloat16, "float16" (GPU only) scales the loss. `batch_size` is per process.
    """

    manifest: Path
    hold_out: list[str] = Field(default=[])
    validation: ValidationSettings | None = None
    start_from: Path | None = None
    start_share: float = Field(default=0.0, ge=0, lt=1)
    takes_over: list[str] | None = None
    spacing_zyx: tuple[Millimetres, Millimetres, Millimetres] = (3.0, 2.0, 2.0)
    patch_zyx: tuple[Voxels, Voxels, Voxels] = (48, 128, 160)
    clip_hu: Annotated[tuple[float, float], AfterValidator(_low_high)] = (-300.0, 500.0)
    subtract: float = 60.0
    divide: float = Field(default=150.0, gt=0)
    network: NetworkSettings | None = None
    air_is_background: bool = False  # what lies outside the body, where masks leave it open
    augmentation: AugmentationSettings = AugmentationSettings()
    batch_size: int = Field(default=2, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)  # what PyTorch takes
    workers: int = Field(default=1, ge=0)
    half_precision: Literal[True, False, "float16"] = True
    bundle: BundleSettings = BundleSettings()
    stages: list[Stage] = Field(default=[])

    @model_validator(mode="before")
    @classmethod
    def _whole_stages(cls, content: Any) -> Any:
        """Completes each stage with what is set for all."""
        if not isinstance(content, dict) or not isinstance(content.get("stages"), list):
            return content
        shared = {key: value for key, value in content.items() if key in StageSettings.model_fields}
        return content | {"stages": [_merged(shared, stage) for stage in content["stages"]]}

    def resolved_stages(self) -> list[Stage]:
        """The stages in order, each with all its settings."""
        return self.stages or [Stage.model_validate(self.model_dump(include=set(StageSettings.model_fields)))]


def _merged(shared: dict[str, Any], change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    parts = {key: {**shared[key], **change[key]} for key in MERGED
             if isinstance(shared.get(key), dict) and isinstance(change.get(key), dict)}
    return shared | change | parts


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

    Raises UserError naming the key, the value, what is allowed and the nearest name.
    """
    path = find_recipe(path)
    content = read_yaml(path, "recipe")
    if not isinstance(content, dict):
        raise UserError(code=Code.VALUE_UNFIT, subject=path, expected="settings as 'key: value'",
                        found=type(content).__name__)
    for override in overrides:
        _override(content, override)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(_problem(error).within(path)) from None
    folder = path.resolve().parent
    recipe.manifest = (folder / recipe.manifest.expanduser()).resolve()
    if recipe.start_from is not None:
        recipe.start_from = (folder / recipe.start_from.expanduser()).resolve()
    return recipe


def _override(content: dict, override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"--set {override}", expected="KEY=VALUE")
    *parents, last = key.split(".")
    place: Any = content
    for parent in parents:
        if isinstance(place, list) and parent.isdigit() and int(parent) < len(place):
            place = place[int(parent)]
        elif isinstance(place, list):
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject=f"--set {override}",
                            expected=f"a number from 0 to {len(place) - 1}", found=f"'{parent}'")
        else:
            place = place.setdefault(parent, {})
        if not isinstance(place, dict | list):
            raise UserError(code=Code.UNKNOWN_NAME, subject=f"--set {override}",
                            found=f"'{parent}' is not a group of settings")
    if not isinstance(place, dict):
        raise UserError(code=Code.VALUE_UNFIT, subject=f"--set {override}", expected="the key of a setting",
                        found=f"'{last}'")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"--set {override}", expected="a YAML value") from None
    if key in PATHS and isinstance(place[last], str):
        place[last] = str(Path(place[last]).expanduser().absolute())


def _problem(error: ValidationError) -> Problem:
    """The first thing that is wrong."""
    first = error.errors()[0]
    location = first["loc"]
    key = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        known = list(_group(location[:-1]).model_fields)
        return Problem(Code.UNKNOWN_NAME, key, found=f"unknown setting{nearest(str(location[-1]), known)}",
                       hint=f"known: {', '.join(known)}")
    if first["type"] == "value_error":
        return Problem(Code.VALUE_UNFIT, key, found=str(first["ctx"]["error"]))
    if first["type"] in ("literal_error", "enum"):
        names = re.findall(r"'([^']+)'", first["ctx"]["expected"])
        return Problem(Code.UNKNOWN_NAME, key, first["ctx"]["expected"], repr(first["input"]),
                       did_you_mean(first["input"], names))
    return Problem(Code.VALUE_UNFIT, key, found=f"{first['msg']}, found {first['input']!r}")


def _group(location: Sequence[str | int]) -> type[BaseModel]:
    """The settings that lie at a location: in a list, or perhaps none."""
    annotation: Any = Recipe
    for part in location:
        if isinstance(part, str):
            annotation = annotation.model_fields[part].annotation
        annotation = next((option for option in get_args(annotation) if option is not type(None)), annotation)
    return annotation
