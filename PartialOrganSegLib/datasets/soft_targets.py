"""Soft targets: the class probabilities that a foreign network (a teacher) gives a CT, in a file beside it.

The teacher has a label space of its own. Each of its classes stands for a set of ours: its liver for our liver, its
adrenal glands together for our adrenal, its background for our background and every organ that it does not know.

The file is a compressed .npz without pickles: `probabilities` (K, z, y, x) uint8, 255 is certain; `spacing`, `origin`
and `direction` of its grid (x, y, z; LPS mm, as ITK's); `classes`, a JSON list of K lists of names, one of which may be
`["rest"]`: the background and every organ that no other class names.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..atomic import whole_file
from ..errors import Code, UserError
from ..imaging.resampling import resample_box
from ..imaging.volume import Grid
from ..organs import LabelSpace

CERTAIN = 255
REST = "rest"
SAME_BOX_MM = 0.1
_ARRAYS = ("probabilities", "spacing", "origin", "direction", "classes")


@dataclass(frozen=True)
class SoftTargets:
    """`probabilities` (K, z, y, x) uint8 on `grid`; `classes[k]` names the organs that the teacher's class k may be.

    `name` is what errors call them: the file.
    """

    probabilities: np.ndarray
    grid: Grid
    classes: tuple[tuple[str, ...], ...]
    name: str = "soft targets"

    def check(self, image: Grid, label_space: LabelSpace) -> None:
        """Raises UserError where they do not fit the CT's grid or the label space."""
        self.sets(label_space)
        self._check_box(image)

    def sets(self, label_space: LabelSpace) -> tuple[tuple[int, ...], ...]:
        """The classes of `label_space` that each of the teacher's stands for.

        Raises UserError for an unknown name, and where a class of ours belongs to none or several of the teacher's, or
        one of the teacher's to none of ours: its probabilities would then be no distribution over ours.
        """
        try:
            named = [() if names == (REST,) else label_space.indices(names) for names in self.classes]
        except UserError as error:
            raise error.within(f"{self.name}: classes") from None
        given = [index for indices in named for index in indices]
        titles = ("background", *label_space.names)
        twice = next((index for index in given if given.count(index) > 1), None)
        if twice is not None:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{self.name}: classes", expected="each name once",
                            found=f"{titles[twice]} twice")
        others = tuple(index for index in range(label_space.class_count) if index not in given)
        if not others and () in named:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{self.name}: classes",
                            expected="background and every organ once", found=f"that nothing is left for '{REST}'")
        if others and named.count(()) != 1:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{self.name}: classes",
                            expected=f"one for {', '.join(titles[index] for index in others)}, or one that is "
                                     f"'{REST}'", found="none")
        return tuple(indices or others for indices in named)

    def resampled(self, image: Grid, shape: tuple[int, int, int]) -> np.ndarray:
        """(K, *shape) uint8, canonical axes: the box of the CT's grid `image` in `shape` voxels (z, y, x), as the CT
        itself is resampled.

        Raises UserError unless the probabilities fill the same box.
        """
        self._check_box(image)
        order = self.grid.axis_order()
        result = np.empty((len(self.probabilities), *shape), np.uint8)
        for row, channel in zip(result, self.probabilities, strict=True):
            canonical = order.to_canonical(channel)
            z, y, x = (slice(0, size) for size in canonical.shape)
            row[:] = resample_box(canonical, (z, y, x), shape).round().clamp(0, CERTAIN).to(torch.uint8).numpy()
        return result

    def _check_box(self, image: Grid) -> None:
        ours, theirs = (_corners(grid.axis_order().canonical_grid(grid)) for grid in (self.grid, image))
        apart = float(np.abs(ours - theirs).max())
        if apart > SAME_BOX_MM:
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject=self.name,
                            expected="voxels of any size that fill the image's box",
                            found=f"{self.grid.size} of {tuple(round(mm, 3) for mm in self.grid.spacing)} mm, "
                                  f"corners up to {apart:.1f} mm away")


def _corners(grid: Grid) -> np.ndarray:
    """(3, 8) LPS mm: the corners of the box that the voxels fill."""
    ends = [(-0.5, size - 0.5) for size in grid.size]
    return (grid.matrix @ np.array([[x, y, z, 1] for x in ends[0] for y in ends[1] for z in ends[2]]).T)[:3]


def quantised(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities 0..1 as uint8."""
    return np.rint(probabilities * CERTAIN).astype(np.uint8)


def write_soft_targets(path: Path, targets: SoftTargets) -> None:
    """Writes the file, whole or not at all."""
    grid = targets.grid
    with whole_file(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, probabilities=targets.probabilities, spacing=np.array(grid.spacing, float),
                            origin=np.array(grid.origin, float), direction=np.array(grid.direction, float),
                            classes=np.array(json.dumps(targets.classes)))


def read_soft_targets(path: Path) -> SoftTargets:
    """Reads a file. Raises UserError naming it and what is wrong with it."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as content:
            missing = [name for name in _ARRAYS if name not in content]
            if missing:
                raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=f"arrays {', '.join(_ARRAYS)}",
                                found=f"no {missing[0]}")
            arrays = {name: content[name] for name in _ARRAYS}
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found="soft targets expected, none found") from None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="soft targets (.npz without pickles)",
                        found="something else") from None
    return _parsed(path, arrays)


def _parsed(path: Path, arrays: dict[str, np.ndarray]) -> SoftTargets:
    probabilities = arrays["probabilities"]
    if probabilities.dtype != np.uint8 or probabilities.ndim != 4 or 0 in probabilities.shape:
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: probabilities",
                        expected="uint8 in four axes (class, z, y, x)",
                        found=f"{probabilities.dtype} {probabilities.shape}")
    try:
        classes = json.loads(str(arrays["classes"][()]))
    except json.JSONDecodeError:
        classes = None
    if not isinstance(classes, list) or not all(
            isinstance(names, list) and names and all(isinstance(name, str) for name in names) for names in classes):
        raise UserError(code=Code.VALUE_UNFIT, subject=f"{path}: classes", expected="a JSON list of lists of names",
                        found=f"{arrays['classes'][()]!s:.60}")
    if len(classes) != len(probabilities):
        raise UserError(code=Code.VALUE_UNFIT, subject=f"{path}: classes",
                        expected=f"{len(probabilities)}, as in probabilities", found=len(classes))
    return SoftTargets(probabilities, _grid(path, probabilities.shape[1:], arrays),
                       tuple(tuple(names) for names in classes), str(path))


def _grid(path: Path, shape: Sequence[int], arrays: dict[str, np.ndarray]) -> Grid:
    numbers = {}
    for name, count in (("spacing", 3), ("origin", 3), ("direction", 9)):
        array = arrays[name]
        if array.shape != (count,) or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{path}: {name}", expected=f"{count} finite numbers",
                            found=f"{array.tolist()!s:.60}")
        numbers[name] = tuple(float(value) for value in array)
    if min(numbers["spacing"]) <= 0:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"{path}: spacing", expected="more than 0 mm",
                        found=numbers["spacing"])
    z, y, x = shape
    return Grid((x, y, z), numbers["spacing"], numbers["origin"], numbers["direction"])
