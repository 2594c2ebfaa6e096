"""The groups of settings that a recipe is made of, each with what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ..annotation import Kind
from ..models.bundle import Preprocessing
from ..models.folders import NAME_PATTERN
from ..models.metadata import Licences
from ..segmenting.options import LARGEST_SCALE, LEAST_SCALE
from .registered import (
    known_loss_arguments,
    network_arguments,
    optimiser_arguments,
    registered_losses,
    registered_network,
    registered_optimiser,
    registered_schedule,
    schedule_arguments,
)


def _all_licences(licences: dict[str, str]) -> dict[str, str]:
    if set(licences) != set(Licences.model_fields):
        raise ValueError(f"expected the keys {', '.join(Licences.model_fields)}, found {', '.join(licences) or 'none'}")
    return licences


def _low_high(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError(f"expected low < high, found {window}")
    return window


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"expected a regular expression, found '{pattern}' ({error})") from None
    return pattern


NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1)]
Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Voxels = Annotated[int, Field(ge=1)]
Alpha = Annotated[float, Field(gt=0, le=1)]
Chance = Annotated[float, Field(ge=0, le=1)]


# A recipe's file has one key for each field below, so their names and defaults are a promise to users.
class Settings(BaseModel):
    """A group of settings; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid")


class PreprocessingSettings(Settings):
    """How a CT becomes the network's input; see `models.bundle.Preprocessing`.

    Spacing in mm and the training patch in voxels are z, y, x; the window `clip_hu` is in HU, and so are `subtract` and
    `divide`: input = (HU clipped to the window - `subtract`) / `divide`.
    """

    spacing_zyx: tuple[Millimetres, Millimetres, Millimetres] = (3.0, 2.0, 2.0)
    patch_zyx: tuple[Voxels, Voxels, Voxels] = (48, 128, 160)
    clip_hu: Annotated[tuple[float, float], AfterValidator(_low_high)] = (-300.0, 500.0)
    subtract: float = 60.0
    divide: float = Field(default=150.0, gt=0)

    def for_bundle(self) -> Preprocessing:
        """What a bundle of the trained model says of it."""
        return Preprocessing(self.spacing_zyx, self.clip_hu, self.subtract, self.divide, self.patch_zyx)


class NetworkSettings(Settings):
    """A network's registered name or `package.module:Class`, and its arguments.

    `backbone_weights`: a file of pre-trained weights for the ResNet of a DeepLab network (torchvision's names), read
    without running anything in it; see `networks.backbones`.
    """

    name: Annotated[str, AfterValidator(registered_network)] = "light_unet"
    arguments: dict[str, object] = {}
    backbone_weights: Path | None = None

    @field_validator("arguments")
    @classmethod
    def _known_arguments(cls, arguments: dict[str, object], info: ValidationInfo) -> dict[str, object]:
        return network_arguments(info.data.get("name"), arguments)


class OptimiserSettings(Settings):
    """The optimiser, its linear warm-up, the power of the poly schedule, and the moving average of the weights (EMA).

    `momentum` is SGD's and RMSprop's. `dual_learning_rate` is that of losses' trained dual variables (Zhou 2019,
    section 4.1). `class_rate`: the learning rate of the layers that give the classes' logits, as a multiple of that of
    all others: above 1 a new class finds its weights among features that hardly change (Kumar 2022, Fine-tuning can
    distort pretrained features). `clip_gradient` bounds the gradient's norm; null: no bound. `name`: a registered one
    or `package.module:Class`; `arguments`: further ones of that class.
    """

    name: Annotated[str, AfterValidator(registered_optimiser)] = "adamw"
    arguments: dict[str, object] = {}
    learning_rate: float = Field(default=1e-3, gt=0)
    dual_learning_rate: float = Field(default=2e-5, gt=0)
    class_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    decay_power: float = Field(default=0.9, gt=0)
    clip_gradient: float | None = Field(default=5.0, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)

    @field_validator("arguments")
    @classmethod
    def _known_arguments(cls, arguments: dict[str, object], info: ValidationInfo) -> dict[str, object]:
        return optimiser_arguments(info.data.get("name"), arguments)


class ScheduleSettings(Settings):
    """How the learning rate falls within a stage.

    poly: to zero at the stage's last step. step: times `factor` every `every` steps. plateau: times `factor` when the
    mean loss of an epoch (`epoch_steps` steps) has fallen by less than `least_gain` over `patience` epochs (Shi 2021,
    section 4.2). constant: not at all. `package.module:Class`: a class derived from `training.schedules.Schedule`;
    `arguments`: further ones of it.
    """

    name: Annotated[str, AfterValidator(registered_schedule)] = "poly"
    arguments: dict[str, object] = {}
    factor: float = Field(default=0.8, gt=0, lt=1)
    every: Steps = 1000
    epoch_steps: Steps = 250
    patience: Annotated[int, Field(ge=1)] = 10
    least_gain: NotNegative = 1e-3

    @field_validator("arguments")
    @classmethod
    def _known_arguments(cls, arguments: dict[str, object], info: ValidationInfo) -> dict[str, object]:
        return schedule_arguments(info.data.get("name"), arguments)


class SamplingSettings(Settings):
    """How patches are drawn; see `loading.sampling.PatchSampler`."""

    datasets: Literal["weight", "equal", "alternate"] = "weight"
    full_share: float | None = Field(default=None, gt=0, lt=1)
    anywhere: float = Field(default=0.1, ge=0, le=1)
    foreground: int = Field(default=0, ge=0)
    background: bool = True


