"""Whether labels are of a model's organs: the values of another model's would be taken for other organs."""

from __future__ import annotations

from pathlib import Path

from ..errors import Code, UserError
from ..formats.volume_table import listed_volumes
from ..models.bundle import Bundle


def refuse_other_organs(labels: Path, bundle: Bundle, all_listed: bool = False) -> None:
    """Raises UserError where the table beside a label map of ours, `x.volumes.csv` beside `x.labels.nii.gz`, lists
    other organs than the model has, or in another order. It may list some of them, unless `all_listed`."""
    listed = list(listed_volumes(labels))
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
