"""Label maps that `segment` wrote with a model that numbers its organs otherwise than the references do.

What a value is stands in no label map, but in the table of volumes that was written with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.volume_table import listed_volumes
from ..imaging.volume import Volume
from ..organs import LabelSpace

_ROUNDED = 6e-4  # as the table of a result has volumes


def numbered_as(file: Path, labels: Volume, space: LabelSpace, reporter: Reporter) -> Volume:
    """The `labels` (z, y, x) of `file` with the values of `space`, where the table beside it lists a model's organs in
    another order; organs that `space` lacks become background, with a warning. Other label maps stay as they are.

    Raises UserError where the table contradicts `space` and the labels, as of one that was edited since, fit neither.
    """
    listed = listed_volumes(file)
    volumes = {value: count * labels.grid.voxel_ml
               for value, count in enumerate(np.bincount(labels.array.ravel()).tolist()) if value and count}
    as_in_space = {space.index(organ): ml for organ, ml in listed.items() if organ in space.names}
    if not listed or _agree(volumes, as_in_space):
        return labels
    if _agree(volumes, dict(enumerate(listed.values(), 1))):
        return _renumbered(file, labels, tuple(listed), space, reporter)
    remaining = iter(space.names)
    if all(organ in remaining for organ in listed):  # each is looked for behind the one before it
        return labels
    others = ", ".join([organ for organ in listed if organ not in space.names][:3]) or "them in another order"
    raise UserError(code=Code.SETTINGS_CONFLICT, subject=file, expected=f"labels of the organs of {space.name}",
                    found=f"a table that lists {others}, and volumes that are not those of the labels",
                    hint="save them as .seg.nrrd, whose segments have names")


def _agree(volumes: Mapping[int, float], expected: Mapping[int, float]) -> bool:
    """Whether each value has the volume (ml) that it should have, and no other value has any."""
    values = sorted({*volumes, *(value for value, ml in expected.items() if ml)})
    return np.allclose([volumes.get(value, 0.0) for value in values], [expected.get(value, 0.0) for value in values],
                       rtol=_ROUNDED, atol=0)


def _renumbered(file: Path, labels: Volume, organs: tuple[str, ...], space: LabelSpace, reporter: Reporter) -> Volume:
    value_of = np.zeros(max(len(organs), int(labels.array.max(initial=0))) + 1, np.uint8)
    lacking = []
    for value, organ in enumerate(organs, 1):
        if organ in space.names:
            value_of[value] = space.index(organ)
        elif (labels.array == value).any():
            lacking.append(organ)
    if lacking:
        reporter.warning(Problem(Code.UNKNOWN_LABEL, str(file), hint="taken as background",
                                 found=f"no organ of {space.name}: {', '.join(lacking)}"))
    return Volume(value_of[labels.array], labels.grid)
