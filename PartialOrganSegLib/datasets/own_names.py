"""What this program wrote beside a label map says what its numbers are: `export` a table of values, `segment` the
organs' volumes. Another model numbers its organs otherwise, and nothing in a NIfTI file shows it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.registry import stem_of
from ..formats.slicer_segmentation import is_segmentation
from ..formats.strokes import NOT_DRAWN
from ..formats.volume_table import TABLE_ENDING, read_volumes
from ..imaging.volume import Volume
from ..organs import LabelSpace
from .segment_labels import read_organ_labels
from .structure_names import organs_named

ROUNDED = 6e-4  # as the table of a result has volumes
_MOST_BYTES = 1 << 20
_SILENT = Reporter()


def says_its_organs(path: Path) -> bool:
    """Whether a label map is one of 3D Slicer, whose segments have names, or has a table beside it."""
    return is_segmentation(path) or _table_of(path).is_file() or volumes_of(path).is_file()


def read_named_labels(path: Path, label_space: LabelSpace, reporter: Reporter = _SILENT, *,
                      strokes: bool = False) -> Volume:
    """A label map in the numbers of a label space: by its names where a table beside it has them, else as it is.

    Organs that the label space does not have become background, with a warning. Raises UserError for a value that the
    table does not name, and as `read_organ_labels`.
    """
    labels = read_organ_labels(path, label_space, reporter, strokes=strokes)
    if is_segmentation(path):
        return labels
    names = names_in_table(_table_of(path))
    if not names:
        names = _names_by_volume(path, labels, label_space, reporter)
    if not names:
        return labels
    return _renumbered(path, labels, names, label_space, reporter)


def names_in_table(path: Path) -> dict[int, str]:
    """Value to organ in a table with such columns, as `export` writes it; empty for another file."""
    names = {}
    for row in _rows(path):
        value, organ = row.get("value"), row.get("organ")
        if not value or not organ or not value.isdecimal():
            return {}
        names[int(value)] = organ
    return names


def volumes_of(path: Path) -> Path:
    """Where `segment` writes the volumes of a label map's organs."""
    return path.with_name(stem_of(path).removesuffix(".labels").removesuffix(".seg") + TABLE_ENDING)


def _table_of(path: Path) -> Path:
    return path.with_name(stem_of(path) + ".csv")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return []
        with open(path, encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return []


def _names_by_volume(path: Path, labels: Volume, label_space: LabelSpace, reporter: Reporter) -> dict[int, str]:
    """The values' names where each has the volume that the table gives its organ. Empty where there is no table or no
    label, and, with a warning, where it is of these labels before somebody changed them.

    Raises UserError for changed labels of organs that the label space does not have, or has in another order.
    """
    table = volumes_of(path)
    volumes = read_volumes(table)
    values, counts = np.unique(labels.array[labels.array > 0], return_counts=True)
    if not volumes or not len(values):
        return {}
    shown = [organ for organ, ml in volumes.items() if ml > 0]
    expected = [volumes[organ] for organ in shown]
    if len(values) == len(shown) and np.allclose(counts * labels.grid.voxel_ml, expected, rtol=ROUNDED, atol=0):
        return dict(zip(values.tolist(), shown, strict=True))
    remaining = iter(label_space.names)
    if not all(organ in remaining for organ in volumes):  # each is looked for behind the one before it
        others = ", ".join([organ for organ in volumes if organ not in label_space.names][:3]) or "another order"
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=path,
                        expected=f"labels of the organs of {label_space.name}",
                        found=f"a table ({table.name}) that lists {others}, and volumes that are not those "
                              "of the labels", hint="save them as .seg.nrrd, whose segments have names")
    reporter.warning(Problem(Code.UNKNOWN_LABEL, str(path), f"the label map of {table.name}", "other volumes",
                             f"its numbers are taken as those of {label_space.name}"))
    return {}


def _renumbered(path: Path, labels: Volume, names: dict[int, str], label_space: LabelSpace,
                reporter: Reporter) -> Volume:
    present = [value for value in np.unique(labels.array).tolist() if value not in (0, NOT_DRAWN)]
    number_of = np.zeros(max([*present, NOT_DRAWN]) + 1, np.uint8)
    number_of[NOT_DRAWN] = NOT_DRAWN
    left_out = []
    for value in present:
        if value not in names:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected="a name for every value in its table",
                            found=f"none for {value}")
        organs = organs_named(names[value], label_space) or ()
        if len(organs) > 1:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=f"{path}: value {value}",
                            expected=f"an organ of {label_space.name}", found=f"'{names[value]}', one of several")
        if organs:
            number_of[value] = label_space.index(organs[0])
        else:
            left_out.append(names[value])
    if left_out:
        reporter.warning(Problem(Code.UNKNOWN_LABEL, str(path), hint="taken as background",
                                 found=f"no organ of {label_space.name}: {', '.join(left_out)}"))
    return Volume(number_of[labels.array], labels.grid)
