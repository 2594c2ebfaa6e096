"""From another model's labels to ours: a YAML file that names each of its labels and the organ it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import Code, UserError, did_you_mean
from ..organs import LabelSpace, label_space_of_names
from ..resources import moved, resource
from ..yaml_file import read_yaml


class LabelMap(BaseModel):
    """`labels`: their name to ours, or null for what is dropped; several may be one organ. Ours are in their order.

    `without_counterpart`: organs of ours that the other model cannot give, and why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[str, str | None]
    without_counterpart: dict[str, str] = {}


@dataclass(frozen=True)
class Mapped:
    """`targets[value]` is the class that label `value` of the other model counts as; 0 is background.

    `notes`: one line for everything that a user should know of it.
    """

    label_space: LabelSpace
    targets: list[int]
    notes: list[str]


def read_label_map(name_or_path: str | Path) -> LabelMap:
    """The map in a file, or a shipped one of that name. Raises UserError for an unknown one or wrong content."""
    path = moved(Path(name_or_path))
    if not path.exists():
        shipped = {file.name: file for file in sorted(resource("label_maps").glob("*.yaml"))}
        if path.name not in shipped or path.parent != Path("."):
            raise UserError(code=Code.FILE_MISSING, subject=path,
                            expected=f"a label map's file or one of {', '.join(shipped)}", found="neither",
                            hint=did_you_mean(path.name, shipped))
        path = shipped[path.name]
    try:
        return LabelMap.model_validate(read_yaml(path, "label map"))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(code=Code.WRONG_FORMAT,
                        subject=f"{path}: {'.'.join(map(str, first['loc'])) or 'file'}", found=first["msg"]) from None


def map_labels(labels: Mapping[str, int], label_map: LabelMap, name: str) -> Mapped:
    """How a model with these `labels` (name to value 1..n, no background) fits `label_map`.

    The label space, called `name`, has only organs that the model knows. Raises UserError when that leaves none.
    """
    organs = [ours for theirs, ours in label_map.labels.items() if theirs in labels and ours is not None]
    if not organs:
        raise UserError(code=Code.UNKNOWN_NAME, subject="label map",
                        expected=f"names of the model's labels ({', '.join(labels)})", found="none of them",
                        hint=did_you_mean(next(iter(labels), ""), label_map.labels))
    # Several labels may be one organ, such as the lobes of a lung; it stands where the first of them does.
    space = label_space_of_names(name, list(dict.fromkeys(organs)))
    targets = [0] * (max(labels.values()) + 1)
    for theirs, value in labels.items():
        ours = label_map.labels.get(theirs)
        targets[value] = 0 if ours is None else space.index(ours)
    notes = [f"no counterpart for {organ}: {why}" for organ, why in label_map.without_counterpart.items()]
    dropped = [theirs for theirs in labels if label_map.labels.get(theirs) is None]
    if dropped:
        notes.append(f"dropped, they count as background: {', '.join(dropped)}")
    # Perhaps a label of another version of the model, whose name has changed: then an organ is missing.
    absent = [theirs for theirs, ours in label_map.labels.items() if ours is not None and theirs not in labels]
    if absent:
        notes.append(f"in the label map, but not in the model: {', '.join(absent)}")
    return Mapped(space, targets, notes)
