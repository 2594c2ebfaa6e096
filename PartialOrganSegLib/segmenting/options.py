"""All that `segment` can be asked, checked once: the command line, Python, lists of CTs and workers share it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Code, UsageError, did_you_mean
from ..formats.dicom_export import ENDINGS
from ..models.combining import COMBINATIONS, MEAN

if TYPE_CHECKING:
    from ..organs import LabelSpace

LEAST_SCALE, LARGEST_SCALE = 0.25, 4.0
# Of the network's convolutions; sums, softmax and interpolation are float32.
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """What to segment with, and what to write. Lists may also be given as one text, "liver,spleen".

    `model`: an installed model's name or a bundle's folder, or several ("a,b,c"), which are asked together: `combine`
    is "mean" (of their probabilities) or "vote" (by the majority; the models may differ in all but their organs).
    `organs`: only these are written (None: all). `device`: "auto", "cpu", "cuda", "cuda:1", "mps". `precision` of the
    network's convolutions: "auto" (the model's own where the processor computes it), "float32", "bfloat16", "float16".
    `mirror`: also predict the mirrored CT, and `scales`: predict it at these sizes in plane, and average; for models
    that were trained so.
    `fast`: see the CT no finer than 3 x 2 x 2 mm, which is quicker and loses most on small organs (`models.coarser`).
    `series`: which DICOM series, its number in the list, UID or description. `force`: segment what does not look like a
    CT in HU. `dicom`: DICOM files to write besides, "seg", "labelmap-seg" and "rtstruct", of CTs that are DICOM.
    `absent_organs`: DICOM files also name organs that were looked for and have no voxel. `preview`: make a picture.
    `overwrite`: replace earlier results.

    Raises UsageError for a value that cannot be; the model's organs and the device's precisions are known later.

    >>> SegmentOptions(organs="liver, spleen", scales=1).organs
    ('liver', 'spleen')
    >>> SegmentOptions(precision="float31")
    Traceback (most recent call last):
    PartialOrganSegLib.errors.UsageError: precision: expected auto, float32, bfloat16 or float16, found 'float31' \
