"""nnU-Net v2's normalisation schemes, a slab of the CT at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from ...imaging.shapes import Mask, VoxelArray
from ...models.bundle import Preprocessing
from ...models.metadata import NNUNetEntry

SLAB = 16
LEAST_DEVIATION = 1e-8


Slab: TypeAlias = npt.NDArray[np.float32]
Scheme: TypeAlias = Callable[[Slab], Slab]


class Normalised:
    """A CT's slabs along `axis` as the network's input; means and ranges are those of the whole CT `hu` (z, y, x)."""

    def __init__(self, hu: VoxelArray, settings: NNUNetEntry, preprocessing: Preprocessing, axis: int) -> None:
        self._hu, self._axis, self._preprocessing = np.moveaxis(hu, axis, 0), axis, preprocessing
        self._mask: Mask | None = None
        if settings.masked_normalisation:
            self._mask = np.moveaxis(ndimage.binary_fill_holes(hu != 0), axis, 0)
        # Each scheme looks at the whole CT once, and then maps slab by slab.
        schemes: dict[str, Callable[[], Scheme]] = {
            "CTNormalization": lambda: self._clipped, "ZScoreNormalization": self._z_score,
            "RescaleTo01Normalization": self._rescaled, "NoNormalization": lambda: lambda slab: slab}
        self._scheme = schemes[settings.normalisation]()
        # Every other scheme normalises voxels outside of the mask too.
        self._normalised_only: Mask | None = None
        if settings.normalisation == "ZScoreNormalization":
            self._normalised_only = self._mask

    def slab(self, part: slice) -> Slab:
        """float32 input of the voxels in `part` of the axis, on the CT's axes."""
        slab = self._hu[part].astype(np.float32)
        result = self._scheme(slab)
        if self._normalised_only is not None:
            result = np.where(self._normalised_only[part], result, slab)
        return np.moveaxis(result, 0, self._axis)

    def _clipped(self, slab: Slab) -> Slab:
        result: Slab = self._preprocessing.normalise(torch.from_numpy(slab)).numpy()
        return result

    def _z_score(self) -> Scheme:
        count, total = 0, 0.0
        for values in self._values():
            count, total = count + values.size, total + float(values.sum())
        mean = total / max(1, count)
        squares = sum(float(((values - mean)**2).sum()) for values in self._values())
        deviation = max((squares / max(1, count))**0.5, LEAST_DEVIATION)
        return lambda slab: (slab - np.float32(mean)) / np.float32(deviation)

    def _rescaled(self) -> Scheme:
        low, high = float(self._hu.min()), float(self._hu.max())
        return lambda slab: (slab - np.float32(low)) / np.float32(max(high - low, LEAST_DEVIATION))

    def _values(self) -> Iterator[npt.NDArray[np.float64]]:
        """float64 values, a slab at a time, that mean and deviation are of."""
        for start in range(0, len(self._hu), SLAB):
            slab = self._hu[start:start + SLAB].astype(np.float64)
            if self._mask is not None:
                slab = slab[self._mask[start:start + SLAB]]
            yield slab
