"""Scribbles simulated from dense masks (Luo 2021, section 4.3: axial, sparse within and between slices).

As an annotator would: on a few axial slices of the patient, a stroke along the middle of an organ's section and now and
then one along its border, and background strokes beside the organs and farther away. Each organ is drawn at least once.
A stroke never leaves the mask it was made from. Background strokes need masks of all organs: where an organ was not
annotated, the mask's 0 is not the background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import Code, UserError
from ..formats.strokes import NOT_DRAWN
from ..imaging.components import voxel_counts
from ..imaging.volume import Volume
from ..organs import BACKGROUND, LabelSpace
from .scribble_paths import border_path, depth_of, medial_path, painted

MAXIMUM_SHARE = 0.04  # of the voxels a dense annotation would paint: scribbles save more than 96 % (Luo 2021, 4.3.3)
SLICES_PER_ORGAN = 6
BRUSH_MM = 3.0
_PIECES = 3  # sections of one organ drawn on one slice, e.g. loops of bowel
_BORDER_CHANCE, _NEAR_CHANCE, _FAR_CHANCE = 0.5, 0.4, 0.5
_BORDER_MM = (15.0, 60.0)  # length of strokes along a border
_NEAR_MM, _FAR_MM = (2.5, 6.0), (12.0, 35.0)  # how far background strokes keep from every organ


@dataclass(frozen=True)
class Count:
    """What was drawn of one class, on how many slices, and of how many voxels (0 for the background)."""

    name: str
    voxels: int
    strokes: int
    slices: int
    of_voxels: int


@dataclass(frozen=True)
class Scribble:
    """`labels`: organ indices, 0 where background was drawn, 255 elsewhere, on the masks' grid.

    `share`: drawn voxels, the background's too, for one that a dense annotation of the organs would paint.
    """

    labels: Volume
    counts: tuple[Count, ...]
    share: float


@dataclass(frozen=True)
class _Stroke:
    label: int
    z: int
    pixels: np.ndarray  # (n, 2) y, x


@dataclass
class _Page:
    """The patient's axial slices: `labels` (z, y, x) canonical, what is drawn so far, and how much more may be."""

    labels: np.ndarray
    spacing: tuple[float, float]
    budget: int
    drawn: np.ndarray = field(init=False)
    strokes: list[_Stroke] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.drawn = np.full(self.labels.shape, NOT_DRAWN, np.uint8)

    def draw(self, stroke: _Stroke) -> None:
        """Draws a stroke if the budget covers all of it."""
        where = (stroke.z, *stroke.pixels.T)
        fresh = int((self.drawn[where] == NOT_DRAWN).sum())
        if 0 < fresh <= self.budget:
            self.drawn[where] = stroke.label
            self.budget -= fresh
            self.strokes.append(stroke)


def simulate_scribble(labels: Volume, label_space: LabelSpace, *, organs: Sequence[str] | None = None,
                      slices_per_organ: int = SLICES_PER_ORGAN, every_mm: float | None = None,
                      brush_mm: float = BRUSH_MM, background: bool = True, seed: int = 0,
                      undecided: Sequence[int] = ()) -> Scribble:
    """Sparse strokes for the dense masks `labels` (z, y, x), values of `label_space`, in any orientation.

    Slices are chosen evenly over each organ, `slices_per_organ` of them, or with `every_mm` the same for all organs at
    that distance. `organs` are drawn (default: all that are there). Strokes are left out, never an organ's first, where
    more than 4 % of the organs' voxels would be drawn. The same `seed` draws the same. Nothing is drawn on voxels of
    the values `undecided`, of which nobody knows what they are.
    Raises UserError for a label that `label_space` does not know, or where nothing is to be drawn.
    """
    axial = labels.canonical()
    array: npt.NDArray[np.integer] = np.ascontiguousarray(axial.array)
    unknown = np.isin(array, list(undecided))
    highest = int(array[~unknown].max(initial=0))
    if highest >= label_space.class_count:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=f"label value {highest} ({(array == highest).sum()} voxels)",
                        expected=f"0..{label_space.class_count - 1} ({label_space.name})")
    # Neither an organ nor the background, so that no stroke of either goes there.
    array = np.where(unknown, label_space.class_count, array)
    sizes = voxel_counts(array, label_space.class_count + 1)[:-1]
    selected: Sequence[int] = range(1, label_space.class_count)
    if organs is not None:
        selected = label_space.indices(organs)
    present = [index for index in dict.fromkeys(selected) if index and sizes[index]]
    if not present:
        raise UserError(code=Code.NO_LABELS, expected=f"voxels of {', '.join(organs or label_space.names)}",
                        found="none")
    slice_mm, row_mm, column_mm = axial.grid.spacing[::-1]
    generator = np.random.default_rng(seed)
    page = _Page(array, (row_mm, column_mm), int(np.ceil(MAXIMUM_SHARE * sizes[present].sum())) - 1)
    if every_mm:
        slices = _slices_at_distance(array, present, every_mm / slice_mm, generator)
    else:
        slices = _slices_of_each(array, present, slices_per_organ, generator)
    _draw_each_once(page, slices, brush_mm, background, generator)
    # In random order, so that no organ is served first where the budget runs out.
    remaining = []
    for label, chosen in slices.items():
        remaining += [(label, int(z)) for z in chosen]
    for label, z in generator.permutation(remaining):
        for stroke in _strokes(page, int(label), int(z), brush_mm, background, generator):
            page.draw(stroke)
    drawn = Volume(labels.grid.axis_order().from_canonical(page.drawn).copy(), labels.grid)
    counts = _counts(page, label_space, present, sizes)
    if not background:
        counts.pop()
    return Scribble(drawn, tuple(counts), sum(count.voxels for count in counts) / int(sizes[present].sum()))