(did you mean 'float32'?)
    """

    model: str | Path | Sequence[str | Path] = "embedded"
    combine: str = MEAN
    organs: Sequence[str] | str | None = None
    device: str = "auto"
    precision: str = "auto"
    mirror: bool = False
    fast: bool = False
    scales: Sequence[float] | float | str = (1.0,)
    series: str | int | None = None
    force: bool = False
    dicom: Sequence[str] | str = ()
    absent_organs: bool = False
    preview: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        checked = {
            "model": check_model(self.model), "combine": check_combine(self.combine),
            "organs": check_organ_names(self.organs), "device": check_device(self.device),
            "precision": check_precision(self.precision),
            "scales": check_scales(self.scales), "dicom": check_dicom(self.dicom),
            "series": None if self.series is None else str(self.series),
        }
        for name in ("mirror", "fast", "force", "absent_organs", "preview", "overwrite"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise UsageError(code=Code.VALUE_UNFIT, subject=name, expected="True or False", found=f"{value!r}")
        # The class is frozen for everybody else.
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def organs_of(self, label_space: LabelSpace) -> list[str] | None:
        """The organs to write, in label order; None for all. Raises UserError for an unknown one, with the nearest."""
        names = check_organ_names(self.organs)
        if names is None:
            return None
        return in_label_order(names, label_space)

    def deciding_settings(self, label_space: LabelSpace) -> dict[str, Any]:
        """What has a say in the voxels of a result besides CT and model, as JSON: equal for equal results."""
        settings: dict[str, Any] = {
            "force": self.force, "mirror": self.mirror, "organs": self.organs_of(label_space),
            "precision": self.precision, "scales": list(check_scales(self.scales)), "series": self.series}
        # Not written where they are the usual ones: records from before they existed stay good.
        if self.absent_organs:
            settings["absent_organs"] = True
        if self.combine != MEAN:
            settings["combine"] = self.combine
        if self.fast:
            settings["fast"] = True
        return settings


def in_label_order(names: Sequence[str], label_space: LabelSpace) -> list[str]:
    """The organs of these names, each once. Raises UserError for an unknown one, with the nearest."""
    indices = {label_space.organ(name).index for name in names}
    return [organ.name for organ in label_space.organs if organ.index in indices]


def check_model(value: object) -> str | Path | tuple[str | Path, ...]:
    """A name or a folder, or several of them, as a list or a text with commas. Raises UsageError."""
    if isinstance(value, str) and "," in value and not os.path.exists(value):
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, list | tuple) and value:
        models: list[str | Path] = []
        for part in value:
            models.append(_one_model(part))
        return tuple(models)
    return _one_model(value)


def _one_model(value: object) -> str | Path:
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise UsageError(code=Code.VALUE_UNFIT, subject="model",
                         expected="an installed model's name or a bundle's folder", found=f"{value!r}")
    if isinstance(value, str):
        return value
    return Path(value)


def check_combine(value: object) -> str:
    """How several models are combined. Raises UsageError."""
    if value not in COMBINATIONS:
        raise UsageError(code=Code.UNKNOWN_NAME, subject="combine", expected=" or ".join(COMBINATIONS),
                         found=f"'{value}'", hint=did_you_mean(str(value), COMBINATIONS))
    return str(value)


def check_organ_names(value: object, setting: str = "organs") -> tuple[str, ...] | None:
    """Names, whatever organs the model has. Raises UsageError for none and for what are no names; it calls them by the
    `setting`."""
    if value is None:
        return None
    names = _items(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise UsageError(code=Code.VALUE_UNFIT, subject=setting, expected="organ names separated by commas",
                         found=repr(value) if names else "none")
    return tuple(str(name) for name in names)


def check_device(value: object) -> str:
    """A device's name; whether it is there shows later. Raises UsageError."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(value)):
        raise UsageError(code=Code.VALUE_UNFIT, subject="device", expected="auto, cpu, cuda, cuda:N or mps",
                         found=f"'{value}'")
    return str(value)


def check_precision(value: object) -> str:
    """A precision; whether the device has it shows later. Raises UsageError."""
    if value not in PRECISIONS:
        expected = f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
        raise UsageError(code=Code.UNKNOWN_NAME, subject="precision", expected=expected, found=f"'{value}'",
                         hint=did_you_mean(str(value), PRECISIONS))
    return str(value)


def check_scales(value: object) -> tuple[float, ...]:
    """Sizes in plane. Raises UsageError for none and for one that is no number from 0.25 to 4."""
    expected = f"numbers from {LEAST_SCALE} to {LARGEST_SCALE:g}"
    scales = []
    for item in _items(value):
        try:
            scale = float(item)
        except (TypeError, ValueError):
            scale = 0.0
        if not LEAST_SCALE <= scale <= LARGEST_SCALE:
            raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject="scales", expected=expected, found=f"'{item}'")
        scales.append(scale)
    if not scales:
        raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject="scales", expected=expected, found="none")
    return tuple(scales)


def check_dicom(value: object) -> tuple[str, ...]:
    """Kinds of DICOM files in their usual order. Raises UsageError for an unknown one, with the nearest."""
    # Files are written in one order however they were asked for, so that equal results look equal.
    kinds = [str(item).lower() for item in _items(value)]
    for kind in kinds:
        if kind not in ENDINGS:
            raise UsageError(code=Code.UNKNOWN_NAME, subject="dicom", expected=", ".join(ENDINGS), found=f"'{kind}'",
                             hint=did_you_mean(kind, ENDINGS))
    if isinstance(value, str) and not kinds:
        raise UsageError(code=Code.VALUE_UNFIT, subject="dicom", expected=", ".join(ENDINGS), found="nothing")
    return tuple(kind for kind in ENDINGS if kind in kinds)


def _items(value: Any) -> list[Any]:
    """The items of a sequence or of a text with commas; any other value alone."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if hasattr(value, "__iter__"):
        return list(value)
    return [value]
