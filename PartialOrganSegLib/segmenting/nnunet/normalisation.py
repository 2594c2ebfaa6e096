"""nnU-Net v2's normalisation schemes, a slab of the CT at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import ndimage

from ...models.bundle import Preprocessing
from ...models.metadata import NNUNetEntry

SLAB = 16
LEAST_DEVIATION = 1e-8


class Normalised:
    """A CT's slabs along `axis` as the network's input; means and ranges are those of the whole CT `hu` (z, y, x)."""

    def __init__(self, hu: np.ndarray, settings: NNUNetEntry, preprocessing: Preprocessing, axis: int) -> None:
        self._hu, self._axis, self._preprocessing = np.moveaxis(hu, axis, 0), axis, preprocessing
        self._mask = None
        if settings.masked_normalisation:
            self._mask = np.moveaxis(ndimage.binary_fill_holes(hu != 0), axis, 0)
        schemes: dict[str, Callable[[], Callable[[np.ndarray], np.ndarray]]] = {
            "CTNormalization": lambda: self._clipped, "ZScoreNormalization": self._z_score,
            "RescaleTo01Normalization": self._rescaled, "NoNormalization": lambda: lambda slab: slab}
        self._scheme = schemes[settings.normalisation]()
        # The others normalise every voxel.
        self._masked = settings.normalisation == "ZScoreNormalization" and self._mask is not None

    def slab(self, part: slice) -> np.ndarray:
        """float32 input of the voxels in `part` of the axis, on the CT's axes."""
        slab = self._hu[part].astype(np.float32)
        result = self._scheme(slab)
        if self._masked:
            result = np.where(self._mask[part], result, slab)
        return np.moveaxis(result, 0, self._axis)

    def _clipped(self, slab: np.ndarray) -> np.ndarray:
        return self._preprocessing.normalise(torch.from_numpy(slab)).numpy()

    def _z_score(self) -> Callable[[np.ndarray], np.ndarray]:
        count, total = 0, 0.0
        for values in self._values():
            count, total = count + values.size, total + float(values.sum())
        mean = total / max(1, count)
        squares = sum(float(((values - mean)**2).sum()) for values in self._values())
        deviation = max((squares / max(1, count))**0.5, LEAST_DEVIATION)
        return lambda slab: (slab - np.float32(mean)) / np.float32(deviation)

    def _rescaled(self) -> Callable[[np.ndarray], np.ndarray]:
        low, high = float(self._hu.min()), float(self._hu.max())
        return lambda slab: (slab - np.float32(low)) / np.float32(max(high - low, LEAST_DEVIATION))

    def _values(self) -> Iterator[np.ndarray]:
        """float64 values, a slab at a time, that mean and deviation are of."""
        for start in range(0, len(self._hu), SLAB):
            slab = self._hu[start:start + SLAB].astype(np.float64)
            yield slab if self._mask is None else slab[self._mask[start:start + SLAB]]
