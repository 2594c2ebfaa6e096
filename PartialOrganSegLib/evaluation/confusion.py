"""What a structure's missed voxels were called instead: background, or another organ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..imaging.shapes import Mask
from ..organs import BACKGROUND, LabelSpace
from .structures import Structure

# Of what was missed; smaller parts are not printed.
LEAST_SHARE = 0.02
MOST_NAMED = 3


@dataclass(frozen=True)
class Confusion:
    """In a case `ml` of the reference's `structure` were `called` something else; `share`: of the whole structure."""

    case: str
    structure: str
    called: str
    ml: float
    share: float


def case_confusions(case: str, counts: npt.NDArray[np.int64], table: Mask, structures: Sequence[Structure],
                    space: LabelSpace, voxel_ml: float) -> list[Confusion]:
    """Of each structure what its missed voxels were called, the most first. `counts` (K, C): see `joint_counts`."""
    names = (BACKGROUND, *space.names)
    confusions = []
    for structure in structures:
        in_structure = np.zeros(table.shape[1], bool)
        in_structure[list(structure.classes)] = True
        inside: Mask = np.logical_not((table & ~in_structure).any(1))
        called = counts[inside].sum(0)
        reference = int(called.sum())
        called[in_structure] = 0
        for label in np.argsort(-called, kind="stable").tolist():
            if called[label]:
                confusions.append(Confusion(case, structure.name, names[label], float(called[label] * voxel_ml),
                                            float(called[label] / reference)))
    return confusions


@dataclass(frozen=True)
class Missed:
    """A structure over all cases: `ml` of the reference were missed, `called_ml` of them each name, the most first."""

    structure: str
    ml: float
    called_ml: Mapping[str, float]

    def text(self) -> str:
        """`background 62 %, stomach 30 %`."""
        parts: list[str] = []
        for name, ml in self.called_ml.items():
            share = ml / self.ml
            if share >= LEAST_SHARE and len(parts) < MOST_NAMED:
                parts.append(f"{name.replace('_', ' ')} {100 * share:.0f} %")
        return ", ".join(parts)


def missed_over_cases(confusions: Sequence[Confusion]) -> list[Missed]:
    """A row for each structure of which something was missed, in their order."""
    of_structure: dict[str, dict[str, float]] = {}
    for confusion in confusions:
        called = of_structure.setdefault(confusion.structure, {})
        called[confusion.called] = called.get(confusion.called, 0.0) + confusion.ml
    rows = []
    for name, called in of_structure.items():
        ordered = dict(sorted(called.items(), key=lambda item: -item[1]))
        rows.append(Missed(name, sum(ordered.values()), ordered))
    return rows
