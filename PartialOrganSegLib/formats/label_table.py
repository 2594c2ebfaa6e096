"""A label map as NIfTI, and the table that says what its values mean: without it the file is numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..imaging.volume import Volume
from ..organs import Organ
from .roi_names import tg263_name
from .writing import write_labelmap, write_table

NIFTI_ENDINGS = {"nifti": ".labels.nii.gz", "names": ".labels.csv"}


def write_nifti(files: Mapping[str, Path], labels: Volume, organs: Sequence[Organ]) -> None:
    """Writes `files` ("nifti" and "names", the kinds of `NIFTI_ENDINGS`); values of other organs become background.

    The table has a row for each of `organs`: its label value, names and SNOMED codes, and its volume in millilitres.
    Raises UserError when one cannot be written.
    """
    counts = np.bincount(labels.array.ravel(), minlength=max(organ.index for organ in organs) + 1)
    kept = np.zeros(len(counts), labels.array.dtype)
    rows = []
    for organ in organs:
        kept[organ.index] = organ.index
        modifier = ""
        if organ.modifier is not None:
            modifier = organ.modifier.value
        rows.append({"value": organ.index, "tg263": tg263_name(organ), "organ": organ.name,
                     "snomed": organ.code.value, "modifier": modifier,
                     "ml": round(float(counts[organ.index]) * labels.grid.voxel_ml, 2)})
    write_labelmap(files["nifti"], Volume(kept[labels.array], labels.grid))
    write_table(files["names"], rows)
