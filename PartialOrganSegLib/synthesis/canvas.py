"""A canvas in patient millimetres: boxes, tubes, ellipsoids and smooth noise, the strokes that paint synthetic CTs."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Region: TypeAlias = tuple[slice, slice, slice]
Field: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]


class Canvas:
    """HU on a (z, y, x) grid whose axes run to superior, posterior and left.

    `spacing` is (z, y, x) mm, `origin` the (z, y, x) mm position of voxel 0 in the frame all strokes use.
    `hu` is float32 and starts as air.
    """

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float],
                 origin: tuple[float, float, float], rng: np.random.Generator) -> None:
        # Plain numbers: numpy's own would turn float32 results into float64 where they meet.
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
        self.origin = (float(origin[0]), float(origin[1]), float(origin[2]))
        self.rng = rng
        axes: list[Field] = []
        for count, step, first in zip(self.shape, self.spacing, self.origin, strict=True):
            axes.append(np.arange(count, dtype=np.float32) * step + first)
        # Shaped to broadcast, so that a formula in z, y and x needs no full grid of coordinates.
        self.z, self.y, self.x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        self.hu: Field = np.full(self.shape, -1000.0, np.float32)

    def box(self, low: np.ndarray, high: np.ndarray) -> Region:
        """Voxels whose centres may lie between two (z, y, x) mm corners, cut to the grid (may be empty)."""
        slices = []
        for axis in range(3):
            start = int(np.ceil((low[axis] - self.origin[axis]) / self.spacing[axis]))
            stop = int(np.floor((high[axis] - self.origin[axis]) / self.spacing[axis])) + 1
            start = min(max(start, 0), self.shape[axis])
            slices.append(slice(start, min(max(stop, start), self.shape[axis])))
        return slices[0], slices[1], slices[2]

    def axes(self, region: Region) -> tuple[Field, Field, Field]:
        """The z, y and x mm of a box, shaped to broadcast."""
        return self.z[region[0]], self.y[:, region[1]], self.x[:, :, region[2]]

    def segment(self, first: npt.ArrayLike, last: npt.ArrayLike,
                radii: tuple[float, float]) -> tuple[Region, Field]:
        """Box and (distance to a segment) / (radius, linear along it) in the box; below 1 is inside the capsule."""
        start, end = np.asarray(first, np.float32), np.asarray(last, np.float32)
        reach = max(radii)
        region = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        z, y, x = self.axes(region)
        along = end - start
        length = float(along @ along) + 1e-6  # squared; not 0 where both ends are one point
        t = ((z - start[0]) * along[0] + (y - start[1]) * along[1] + (x - start[2]) * along[2]) / length
        # Beyond an end the nearest point is that end, which rounds the capsule off.
        t = np.clip(t, 0.0, 1.0)
        distance = np.sqrt((z - start[0] - t * along[0]) ** 2 + (y - start[1] - t * along[1]) ** 2
                           + (x - start[2] - t * along[2]) ** 2)
        ratio: Field = distance / (radii[0] + t * (radii[1] - radii[0]))
        return region, ratio

    def tube(self, target: npt.NDArray[np.float32] | Mask, points: npt.ArrayLike, radii: npt.ArrayLike, value: float,
             where: Mask | None = None) -> None:
        """Sets `target` to `value` inside a tube along (n, 3) mm `points`, only where `where` is true.

        `radii` in mm: one of the whole tube, or one a point, linear between them.
        """
        middle = np.asarray(points)
        widths = np.broadcast_to(np.asarray(radii, float), (len(middle),))
        for k in range(len(middle) - 1):
            region, ratio = self.segment(middle[k], middle[k + 1], (widths[k], widths[k + 1]))
            inside = ratio < 1.0
            if where is not None:
                inside &= where[region]
            target[region][inside] = value

    def ellipsoid(self, centre: npt.ArrayLike, radii: npt.ArrayLike, exponent: float = 2.0) -> tuple[Region, Field]:
        """Box and superellipsoid value (1 on the surface, to the power `exponent`) round a (z, y, x) mm centre."""
        middle, halves = np.asarray(centre, np.float32), np.asarray(radii, np.float32)
        region = self.box(middle - halves, middle + halves)
        terms: list[Field] = []
        for axis, position, half in zip(self.axes(region), middle, halves, strict=True):
            terms.append(np.abs((axis - position) / half) ** exponent)
        return region, terms[0] + terms[1] + terms[2]

    def noise(self, scale_mm: float) -> Field:
        """Smooth random field of about unit variance whose blobs measure `scale_mm`."""
        coarse = [max(2, int(np.ceil(n * s / scale_mm)) + 2) for n, s in zip(self.shape, self.spacing, strict=True)]
        field: Field = self.rng.standard_normal(coarse).astype(np.float32)
        # Interpolated along one axis after the other: a few products a voxel instead of a filter as wide as a blob.
        for axis, (n, s) in enumerate(zip(self.shape, self.spacing, strict=True)):
            at = np.arange(n, dtype=np.float32) * (s / scale_mm) + self.rng.random(dtype=np.float32)
            at = np.minimum(at, field.shape[axis] - 1.001)  # so that `low + 1` is a node too
            low = at.astype(int)
            shape = [1, 1, 1]
            shape[axis] = n
            weight = (at - low).reshape(shape).astype(np.float32)
            lower = np.take(field, low, axis)
            field = lower + weight * (np.take(field, low + 1, axis) - lower)
        field = field * 1.8  # linear interpolation in three axes keeps (2/3)^3 of the variance
        return field

    def random_path(self, start: npt.ArrayLike, direction: npt.ArrayLike, step_mm: float, steps: int,
                    wander: float) -> npt.NDArray[np.float64]:
        """(steps + 1, 3) mm points of a smooth random walk; `wander` 0 goes straight on."""
        points = [np.asarray(start, float)]
        heading = np.asarray(direction, float) / (np.linalg.norm(direction) + 1e-6)
        for _ in range(steps):
            heading = heading + wander * self.rng.standard_normal(3)
            heading /= np.linalg.norm(heading) + 1e-6
            points.append(points[-1] + step_mm * heading)
        return np.array(points)


def depth_inside(mask: Mask, spacing: tuple[float, float, float]) -> Field:
    """Distance in mm of each voxel of `mask` to the nearest voxel outside it; the array's border is no boundary."""
    depth: Field = ndimage.distance_transform_edt(mask, sampling=spacing).astype(np.float32)
    return depth
