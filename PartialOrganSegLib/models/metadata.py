"""What configs/metadata.json of a bundle holds: MONAI's fields plus one section of our own, validated on load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import __version__
from ..errors import Code, UserError
from ..json_file import read_json
from ..label_space_file import LabelSpaceEntry
from ..organs import LabelSpace
from .folders import NAME_PATTERN

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# How nnU-Net listed the voxels of the files that a model was trained on.
Orientation = Literal["stored", "RAS", "LPS"]
Precision = Literal["bfloat16", "float32"]
Axis = Annotated[int, Field(ge=0, le=2)]


class _Strict(BaseModel):
    # A misspelt setting would otherwise be its default.
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkEntry(_Strict):
    """A registered network and the arguments it is built with (beyond channels and classes)."""

    name: str
    arguments: dict[str, Any] = {}


class PreprocessingEntry(_Strict):
    """See `bundle.Preprocessing`."""

    spacing_zyx: tuple[Positive, Positive, Positive]
    clip_hu: tuple[float, float]
    subtract: float
    divide: Positive
    patch_zyx: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    fitted: Annotated[float, Field(ge=1, le=4)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> PreprocessingEntry:
        if not self.clip_hu[0] < self.clip_hu[1]:
            raise ValueError(f"clip_hu must be (lower, upper), found {self.clip_hu}")
        return self


class NNUNetEntry(_Strict):
    """How nnU-Net v2 reads a CT and writes labels where that differs from our way; see `segmenting.nnunet`.

    `orientation` says how the file's voxels are listed before `transpose` orders the axes; everything that follows is
    on the axes that result. `spacing` (mm) and `patch` (voxels) have two numbers for a network of slices, which lie
    along the first axis. CTNormalization's clipping, mean and deviation are those of `preprocessing`. The CT is
    resampled with splines of `order`, and where voxels are more than three times as long as wide (or as `separate_z`
    says) with `order_z` along that axis. Windows advance by `step` of the patch.
    """

    orientation: Orientation = "stored"
    transpose: tuple[Axis, Axis, Axis] = (0, 1, 2)
    spacing: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    patch: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=3)]
    normalisation: Literal["CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization", "NoNormalization"] = \
        "CTNormalization"
    masked_normalisation: bool = False
    order: Literal[0, 1, 3] = 3
    order_z: Literal[0, 1] = 0
    separate_z: bool | None = None
    mirror_axes: tuple[Axis, ...] = ()
    step: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _fitting(self) -> NNUNetEntry:
        if len(self.spacing) != len(self.patch):
            raise ValueError(f"spacing and patch must have the same axes, found {self.spacing} and {self.patch}")
        if sorted(self.transpose) != [0, 1, 2]:
            raise ValueError(f"transpose must be an order of 0, 1, 2, found {self.transpose}")
        return self


class Licences(_Strict):
    """Terms of the three things a bundle carries or was made from."""

    code: str
    weights: str
    data: str


class ParentEntry(_Strict):
    """The model that a fine-tuned one started from; `sha256` is that of its configs/checksums.json, so of all files."""

    name: str
    version: str
    sha256: str


class LearntEntry(_Strict):
    """What there was to learn of an organ: how many cases show it, how annotated, and in how many voxels."""

    cases: int
    voxels: int
    kinds: list[str]


class Lineage(_Strict):
    """Where a fine-tuned model comes from. `data_sha256` is the fingerprint of its cases: images and annotations.
    `trained_images`: checksums of the CTs that it was trained on, also those of the fine-tuned models before it."""

    parent: ParentEntry
    data_sha256: str
    learnt: dict[str, LearntEntry]
    new_organs: list[str] = []
    dropped_organs: list[str] = []
    trained_images: list[str] = []


class MemberEntry(_Strict):
    """One network, or ensemble, of a joined model: the bundle in `members/FOLDER`, and the organs of which it has the
    say."""

    folder: Annotated[str, Field(pattern=NAME_PATTERN)]
    organs: Annotated[list[str], Field(min_length=1)]


def _without_repeats(facts: list[Any]) -> list[Any]:
    """What the networks of a joined model or an ensemble were trained on, each once: several may share it."""
    return [fact for place, fact in enumerate(facts) if fact not in facts[:place]]


class OwnSection(_Strict):
    """What the runtime needs to rebuild and feed the network, and what a user should know about its training.

    `precision`: the type that the network's convolutions run in on a CPU that computes it; null: float32 for a model
    imported from nnU-Net, else bfloat16. A joined model has `members` instead of a network of its own; `network` and
    `preprocessing` are then those of the last member, which goes on learning (see `models.joined`). `folds`: folders in
    `members/` of the bundles that an ensemble consists of, which are asked together (see `models.ensemble`).
    """

    label_space: LabelSpaceEntry
    network: NetworkEntry
    preprocessing: PreprocessingEntry
    members: list[MemberEntry] = []
    folds: list[Annotated[str, Field(pattern=NAME_PATTERN)]] = []
    precision: Precision | None = None
    nnunet: NNUNetEntry | None = None
    licences: Licences
    training_data: Annotated[list[Any], AfterValidator(_without_repeats)] = []
    metrics: dict[str, Any] = {}
    lineage: Lineage | None = None


class Metadata(BaseModel):
    """The whole file. Fields of MONAI's that are not listed here are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: str
    description: str
    task: str
    network_data_format: dict[str, Any]
    partialorganseg: OwnSection


