"""The part of a CT around a stroke: as it is (`Region`), and at the spacing that corrections are worked out at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from ..imaging.shapes import LabelMap, Mask, Shape3, Spacing3, VoxelArray
from .appearance import HIGHEST_HU, LOWEST_HU
from .coarse import Values, block_means
from .reach import Surroundings, half_thickness_of

NOT_DRAWN = 255
MARGIN_MM = 60.0  # around a stroke: nothing beyond is looked at or changed
WORKING_MM = 1.6  # a finer CT is averaged in blocks of about this


def block_diagonal(spacing: Spacing3) -> float:
    """Millimetres by which the distance of two voxels may exceed that of the blocks (of `spacing`) that hold them."""
    return float(np.linalg.norm(spacing))


@dataclass(frozen=True)
class Region:
    """The part of a CT around a stroke, all (z, y, x): `hu`, `labels`, `drawn` (`NOT_DRAWN` where nothing is).

    `changeable`: voxels whose label may change. `spacing` (z, y, x) mm. `earlier`: voxels that were drawn before in the
    stroke's label where the labels had another one. `usual_mm3`: the usual volume of the stroke's organ if the whole CT
    has a fragment of it at most, otherwise None. `log_volumes`: of the stroke's organ and of the one that most of it
    contradicts, the logarithm of their volume in the whole CT over their usual one, 0 where nobody knows.
    """

    hu: VoxelArray
    labels: LabelMap
    drawn: LabelMap
    changeable: Mask
    spacing: Spacing3
    earlier: Mask | None = None
    usual_mm3: float | None = None
    log_volumes: tuple[float, float] = (0.0, 0.0)


class Neighbourhood:
    """A region in blocks of voxels; all arrays (z, y, x), `spacing` (z, y, x) mm.

    `share`, `wrong_share`, `background_share`: of each block, what has the stroke's label, one that the stroke
    contradicts, or none. `share_of_stroke`: what part of the stroke lies in the labels that the block has. `drawn`: the
    stroke's label was drawn; `excluded`: another one was. `in_question`: how much of a block may change.
    """

    def __init__(self, region: Region, stroke: Mask, value: int, block: Shape3, spacing: Spacing3) -> None:
        self.spacing = spacing
        self.log_volumes = region.log_volumes
        self.of_organ = value > 0
        labels = region.labels
        self.hu = block_means(region.hu.clip(LOWEST_HU, HIGHEST_HU), block)
        self.share = block_means(labels == value, block)
        self.drawn = block_means(region.drawn == value, block) > 0
        self.excluded = (block_means((region.drawn != NOT_DRAWN) & (region.drawn != value), block) > 0) & ~self.drawn
        self.in_question = block_means(region.changeable, block)
        self.stroke = block_means(stroke, block) > 0
        self.earlier = np.zeros(self.stroke.shape, bool)
        if region.earlier is not None:
            self.earlier = block_means(region.earlier, block) > 0
        contradicted = np.bincount(labels[stroke], minlength=256)
        self.wrong_share = block_means((contradicted > 0)[labels], block)
        self.share_of_stroke = block_means((contradicted / contradicted.sum()).astype(np.float32)[labels], block)
        self.background_share = block_means(labels == 0, block)
        organs = set(np.unique(labels[region.changeable]).tolist()) - {0, value}
        self._losers = [block_means(labels == organ, block) > 0.5 for organ in sorted(organs)]
        self.surroundings = Surroundings(self.stroke, self.share, self.wrong_share, spacing, self.of_organ,
                                         int(contradicted.argmax()) > 0, region.usual_mm3)

    @cached_property
    def losers(self) -> list[tuple[Mask, float]]:
        """The organs that may lose: where each is, and the millimetres of its half thickness."""
        return [(organ, half_thickness_of(organ, self.spacing)) for organ in self._losers]

    @cached_property
    def distance(self) -> Values:
        """Millimetres from the stroke."""
        return self.distance_from(self.stroke)

    def distance_from(self, mask: Mask) -> Values:
        """Millimetres from a mask that has voxels."""
        return np.asarray(ndimage.distance_transform_edt(~mask, sampling=self.spacing), np.float32)