def _counts(page: _Page, label_space: LabelSpace, organs: Sequence[int], sizes: np.ndarray) -> list[Count]:
    """What was drawn of each organ, the background last. `sizes`: the masks' voxels by organ index."""
    drawn = voxel_counts(page.drawn, NOT_DRAWN + 1)
    counts = []
    for index in (*organs, 0):
        name, dense_voxels = BACKGROUND, 0
        if index:
            name, dense_voxels = label_space.names[index - 1], int(sizes[index])
        levels = [stroke.z for stroke in page.strokes if stroke.label == index]
        counts.append(Count(name, int(drawn[index]), len(levels), len(set(levels)), dense_voxels))
    return counts


def _slices_at_distance(array: np.ndarray, organs: Sequence[int], distance: float,
                        generator: np.random.Generator) -> dict[int, np.ndarray]:
    """Slices to draw each organ on, `distance` slices apart and the same for all, its largest section first."""
    boxes = ndimage.find_objects(array)
    first = generator.uniform(0, distance)
    chosen = {}
    for organ in organs:
        box = boxes[organ - 1]
        areas = (array[box] == organ).sum(axis=(1, 2))
        numbers = np.arange(np.ceil((box[0].start - first) / distance), (box[0].stop - first) / distance)
        levels = np.round(first + distance * numbers).astype(int) - box[0].start
        picked = np.intersect1d(levels, np.flatnonzero(areas))
        if not len(picked):  # an organ between two of the slices is drawn where it is largest
            picked = areas.argmax(keepdims=True)
        chosen[organ] = _largest_first(picked, areas) + box[0].start
    return chosen


def _slices_of_each(array: np.ndarray, organs: Sequence[int], count: int,
                    generator: np.random.Generator) -> dict[int, np.ndarray]:
    """`count` slices to draw each organ on, spread evenly over it, its largest section first."""
    boxes = ndimage.find_objects(array)
    chosen = {}
    for organ in organs:
        box = boxes[organ - 1]
        areas = (array[box] == organ).sum(axis=(1, 2))
        picked = []
        for part in np.array_split(np.flatnonzero(areas), count):
            if len(part):  # people draw where there is much to draw
                picked.append(generator.choice(part, p=areas[part] / areas[part].sum()))
        chosen[organ] = _largest_first(np.array(picked), areas) + box[0].start
    return chosen


def _largest_first(slices: np.ndarray, areas: np.ndarray) -> np.ndarray:
    ordered: np.ndarray = slices[np.argsort(-areas[slices], kind="stable")]
    return ordered


