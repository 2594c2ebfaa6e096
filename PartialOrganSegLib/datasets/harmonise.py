"""Left and right of a paired organ that was labelled without its side (Shi 2021, section 4.1, of KiTS).

Sides are the patient's, so they come from the header's LPS axes, never from the array's: a flipped or tilted image
gives the same answer. Each connected component gets its side from where it lies to the mid-sagittal plane:

- clearly on one side: that side, also when it is the only component (a single kidney);
- far across the plane on both sides: cut at the plane, with a note (a horseshoe kidney, or two organs that touch);
- a small fragment near the plane: the side of the nearest component that has one;
- anything else: it stays "left or right", a coarse label, with a note.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from ..imaging.body import find_body
from ..imaging.shapes import Mask
from ..imaging.volume import Grid, Volume

LEFT, RIGHT, EITHER = 1, 2, 3

# A centre this far from the plane has a side: more than the outline's midline is usually off, less than the 25 mm at
# which the adrenals lie, the most medial of paired organs.
CLEAR_MM = 10.0
# What reaches this far to both sides of the plane, with this share of its volume, is cut there.
CROSSING_MM, CROSSING_SHARE = 15.0, 0.15
FRAGMENT_SHARE = 0.1  # of the largest component
PAIR_MM = 40.0  # two main components whose centres lie this far apart, left to right, are the two sides


@dataclass(frozen=True)
class Sides:
    """`sides` (z, y, x) uint8: 0 outside the mask, `LEFT`, `RIGHT` or `EITHER`; `notes` say what was uncertain."""

    sides: npt.NDArray[np.uint8]
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class _Part:
    """A connected component: its voxels' indices (z, y, x), their LPS points (n, 3) in mm, `x` of these (to the
    patient's left), and its side once it has one."""

    voxels: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]
    x: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    side: int = EITHER

    @property
    def centre(self) -> float:
        return float(self.x.mean())


def patient_midline(ct: Volume) -> float | None:
    """LPS x (mm) of the patient's mid-sagittal plane; None where the body's outline does not show it."""
    canonical = ct.canonical()
    body = find_body(canonical.array, canonical.grid.spacing[::-1])
    if body.midline is None:
        return None
    # The middle of the coarse `inside`, in voxels of the CT: in an oblique scan, x depends on all three axes.
    z, y, _ = (np.mean(indices) * step + step // 2
               for indices, step in zip(np.nonzero(body.inside), body.steps, strict=True))
    return float((canonical.grid.matrix @ [body.midline, y, z, 1.0])[0])


def split_left_right(mask: Mask, grid: Grid, midline_mm: float | None) -> Sides:
    """Sides of a paired organ's `mask` (z, y, x) bool on `grid`; `midline_mm` as from `patient_midline`."""
    sides = np.zeros(mask.shape, np.uint8)
    parts = _components(mask, grid)
    if not parts:
        return Sides(sides)
    main = [part for part in parts if len(part.x) >= FRAGMENT_SHARE * len(parts[0].x)]
    plane, notes = _plane(main, midline_mm)
    # Main components first, being the largest: fragments then follow those that have a side.
    for part in parts:
        if plane is not None:
            if part in main and _crosses(part.x, plane):
                sides[part.voxels] = np.where(part.x > plane, LEFT, RIGHT)
                notes.append(f"a component of {len(part.x)} voxels reaches far across the midline (a horseshoe organ, "
                             f"or two that touch); cut at x = {plane:.0f} mm")
                continue
            if part.centre - plane >= CLEAR_MM:
                part.side = LEFT
            elif plane - part.centre >= CLEAR_MM:
                part.side = RIGHT
        sides[part.voxels] = part.side
    _follow_the_nearest([part for part in parts if part not in main and part.side == EITHER], main, sides)
    undecided = int((sides == EITHER).sum())
    if undecided:
        why = "they lie on the midline"
        if plane is None:
            why = "the body's midline is not in the image"
        notes.append(f"the side of {undecided} voxels could not be decided ({why}); they stay left or right")
    return Sides(sides, tuple(notes))


def _components(mask: Mask, grid: Grid) -> list[_Part]:
    """26-connected components, the largest first."""
    numbers, _ = ndimage.label(mask, np.ones((3, 3, 3), bool))
    matrix = grid.matrix
    parts = []
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        z, y, x = (indices + part.start
                   for indices, part in zip(np.nonzero(numbers[box] == number), box, strict=True))
        points = np.stack((x, y, z), 1) @ matrix[:3, :3].T + matrix[:3, 3]
        parts.append(_Part((z, y, x), points[:, 0], points))
    return sorted(parts, key=lambda part: -len(part.x))


def _plane(main: list[_Part], midline_mm: float | None) -> tuple[float | None, list[str]]:
    """Where left ends and right begins: the body's midline, or between two components where it must be elsewhere."""
    if len(main) < 2:
        return midline_mm, []
    right, left = sorted((main[0].centre, main[1].centre))
    if left - right < PAIR_MM:
        return midline_mm, []
    middle = (left + right) / 2
    if midline_mm is None:
        return middle, [f"the body's midline is not in the image; the middle of the two largest components is taken "
                        f"(x = {middle:.0f} mm)"]
    # Both clearly beyond it: a midline that far off is rarer than an organ that lies on the other side.
    same_side = right - midline_mm > CLEAR_MM or midline_mm - left > CLEAR_MM
    between = left - midline_mm > CLEAR_MM and midline_mm - right > CLEAR_MM
    if same_side or between:
        return midline_mm, []
    return middle, [f"the body's midline (x = {midline_mm:.0f} mm) runs through one of the two largest components; "
                    f"their middle is taken (x = {middle:.0f} mm)"]


def _crosses(x: npt.NDArray[np.float64], plane: float) -> bool:
    """Whether a component reaches far enough to both sides of the plane to be cut there."""
    share = float((x > plane).mean())
    reach = float(min(x.max() - plane, plane - x.min()))
    return CROSSING_SHARE <= share <= 1 - CROSSING_SHARE and reach >= CROSSING_MM


def _follow_the_nearest(fragments: list[_Part], main: list[_Part], sides: npt.NDArray[np.uint8]) -> None:
    """Gives each fragment the side of the main components' voxel nearest to its centre."""
    if not fragments:
        return
    points = np.concatenate([part.points for part in main])
    sides_of_points = np.concatenate([sides[part.voxels] for part in main])
    tree = cKDTree(points)
    for part in fragments:
        sides[part.voxels] = sides_of_points[tree.query(part.points.mean(0))[1]]
