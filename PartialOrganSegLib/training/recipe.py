"""A recipe: every setting of a training run, validated once when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import UserError, nearest
from ..models.metadata import NAME_PATTERN, Licences
from ..yaml_file import read_yaml


def _low_high(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError(f"expected low < high, found {window}")
    return window


def _all_licences(licences: dict[str, str]) -> dict[str, str]:
    if set(licences) != set(Licences.model_fields):
        raise ValueError(f"expected the keys {', '.join(Licences.model_fields)}, found {', '.join(licences) or 'none'}")
    return licences


Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Voxels = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NetworkSettings(_Settings):
    """A network's registered name and its arguments."""

    name: str = "light_unet"
    arguments: dict[str, object] = {}


class OptimiserSettings(_Settings):
    """AdamW with a linear warm-up and a polynomial decay to zero at the last step."""

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    decay_power: float = Field(default=0.9, gt=0)
    clip_gradient: float = Field(default=5.0, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)


class AugmentationSettings(_Settings):
    """See `data.augmentation.Augmentation`. `strength` 0 switches all of it off."""

    strength: float = Field(default=1.0, ge=0, le=1.5)
    rotation: tuple[float, float, float] = (12.0, 8.0, 8.0)
    scale: float = Field(default=0.2, ge=0, le=0.5)
    deformation: float = Field(default=8.0, ge=0)
    hu_scale: float = Field(default=0.12, ge=0, lt=1)
    hu_shift: float = Field(default=25.0, ge=0)


class BundleSettings(_Settings):
    """What the finished model says of itself."""

    name: str = Field(default="trained", pattern=NAME_PATTERN)
    version: str = "0.1.0"
    description: str = "Abdominal organs on CT"
    licences: Annotated[dict[str, str], AfterValidator(_all_licences)] = {
        "code": "Apache-2.0", "weights": "not stated", "data": "not stated"}
    training_data: list[str] = []


class Recipe(_Settings):
    """All settings. Spacing in mm and sizes in voxels are z, y, x; the window is in HU."""

    manifest: Path
    hold_out: list[str] = []
    start_from: Path | None = None
    spacing_zyx: tuple[Millimetres, Millimetres, Millimetres] = (3.0, 2.0, 2.0)
    patch_zyx: tuple[Voxels, Voxels, Voxels] = (48, 128, 160)
    clip_hu: Annotated[tuple[float, float], AfterValidator(_low_high)] = (-300.0, 500.0)
    subtract: float = 60.0
    divide: float = Field(default=150.0, gt=0)
    network: NetworkSettings = NetworkSettings()
    losses: dict[str, NotNegative] = {"marginal_cross_entropy": 1.0, "marginal_dice": 1.0}
    loss_arguments: dict[str, dict[str, object]] = {}
    air_is_background: bool = False  # what lies outside the body, in cases that leave it open
    voxels_per_set: int = Field(default=150_000, ge=0)
    optimiser: OptimiserSettings = OptimiserSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    batch_size: int = Field(default=2, ge=1)
    steps: int = Field(default=1000, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=0)
    half_precision: bool = True
    bundle: BundleSettings = BundleSettings()


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe; `overrides` are `key.sub=value` with YAML values. Paths are relative to the recipe's folder.

    Raises UserError naming the key, the value, what is allowed and the nearest name.
    """
    path = Path(path)
    content = read_yaml(path, "recipe")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected settings as 'key: value', found {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None
    folder = path.resolve().parent
    recipe.manifest = (folder / recipe.manifest.expanduser()).resolve()
    if recipe.start_from is not None:
        recipe.start_from = (folder / recipe.start_from.expanduser()).resolve()
    return recipe


def _override(content: dict, override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise UserError(f"--set {override}: expected KEY=VALUE")
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {override}: '{parent}' is not a group of settings")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: expected a YAML value") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        fields: type[BaseModel] = Recipe
        for part in first["loc"][:-1]:
            fields = fields.model_fields[str(part)].annotation
        known = list(fields.model_fields)
        return f"{key}: unknown setting{nearest(str(first['loc'][-1]), known)}; known: {', '.join(known)}"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}"
    return f"{key}: {first['msg']}, found {first['input']!r}"
