"""Whether labels are of a model's organs: the values of another model's would be taken for other organs."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import Code, UserError
from ..models.bundle import Bundle
from ..segmenting.result_files import ENDINGS


def refuse_other_organs(labels: Path, bundle: Bundle, all_listed: bool = False) -> None:
    """Raises UserError where the table beside a label map of ours, `x.volumes.csv` beside `x.labels.nii.gz`, lists
    other organs than the model has, or in another order. It may list some of them, unless `all_listed`."""
    listed = _listed_organs(labels)
    names = bundle.label_space.names
    remaining = iter(names)
    in_order = all(organ in remaining for organ in listed)  # each is looked for behind the one before it
    if in_order and (not all_listed or not listed or len(listed) == len(names)):
        return
    unknown = [organ for organ in listed if organ not in names]
    found = "other ones"
    if unknown:
        found = ", ".join(unknown[:3])
    raise UserError(code=Code.SETTINGS_CONFLICT, subject=labels, expected=f"labels of the organs of {bundle.name}",
                    found=f"a table that lists {found}", hint="--model names the model that they are of")


def refuse_other_model(labels_of: Bundle, bundle: Bundle) -> None:
    """Raises UserError for labels of a model whose values mean other organs."""
    if labels_of.label_space.names != bundle.label_space.names:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject="labels", expected=f"those of {bundle.name}'s organs",
                        found=f"a result of {labels_of.name}", hint="give its model as model")


def _listed_organs(labels: Path) -> Sequence[str]:
    """The organs of the table beside a label map; none where there is no such table."""
    ending = ENDINGS["labelmap"]
    if not labels.name.endswith(ending):
        return []
    table = labels.with_name(labels.name.removesuffix(ending) + ENDINGS["table"])
    if not os.path.isfile(table):
        return []
    try:
        with open(table, encoding="utf-8", newline="") as stream:
            organs = [row.get("organ") for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error):  # somebody's own, or saved anew by another program
        return []
    return [organ for organ in organs if organ]
