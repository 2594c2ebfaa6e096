"""How a manifest is written (DESIGN.md, the label space and the annotation): its keys, and file patterns expanded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..annotation import Kind
from ..errors import Code, Problem, UserError, brief, did_you_mean, kind_of

WILDCARD = "*"


def _as_list(value: object) -> object:
    """One text alone is a list of one text."""
    if isinstance(value, str):
        return [value]
    return value


def _as_cases(value: object) -> object:
    """A pattern alone, or one entry alone, is a list of one entry."""
    if isinstance(value, str):
        return [{"image": value}]
    if isinstance(value, dict):
        return [value]
    return value


Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class _Strict(BaseModel):
    # A misspelt key that is passed over would leave a setting at its default without a word.
    model_config = ConfigDict(extra="forbid")


class CaseEntry(_Strict):
    """One case, or every case that a pattern finds: `*` in `image` stands for the same text in the other fields.

    `image`: the CT, a file or a DICOM folder. `label`: its label map, or a segmentation of 3D Slicer. `strokes`: a
    stroke file in its place. `soft_targets`: what another network says of the CT, as probabilities (.npz), for the loss
    of that name. `name`: that of results and cached files (default: the image's). `group`: the patient; cases of one
    are never on both sides of a split. What an entry says takes precedence over what its data set says.
    """

    image: str
    label: str | None = None
    strokes: str | None = None
    soft_targets: str | None = None
    name: str | None = None
    group: str | None = None
    kind: Kind | None = None
    annotated: Names | None = None
    ignored: Annotated[list[str], BeforeValidator(_as_list)] | None = None
    label_map: dict[int, Names] | None = None
    other_values: Literal["unknown", "background"] | None = None
    split_left_right: dict[int, tuple[str, str]] | None = None


class DatasetEntry(_Strict):
    """Cases annotated in one way: listed here, or in a `folder` of nnU-Net's or the Decathlon's layout.

    `root`: the folder that paths are relative to, itself relative to the manifest's. `kind`: full, partial, scribble or
    unlabelled. `annotated`: the organs that partial labels vouch for; everything else is unknown there. `ignored`:
    organs whose values lie in the labels and are not to be trusted. `label_map`: what values mean, where not those of
    the label space: an organ, a list of organs for "one of these", "background" or "unknown". `other_values`: what all
    values mean that are not listed, "unknown" or "background" (default: an error; with it and a `label_map`, the
    numbers of the label space mean nothing). `split_left_right`: the left and the right organ of a value that is both.
    `weight`: how often it is drawn from beside other data sets.
    """

    name: str
    root: str = "."
    kind: Kind | None = None
    annotated: list[str] | None = None
    ignored: Annotated[list[str], BeforeValidator(_as_list)] = []
    label_map: dict[int, Names] = {}
    other_values: Literal["unknown", "background"] | None = None
    split_left_right: dict[int, tuple[str, str]] = {}
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    folder: str | None = None
    cases: Annotated[list[CaseEntry], BeforeValidator(_as_cases)] | None = None

    @model_validator(mode="after")
    def _has_cases_and_kind(self) -> DatasetEntry:
        if (self.folder is None) == (self.cases is None):
            raise ValueError("expected either 'cases' or 'folder'")
        if self.cases is not None and any(entry.kind is None for entry in self.cases) and self.kind is None:
            raise ValueError(f"expected a 'kind', one of {', '.join(kind.value for kind in Kind)}")
        return self


class Splits(_Strict):
    """How much is validated on, by group; see `Manifest.validation_groups`."""

    validation: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0


class ManifestFile(_Strict):
    """The whole file. `label_space`: a registered name, a list of organs from value 1 on, or a file's name.
    `new_organs`: organs that it lacks, with the values after its own."""

    label_space: str | list[str] = "word16"
    new_organs: Annotated[list[str], BeforeValidator(_as_list)] = []
    datasets: list[DatasetEntry] = Field(min_length=1)
    splits: Splits = Splits()


def parse_manifest(path: Path, content: object) -> ManifestFile:
    """The validated content. Raises UserError naming the file and the key, with the nearest one if it is unknown."""
    try:
        return ManifestFile.model_validate(content)
    except ValidationError as error:
        raise UserError(_problem(error).within(path)) from None


# pydantic lists every fault; the first is the one to mend, as those after it often follow from it.
def _problem(error: ValidationError) -> Problem:
    """The first thing that is wrong."""
    first = error.errors()[0]
    location = first["loc"]
    key = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        models: dict[object, type[BaseModel]] = {"datasets": DatasetEntry, "cases": CaseEntry, "splits": Splits}
        # The innermost part of the location that has a model: its settings are those that the key may have meant.
        within = next((models[part] for part in reversed(location[:-1]) if part in models), ManifestFile)
        return Problem(Code.UNKNOWN_NAME, key, found="unknown setting",
                       hint=did_you_mean(location[-1], within.model_fields))
    if first["type"] == "value_error":
        return Problem(Code.VALUE_UNFIT, key, found=str(first["ctx"]["error"]))
    if first["type"] == "model_type":  # pydantic says it with the name of a class of ours
        expected = "settings as 'key: value'" if key else "a manifest: settings as 'key: value'"
        return Problem(Code.VALUE_UNFIT, key, expected, kind_of(first["input"]))
    return Problem(Code.VALUE_UNFIT, key or "manifest", found=f"{first['msg']}, found {brief(first['input'])}")


def expand(entries: list[CaseEntry], root: Path, where: str) -> Iterator[CaseEntry]:
    """The entries with patterns replaced by the files they find under `root`, sorted.

    Raises UserError, beginning with `where`, for a pattern that finds nothing or has more than one `*`.
    """
    for entry in entries:
        if WILDCARD not in entry.image:
            yield entry
            continue
        entry = _with_slashes(entry)
        before, _, after = entry.image.partition(WILDCARD)
        if WILDCARD in after:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{where}: image", expected=f"one {WILDCARD} in a pattern",
                            found=f"'{entry.image}'")
        texts = _matches(root, before, after)
        if entry.label is not None:  # images/*.nii.gz also finds images/*_label.nii.gz, which is no image
            labels = {entry.label.replace(WILDCARD, text) for text in texts}
            texts = [text for text in texts if before + text + after not in labels]
        if not texts:
            raise UserError(code=Code.FILE_MISSING, subject=f"{where}: image",
                            expected=f"files like {root / entry.image}", found="none")
        for text in texts:
            filled = {key: value.replace(WILDCARD, text) for key, value in entry.model_dump().items()
                      if isinstance(value, str) and key != "kind"}  # a kind is an enumeration's member
            yield entry.model_copy(update=filled)


def _with_slashes(entry: CaseEntry) -> CaseEntry:
    """On Windows, where a backslash is a separator as well, the entry with slashes in their place."""
    if os.sep == "/":
        return entry
    changes = {"image": entry.image.replace(os.sep, "/")}
    if entry.label is not None:
        changes["label"] = entry.label.replace(os.sep, "/")
    return entry.model_copy(update=changes)


def _matches(root: Path, before: str, after: str) -> list[str]:
    """What `*` stands for in each file or folder found: never a separator, nor a name that begins with a dot."""
    folder, _, prefix = before.rpartition("/")
    suffix, _, below = after.partition("/")
    if not (root / folder).is_dir():
        return []
    texts = []
    for path in (root / folder).iterdir():
        name = path.name
        if name.startswith(".") or not (path / below).exists():
            continue
        if name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix) + len(suffix):
            texts.append(name[len(prefix):len(name) - len(suffix)])
    return sorted(texts)