def _draw_each_once(page: _Page, slices: dict[int, np.ndarray], brush_mm: float, background: bool,
                    generator: np.random.Generator) -> None:
    """The first stroke of every organ and background near and far, short enough that all of them fit.

    Where the budget is less than a voxel an organ, each gets one all the same.
    """
    limit = max(1, page.budget // (2 * len(slices) + 4))
    for organ, chosen in slices.items():
        stroke = next(_organ_strokes(page, organ, int(chosen[0]), brush_mm, generator))
        page.budget = max(page.budget, 1)
        page.draw(_Stroke(organ, stroke.z, stroke.pixels[:limit]))
    if background:
        organ = int(generator.choice(list(slices)))
        z = int(slices[organ][0])
        for stroke in (*_near(page, organ, z, brush_mm, generator), *_far(page, z, brush_mm, generator)):
            page.draw(_Stroke(0, z, stroke.pixels[:limit]))


def _strokes(page: _Page, organ: int, z: int, brush_mm: float, background: bool,
             generator: np.random.Generator) -> Iterator[_Stroke]:
    """An organ's strokes on one slice, and background beside it and farther away."""
    yield from _organ_strokes(page, organ, z, brush_mm, generator)
    if background and generator.random() < _NEAR_CHANCE:
        yield from _near(page, organ, z, brush_mm, generator)
    if background and generator.random() < _FAR_CHANCE:
        yield from _far(page, z, brush_mm, generator)


def _near(page: _Page, organ: int, z: int, brush_mm: float, generator: np.random.Generator) -> Iterator[_Stroke]:
    return _background_stroke(page, page.labels[z] == organ, z, _NEAR_MM, brush_mm, generator)


def _far(page: _Page, z: int, brush_mm: float, generator: np.random.Generator) -> Iterator[_Stroke]:
    return _background_stroke(page, page.labels[z] > 0, z, _FAR_MM, brush_mm, generator)


def _organ_strokes(page: _Page, organ: int, z: int, brush_mm: float,
                   generator: np.random.Generator) -> Iterator[_Stroke]:
    pieces, _ = ndimage.label(page.labels[z] == organ, np.ones((3, 3)))
    areas = np.bincount(pieces.ravel())[1:]
    boxes = ndimage.find_objects(pieces)
    # Crumbs that a section leaves behind are no part that anyone would draw.
    numbers = [number for number in np.argsort(-areas)[:_PIECES] if areas[number] >= 0.1 * areas.max()]
    for number in numbers:
        box = boxes[number]
        region = pieces[box] == number + 1
        corner = np.array([box[0].start, box[1].start])
        width = brush_mm * generator.uniform(0.7, 1.3)
        path = medial_path(region, page.spacing, generator)
        yield _Stroke(organ, z, painted(path, width, region, page.spacing) + corner)
        depth = depth_of(np.pad(region, 1), page.spacing)[1:-1, 1:-1]
        if depth.max() < 2.5 * brush_mm or generator.random() > _BORDER_CHANCE:
            continue  # so narrow that the middle is the border
        anywhere = generator.random(region.shape)
        along = border_path(region, depth, generator.uniform(0.75, 1.5) * brush_mm, generator.uniform(*_BORDER_MM),
                            anywhere, page.spacing, generator)
        if along is not None:
            yield _Stroke(organ, z, painted(along, width, region, page.spacing) + corner)


def _background_stroke(page: _Page, beside: np.ndarray, z: int, distance_mm: tuple[float, float], brush_mm: float,
                       generator: np.random.Generator) -> Iterator[_Stroke]:
    """A stroke in the background of slice `z` that keeps a distance from all organs, near what is `beside` it."""
    margins = [int(np.ceil((distance_mm[1] + _BORDER_MM[1] / 2) / mm)) for mm in page.spacing]
    box = tuple(slice(max(0, part.start - margin), part.stop + margin)
                for part, margin in zip(ndimage.find_objects(beside.astype(np.uint8))[0], margins, strict=True))
    free = page.labels[z][box] == 0
    if not free.any():
        return
    depth = depth_of(free, page.spacing)
    # Preferred where the organ is near: far strokes go to other organs' surroundings as well as to this one's.
    near = ndimage.distance_transform_edt(~beside[box], sampling=page.spacing)
    at = max(generator.uniform(*distance_mm), 1.5 * max(page.spacing))
    path = border_path(free, depth, at, generator.uniform(*_BORDER_MM), near, page.spacing, generator)
    if path is not None:
        width, corner = brush_mm * generator.uniform(0.7, 1.3), np.array([box[0].start, box[1].start])
        yield _Stroke(0, z, painted(path, width, free, page.spacing) + corner)
