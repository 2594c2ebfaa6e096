"""How far the surfaces of two masks lie apart, in mm: Hausdorff distances, mean distances, surface Dice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .shapes import Mask


@dataclass(frozen=True)
class SurfaceDistances:
    """From each surface voxel of one mask to the nearest surface voxel of the other, in mm; both are non-empty.

    Tools agree on these distances and on `assd`, and differ in the 95th percentile, so both ways are here: `hd95` is
    MedPy's, `hd95_directed` MONAI's.
    """

    from_prediction: npt.NDArray[np.float64]
    from_reference: npt.NDArray[np.float64]

    @property
    def hd95(self) -> float:
        """95th percentile of the distances of both directions together."""
        return float(np.percentile(np.concatenate([self.from_prediction, self.from_reference]), 95))

    @property
    def hd95_directed(self) -> float:
        """The larger of the two directions' 95th percentiles."""
        return float(max(np.percentile(self.from_prediction, 95), np.percentile(self.from_reference, 95)))

    @property
    def hausdorff(self) -> float:
        """The Hausdorff distance: the largest distance of both directions, as Zhou 2019 and Shi 2021 print it."""
        return float(max(self.from_prediction.max(), self.from_reference.max()))

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: the mean of the distances of both directions together (Heimann 2009)."""
        return float(np.concatenate([self.from_prediction, self.from_reference]).mean())

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within `tolerance_mm` of the other (Nikolov 2018): voxels, not area."""
        near = int((self.from_prediction <= tolerance_mm).sum()) + int((self.from_reference <= tolerance_mm).sum())
        return near / (self.from_prediction.size + self.from_reference.size)


def surface_distances(predicted: Mask, reference: Mask, spacing: tuple[float, ...],
                      undecided: Mask | None = None) -> SurfaceDistances:
    """Distances of two bool masks (z, y, x) with voxels of `spacing` (z, y, x) mm. Raises ValueError for an empty one.

    A surface voxel is one with a face neighbour outside its mask; the edge of the array counts as outside. Only the
    masks' common bounding box is looked at: all surface voxels lie in it, so that loses nothing. `undecided` (z, y, x)
    bool: voxels that the reference says nothing of. They belong to neither mask, and a surface voxel with a face
    neighbour among them is none: where the organ ends there is not known.
    """
    if undecided is not None:
        predicted, reference = predicted & ~undecided, reference & ~undecided
    box = next(iter(ndimage.find_objects((predicted | reference).astype(np.uint8))), None)
    if box is None or not predicted.any() or not reference.any():
        raise ValueError("surface distances need two masks that are not empty")
    of_prediction, of_reference = _surface(predicted[box]), _surface(reference[box])
    if undecided is not None:
        decided = ~_with_neighbours(undecided, box)
        of_prediction, of_reference = of_prediction & decided, of_reference & decided
        if not of_prediction.any() or not of_reference.any():
            raise ValueError("surface distances need surfaces that the reference decides")
    # The transform gives every voxel's distance to the nearest zero: to the other mask's surface.
    return SurfaceDistances(
        from_prediction=ndimage.distance_transform_edt(~of_reference, sampling=spacing)[of_prediction],
        from_reference=ndimage.distance_transform_edt(~of_prediction, sampling=spacing)[of_reference])


def _with_neighbours(mask: Mask, box: tuple[slice, ...]) -> Mask:
    """The part in `box` of a mask and its face neighbours; what lies right outside of the box counts too."""
    wider = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
    inner = tuple(slice(part.start - outer.start, part.stop - outer.start)
                  for part, outer in zip(box, wider, strict=True))
    dilated: Mask = ndimage.binary_dilation(mask[wider])
    return dilated[inner]


def _surface(mask: Mask) -> Mask:
    eroded: Mask = ndimage.binary_erosion(mask)
    return mask & ~eroded
