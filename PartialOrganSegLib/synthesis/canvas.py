"""A canvas in patient millimetres: boxes, tubes, ellipsoids and smooth noise, the strokes that paint synthetic CTs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Region = tuple[slice, slice, slice]


class Canvas:
    """HU on a (z, y, x) grid whose axes run to superior, posterior and left.

    `spacing` is (z, y, x) mm, `origin` the (z, y, x) mm position of voxel 0 in the frame all strokes use.
    `hu` is float32 and starts as air.
    """

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float],
                 origin: tuple[float, float, float], rng: np.random.Generator) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.spacing = tuple(float(s) for s in spacing)
        self.origin = tuple(float(o) for o in origin)
        self.rng = rng
        axes = [np.arange(n, dtype=np.float32) * s + o
                for n, s, o in zip(self.shape, self.spacing, self.origin, strict=True)]
        self.z, self.y, self.x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        self.hu = np.full(self.shape, -1000.0, np.float32)

    def box(self, low: np.ndarray, high: np.ndarray) -> Region:
        """Voxels whose centres may lie between two (z, y, x) mm corners, cut to the grid (may be empty)."""
        slices = []
        for axis in range(3):
            start = int(np.ceil((low[axis] - self.origin[axis]) / self.spacing[axis]))
            stop = int(np.floor((high[axis] - self.origin[axis]) / self.spacing[axis])) + 1
            start = min(max(start, 0), self.shape[axis])
            slices.append(slice(start, min(max(stop, start), self.shape[axis])))
        return tuple(slices)

    def axes(self, region: Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The z, y and x mm of a box, shaped to broadcast."""
        return self.z[region[0]], self.y[:, region[1]], self.x[:, :, region[2]]

    def segment(self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> tuple[Region, np.ndarray]:
        """Box and (distance to a segment) / (radius, linear along it) in the box; below 1 is inside the capsule."""
        start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
        reach = max(radii)
        region = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        z, y, x = self.axes(region)
        along = end - start
        length = float(along @ along) + 1e-6
        t = ((z - start[0]) * along[0] + (y - start[1]) * along[1] + (x - start[2]) * along[2]) / length
        t = np.clip(t, 0.0, 1.0)
        distance = np.sqrt((z - start[0] - t * along[0]) ** 2 + (y - start[1] - t * along[1]) ** 2
                           + (x - start[2] - t * along[2]) ** 2)
        return region, distance / (radii[0] + t * (radii[1] - radii[0]))

    def tube(self, target: np.ndarray, points: np.ndarray, radii: np.ndarray | float, value: float,
             where: np.ndarray | None = None) -> None:
        """Sets `target` to `value` inside a tube along (n, 3) mm `points`, only where `where` is true."""
        radii = np.broadcast_to(np.asarray(radii, float), (len(points),))
        for k in range(len(points) - 1):
            region, ratio = self.segment(points[k], points[k + 1], (radii[k], radii[k + 1]))
            inside = ratio < 1.0
            if where is not None:
                inside &= where[region]
            target[region][inside] = value

    def ellipsoid(self, centre: np.ndarray, radii: np.ndarray, exponent: float = 2.0) -> tuple[Region, np.ndarray]:
        """Box and superellipsoid value (1 on the surface, to the power `exponent`) round a (z, y, x) mm centre."""
        centre, radii = np.asarray(centre, np.float32), np.asarray(radii, np.float32)
        region = self.box(centre - radii, centre + radii)
        terms = [np.abs((axis - c) / r) ** exponent
                 for axis, c, r in zip(self.axes(region), centre, radii, strict=True)]
        return region, terms[0] + terms[1] + terms[2]

    def noise(self, scale_mm: float) -> np.ndarray:
        """Smooth random field of about unit variance whose blobs measure `scale_mm`."""
        coarse = [max(2, int(np.ceil(n * s / scale_mm)) + 2) for n, s in zip(self.shape, self.spacing, strict=True)]
        field = self.rng.standard_normal(coarse).astype(np.float32)
        for axis, (n, s) in enumerate(zip(self.shape, self.spacing, strict=True)):
            at = np.arange(n, dtype=np.float32) * (s / scale_mm) + self.rng.random(dtype=np.float32)
            at = np.minimum(at, field.shape[axis] - 1.001)
            low = at.astype(int)
            shape = [1, 1, 1]
            shape[axis] = n
            weight = (at - low).reshape(shape).astype(np.float32)
            lower = np.take(field, low, axis)
            field = lower + weight * (np.take(field, low + 1, axis) - lower)
        return field * 1.8  # linear interpolation in three axes keeps (2/3)^3 of the variance

    def random_path(self, start: np.ndarray, direction: np.ndarray, step_mm: float, steps: int,
                    wander: float) -> np.ndarray:
        """(steps + 1, 3) mm points of a smooth random walk."""
        points = [np.asarray(start, float)]
        direction = np.asarray(direction, float) / (np.linalg.norm(direction) + 1e-6)
        for _ in range(steps):
            direction = direction + wander * self.rng.standard_normal(3)
            direction /= np.linalg.norm(direction) + 1e-6
            points.append(points[-1] + step_mm * direction)
        return np.array(points)


def depth_inside(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance in mm of each voxel of `mask` to the nearest voxel outside it; the array's border is no boundary."""
    return ndimage.distance_transform_edt(mask, sampling=spacing).astype(np.float32)