def monai_fields(label_space: LabelSpace, preprocessing: PreprocessingEntry, metrics: dict[str, Any],
                 licences: Licences) -> dict[str, Any]:
    """MONAI's own metadata fields. Versions are the lowest supported ones, not those of the machine that writes."""
    classes = {"0": "background"} | {str(organ.index): organ.name for organ in label_space.organs}
    listed = ", ".join(f"{index}: {name}" for index, name in classes.items())  # the schema wants text
    lower, upper = ((hu - preprocessing.subtract) / preprocessing.divide for hu in preprocessing.clip_hu)
    shared = {"type": "image", "modality": "CT", "spatial_shape": list(preprocessing.patch_zyx), "dtype": "float32",
              "is_patch_data": True}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
                  "meta_schema_20240725.json",
        "monai_version": "1.4.0", "pytorch_version": "2.4.0", "numpy_version": "1.26.0",
        "required_packages_version": {"partialorganseg": "0.4.0", "safetensors": "0.4.3", "SimpleITK": "2.4.0"},
        "task": "Segmentation of abdominal organs in CT",
        "authors": "PartialOrganSeg", "copyright": licences.weights, "data_source": licences.data, "data_type": "CT",
        "image_classes": "one channel CT in Hounsfield units", "label_classes": listed, "pred_classes": listed,
        "eval_metrics": metrics, "intended_use": "Research only. Not for clinical use.", "references": [],
        "network_data_format": {
            "inputs": {"image": {**shared, "format": "hounsfield", "num_channels": 1, "value_range": [lower, upper],
                                 "channel_def": {"0": "image"}}},
            "outputs": {"pred": {**shared, "format": "segmentation", "num_channels": label_space.class_count,
                                 "value_range": [], "channel_def": classes}},
        },
    }


def read_metadata(path: Path) -> Metadata:
    """Reads and validates a bundle's metadata.json. Raises UserError naming the file and the first wrong field."""
    try:
        return Metadata.model_validate(read_json(path, "a readable JSON file", Code.BUNDLE_BROKEN))
    except FileNotFoundError:
        raise UserError(code=Code.BUNDLE_BROKEN, subject=path, expected="a model bundle's metadata",
                        found="no such file") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        hint = ""
        if first["type"] in ("extra_forbidden", "literal_error"):
            hint = f"a model of a later version needs a later PartialOrganSeg than {__version__}"
        raise UserError(code=Code.BUNDLE_BROKEN, subject=f"{path}: field {field}", found=first["msg"],
                        hint=hint) from None
