"""A simulated user, who draws strokes through the errors of a model's labels; used by benchmarks."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import NOT_DRAWN
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.regions import box_of, padded_box
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from PartialOrganSegLib.synthesis.scribble_paths import medial_path, painted

# A brush as people use it, and the rim of partial voxels that nobody would correct.
BRUSH_MM, RIM_MM = 3.0, 1.5
NEIGHBOURS = np.ones((3, 3, 3))
INTESTINE = WORD16.index("intestine")
LEAST_VOXELS = 500  # of an organ that a part may be taken away from


@dataclass(frozen=True)
class Scene:
    """A CT on axes to left, posterior and superior, the model's labels, and the reference's.

    `organs`: those that can be compared. `undecided`: voxels of which the reference says nothing.
    """

    name: str
    ct: Volume
    start: np.ndarray
    reference: np.ndarray
    organs: tuple[int, ...]
    undecided: np.ndarray

    def masks(self, labels: np.ndarray, organ: int) -> tuple[np.ndarray, np.ndarray]:
        """An organ in some labels and in the reference, undecided voxels apart."""
        return (labels == organ) & ~self.undecided, self.reference == organ

    def around(self, organ: int, margin_mm: float) -> Scene:
        """The part that holds an organ in both labels, with a margin: where its strokes and what they change lie."""
        box = padded_box(box_of((self.start == organ) | (self.reference == organ)), margin_mm, self.spacing,
                         self.start.shape)
        ct, start, reference, undecided = (np.ascontiguousarray(array[box]) for array in (
            self.ct.array, self.start, self.reference, self.undecided))
        grid = Grid(start.shape[::-1], self.ct.grid.spacing)
        return Scene(self.name, Volume(ct, grid), start, reference, self.organs, undecided)

    def without_part(self, organ: int) -> Scene:
        """The start labels end too early in one organ: behind a plane in any direction, three to six tenths of it are
        background, or small bowel. The same for the same CT and organ, of which there is `LEAST_VOXELS` at least."""
        generator = np.random.default_rng(zlib.crc32(f"{self.name}{organ}".encode()))
        places = np.argwhere(self.start == organ)
        along = places * self.spacing @ generator.normal(size=3)
        gone = places[along < np.quantile(along, generator.uniform(0.3, 0.6))]
        start = self.start.copy()
        value = generator.choice([0, INTESTINE])
        start[tuple(gone.T)] = 0 if value == organ else value
        return replace(self, start=start)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(z, y, x) mm."""
        x, y, z = self.ct.grid.spacing
        return z, y, x


def comparable(case: Case) -> tuple[int, ...]:
    """The organs that a case's label can be compared with."""
    coarse = {name for _, names in case.label_map if len(names) < WORD16.class_count for name in names}
    names = [name for name in (case.annotated or WORD16.names) if name not in coarse and name not in case.ignored]
    return tuple(WORD16.index(name) for name in names)


def load_scene(case: Case, segmenter: Segmenter, folder: Path) -> Scene:
    """A case with the labels that the model gives it, from `folder` where they are already."""
    name = case.image.parent.name
    file = folder / f"{name}.nii.gz"
    ct = read_ct(case.image, force=True)
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_labelmap(file, segmenter(ct).labels)
    start, reference = (np.ascontiguousarray(read_labelmap(path).canonical().array) for path in (file, case.label))
    unknown = [value for value, names in case.label_map if len(names) == WORD16.class_count]
    undecided = np.isin(reference, unknown)
    reference = np.where(undecided, 0, reference)
    upright = ct.canonical()
    organs = tuple(organ for organ in comparable(case) if (reference == organ).any())
    return Scene(name, Volume(np.ascontiguousarray(upright.array), upright.grid), start, reference, organs,
                 undecided)


@dataclass(frozen=True)
class Drawn:
    """A stroke: its voxels, an index to an array, and its label."""

    voxels: tuple[np.ndarray, np.ndarray, np.ndarray]
    value: int

    def on_map(self, shape: tuple[int, ...]) -> np.ndarray:
        """A scribble map with this stroke alone."""
        drawn = np.full(shape, NOT_DRAWN, np.uint8)
        drawn[self.voxels] = self.value
        return drawn


class User:
    """Draws through the middle of the largest error of one organ."""

    def __init__(self, scene: Scene, organ: int, seed: int, share: float = 1.0) -> None:
        """`share`: of each stroke's length, what is drawn, around its middle."""
        self.scene, self.organ, self.share = scene, organ, share
        self._generator = np.random.default_rng(seed)

    def next_stroke(self, labels: np.ndarray, number: int | None = None) -> Drawn | None:
        """Into the labels as they are, on the slice of that number if one is given; None where nothing is wrong."""
        reference = self.scene.reference
        missing = (reference == self.organ) & (labels != self.organ) & ~self.scene.undecided
        surplus = (labels == self.organ) & (reference != self.organ) & ~self.scene.undecided
        if number is not None:
            for wrong in (missing, surplus):
                wrong[:number], wrong[number + 1:] = False, False
        # The larger of what is missing and what is too much is what a user sees first.
        errors = [error for error in (self._largest(missing), self._largest(surplus)) if error is not None]
        if not errors:
            return None
        _, part, wrong, box = max(errors, key=lambda error: error[0])
        z = int(part.sum(axis=(1, 2)).argmax())
        sections, _ = ndimage.label(wrong[z], np.ones((3, 3)))
        section = sections == np.bincount(sections[part[z]]).argmax()
        spacing = self.scene.spacing[1:]
        path = medial_path(section, spacing, self._generator)
        length = max(1, round(len(path) * self.share))
        first = (len(path) - length) // 2
        path = path[first:first + length]
        y, x = painted(path, BRUSH_MM, section, spacing).T
        voxels = (np.full(len(y), z + box[0].start), y + box[1].start, x + box[2].start)
        # A stroke says one thing: where it crosses several, the voxels of the most frequent stay.
        values = reference[voxels]
        value = int(np.bincount(values).argmax())
        z_kept, y_kept, x_kept = (index[values == value] for index in voxels)
        return Drawn((z_kept, y_kept, x_kept), value)

    def _largest(self, wrong: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, tuple[slice, ...]] | None:
        """Voxel count and mask of the largest part, all that is wrong, and the box of both masks."""
        if not wrong.any():
            return None
        outer = ndimage.find_objects(wrong.astype(np.uint8))[0]
        box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in outer)
        inside = wrong[box]
        spacing = self.scene.spacing[1:]
        depth = np.stack([ndimage.distance_transform_edt(np.pad(plane, 1), sampling=spacing)[1:-1, 1:-1]
                          for plane in inside])
        # Where everything wrong is thin, the thin part is what there is to draw in.
        core = depth > RIM_MM * max(spacing[0], 1.0)
        if not core.any():
            core = inside
        parts, _ = ndimage.label(core, NEIGHBOURS)
        sizes = np.bincount(parts.ravel())[1:]
        largest = int(sizes.argmax())
        return int(sizes[largest]), parts == largest + 1, inside, box
