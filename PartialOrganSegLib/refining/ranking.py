"""Where a stroke is worth most: the organs that a model is least sure of, and in each the slice where most is missing.

Measured on 115 organs of 13 CTs: the mean entropy of an organ goes with the Dice that it lacks (Spearman's rho .95).
Disagreement with the mirrored CT (.29) and the number of failed checks (.14) do so less, and make it worse when they
are added. The slice is the one around which most of the organ's probability lies outside its labels
(`segmenting.scores.slices_to_draw`), chosen among twelve rules on 19 organs of four CTs. What it brings on others is on
the page docs/results/refine.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..imaging.volume import Volume
from ..segmenting.check_kinds import checks_text
from ..segmenting.scores import OrganEntropy

if TYPE_CHECKING:
    from ..segmenting.result import SegmentResult


COLUMNS = ("ct", "organ", "slice", "z_mm", "worth", "checks")  # of the table


@dataclass(frozen=True)
class OrganWorth:
    """An organ of a CT, and how much a stroke is worth there.

    `worth`: mean entropy (nats) of the organ's voxels; 0 is sure, 0.7 like a coin. `slice`: the axial slice to draw in,
    counted from the lowest, which is 0; `z_mm`: its place in the patient (LPS), at the organ. `checks`: what else is to
    be noticed.
    """

    ct: str
    organ: str
    worth: float
    slice: int
    z_mm: float
    checks: str

    def as_row(self) -> dict[str, object]:
        """A row of a table."""
        values = (self.ct, self.organ, self.slice, round(self.z_mm, 1), round(self.worth, 3), self.checks)
        return dict(zip(COLUMNS, values, strict=True))


def rank_organs(result: SegmentResult, name: str = "") -> list[OrganWorth]:
    """The organs that were segmented in a CT, the most worthwhile first. One that was not has no entropy and no row.

    `name`: what the rows call the CT (default: as its file).
    """
    labels = result.labels.canonical()
    worths = []
    for organ, report in result.organs.items():
        if report.entropy is None:
            continue
        number, z_mm = _slice_to_draw(result, labels, organ)
        worths.append(OrganWorth(name or result.source.name, organ, report.entropy, number, z_mm,
                                 checks_text(report.checks)))
    return in_order(worths)


def in_order(worths: Sequence[OrganWorth]) -> list[OrganWorth]:
    """The most worthwhile first."""
    return sorted(worths, key=lambda worth: -worth.worth)


def _slice_to_draw(result: SegmentResult, labels: Volume, organ: str) -> tuple[int, float]:
    """The number of the slice of `labels`, which lie on LPS axes, and its place (mm) at the organ: the one where most
    of the organ seems to be missing, or where nobody knows, the one where it is largest."""
    voxels = labels.array == result.bundle.label_space.index(organ)
    sizes = voxels.sum(axis=(1, 2))
    slices = np.flatnonzero(sizes)
    if not len(slices):  # so small that nothing of it is left on the CT's grid
        slices, sizes = np.arange(len(sizes)), np.ones_like(sizes)
    # In a tilted CT a slice has no one place: it counts where the organ lies in it.
    rows, columns = (voxels.sum(axis=axis)[slices] for axis in (2, 1))
    y, x = (sums @ np.arange(sums.shape[1]) / sizes[slices] for sums in (rows, columns))
    z_mm = (labels.grid.matrix @ [x, y, slices, np.ones(len(slices))])[2]
    chosen = sizes[slices].argmax()
    if isinstance(result.entropy, OrganEntropy) and organ in result.entropy.to_draw:
        chosen = np.abs(z_mm - result.entropy.to_draw[organ]).argmin()
    return int(slices[chosen]), float(z_mm[chosen])