class PseudoLabelSettings(Settings):
    """A copy of the network, renewed every `every` steps from the weights or from their moving average, labels what
    annotations leave open; see `training.pseudo_labels`.

    Only the named `losses` see these labels. The others see the annotation itself: prior, entropy and distillation
    speak of what it leaves open. `least_confidence`: how sure of a label the copy must be, less so for organs that it
    is unsure of everywhere; 0: every open voxel gets one (Zhou 2019).
    """

    every: Steps = 10_000
    least_confidence: float = Field(default=0.0, ge=0, lt=1)
    weights: Literal["current", "average"] = "current"
    losses: list[str] = ["marginal_cross_entropy", "marginal_dice"]


class DeepSupervisionSettings(Settings):
    """The weights of a network's outputs, finest first, and how coarser targets are made; see
    `losses.deep_supervision`."""

    weights: list[NotNegative] | None = None
    pooled: bool = False


class ValidationSettings(Settings):
    """Groups of cases that are not trained on: named, or a `share` of all groups drawn with `seed`.

    Their Dice is measured every `every` steps. After `patience` measurements without a better one the stage ends;
    0: never. The best has the highest mean Dice over the organs; where `half` names some, these together count as much
    as all others together. With `tolerated_loss`, weights with which one of these others has lost more Dice than that
    since the start model, or these have gained nothing, are worse than any without. `ignored` organs are measured and
    decide nothing.
    The best weights are measured with each of `alphas` too, beside the recipe's `alpha`, and the best alpha is taken.
    `test_scales`: sizes in plane at which the network sees a case, whose logits are averaged, as `segment --scales`
    does (Zhou 2019, section 4.1); none: its own size alone.
    """

    groups: list[str] = []
    half: list[str] = []
    ignored: list[str] = []
    tolerated_loss: float | None = Field(default=None, ge=0, le=1)
    share: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    every: Steps = 500
    patience: int = Field(default=0, ge=0)
    alphas: list[Alpha] = []
    test_scales: list[Annotated[float, Field(ge=LEAST_SCALE, le=LARGEST_SCALE)]] = []


class AugmentationSettings(Settings):
    """See `loading.augmentation.Augmentation`. `strength` 0 switches all of it off; each part alone is off at 0.

    `blur` to `noise` are the chances of changes of intensity: of a patch to be smoothed, made of thick slices, of
    another contrast, shaded and noisy. `in_plane` is for networks that see slices.
    """

    strength: float = Field(default=1.0, ge=0, le=1.5)
    shift: float = Field(default=0.3, ge=0, le=0.5)
    rotation: tuple[float, float, float] = (12.0, 8.0, 8.0)
    scale: float = Field(default=0.2, ge=0, le=0.5)
    axis_scale: float = Field(default=0.05, ge=0, le=0.5)
    scale_factors: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []
    in_plane: bool = False
    deformation: float = Field(default=8.0, ge=0)
    hu_scale: float = Field(default=0.12, ge=0, lt=1)
    hu_shift: float = Field(default=25.0, ge=0)
    blur: Chance = 0.15
    thick_slices: Chance = 0.15
    contrast: Chance = 0.25
    shading: Chance = 0.1
    noise: Chance = 0.35


class BundleSettings(Settings):
    """What the finished model says of itself."""

    name: str = Field(default="trained", pattern=NAME_PATTERN)
    version: str = "0.1.0"
    description: str = "Abdominal organs on CT"
    licences: Annotated[dict[str, str], AfterValidator(_all_licences)] = {
        "code": "Apache-2.0", "weights": "not stated", "data": "not stated"}
    training_data: list[str] = []


class StageSettings(Settings):
    """What may differ from stage to stage: how long, on which cases, towards what and with which optimiser.

    `use`: the kinds of cases trained on (null: all). `treat_as_unlabelled`: the kinds whose annotation is not looked
    at. `partial_only`: the losses that are taken on patches of cases without a full label alone (Shi 2021, section 4.4:
    the exclusion losses). `train_parameters`: a regular expression; only parameters whose name it is found in are
    trained. `phase`: that of a network which has several (PIPO-FAN: deep_supervision, fusion).
    """

    steps: Steps = 1000
    use: list[Kind] | None = None
    treat_as_unlabelled: list[Kind] = []
    losses: Annotated[dict[str, NotNegative], AfterValidator(registered_losses)] = {
        "marginal_cross_entropy": 1.0, "marginal_dice": 1.0}
    loss_arguments: Annotated[dict[str, dict[str, object]], AfterValidator(known_loss_arguments)] = {}
    partial_only: list[str] = []
    voxels_per_set: int = Field(default=150_000, ge=0)
    deep_supervision: DeepSupervisionSettings = DeepSupervisionSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    sampling: SamplingSettings = SamplingSettings()
    pseudo_labels: PseudoLabelSettings | None = None
    train_parameters: Annotated[str, AfterValidator(_regular_expression)] | None = None
    phase: str | None = None


class Stage(StageSettings):
    """A stage with all its settings."""

    name: str = "training"


def uses_soft_targets(stage: StageSettings) -> bool:
    """Whether a stage learns from the soft targets that cases have."""
    return stage.losses.get("soft_targets", 0) > 0
