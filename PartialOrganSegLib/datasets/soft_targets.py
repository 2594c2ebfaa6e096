"""Soft targets: the class probabilities that a foreign network (a teacher) gives a CT, in a file beside it.

The teacher has another label space. Each of its classes stands for a set of ours: its liver for our liver, its adrenal
glands together for our adrenal, its background for our background and every organ that it does not know.

The file is a compressed .npz without pickles: `probabilities` (K, z, y, x) uint8, 255 is certain; `spacing`, `origin`
and `direction` of its grid (x, y, z; LPS mm, as ITK's); `classes`, a JSON list of K lists of names, one of which may be
`["rest"]`: the background and every organ that no other class names.
"""

from __future__ import annotations

import itertools
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..atomic import whole_file
from ..errors import Code, UserError
from ..formats.folder_files import refuse_pipe
from ..imaging.resampling import resample_box
from ..imaging.shapes import Shape3
from ..imaging.volume import Grid
from ..json_file import parse_json
from ..memory_claims import check_claim
from ..organs import LabelSpace

CERTAIN = 255
REST = "rest"
SAME_BOX_MM = 0.1
_ARRAYS = ("probabilities", "spacing", "origin", "direction", "classes")
_Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]  # as a file holds them, before anything is checked


@dataclass(frozen=True)
class SoftTargets:
    """`probabilities` (K, z, y, x) uint8 on `grid`; `classes[k]` names the organs that the teacher's class k may be.

    `name` stands for them in errors: the file's.
    """

    probabilities: npt.NDArray[np.uint8]
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
            named: list[tuple[int, ...]] = []  # empty for the class that is the rest
            for names in self.classes:
                named.append(() if names == (REST,) else tuple(label_space.indices(names)))
        except UserError as error:
            raise error.within(f"{self.name}: classes") from None
        counts = Counter(itertools.chain.from_iterable(named))
        titles = ("background", *label_space.names)
        for index, count in counts.items():
            if count > 1:
                raise UserError(code=Code.VALUE_UNFIT, subject=f"{self.name}: classes", expected="each name once",
                                found=f"{titles[index]} twice")
        unnamed = tuple(index for index in range(label_space.class_count) if index not in counts)
        if not unnamed and () in named:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{self.name}: classes",
                            expected="background and every organ once", found=f"that nothing is left for '{REST}'")
        if unnamed and named.count(()) != 1:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{self.name}: classes",
                            expected=f"one for {', '.join(titles[index] for index in unnamed)}, or one that is "
                                     f"'{REST}'", found="none")
        return tuple(indices or unnamed for indices in named)

    def resampled(self, image: Grid, shape: Shape3) -> npt.NDArray[np.uint8]:
        """(K, *shape) uint8, canonical axes: the box of the CT's grid `image` in `shape` voxels (z, y, x), resampled as
        the CT itself is.

        Raises UserError unless the probabilities fill the same box.
        """
        self._check_box(image)
        # The CT and its soft targets may be stored in different orientations; both are brought to canonical axes.
        order = self.grid.axis_order()
        result = np.empty((len(self.probabilities), *shape), np.uint8)
        for row, channel in zip(result, self.probabilities, strict=True):
            canonical = order.to_canonical(channel)
            z, y, x = (slice(0, size) for size in canonical.shape)
            row[:] = resample_box(canonical, (z, y, x), shape).round().clamp(0, CERTAIN).to(torch.uint8).numpy()
        return result

    def _check_box(self, image: Grid) -> None:
        """Raises UserError unless the probabilities fill the same box as the image."""
        soft_corners, image_corners = (_corners(grid.axis_order().canonical_grid(grid)) for grid in (self.grid, image))
        apart = float(np.abs(soft_corners - image_corners).max())
        if apart > SAME_BOX_MM:
            spacing = ", ".join(f"{mm:.4g}" for mm in self.grid.spacing)
            raise UserError(code=Code.GEOMETRY_DIFFERS, subject=self.name,
                            expected="voxels of any size that fill the image's box",
                            found=f"{self.grid.size} of ({spacing}) mm, corners up to {apart:.1f} mm away")


def _corners(grid: Grid) -> npt.NDArray[np.float64]:
    """(3, 8) LPS mm: the corners of the box that the voxels fill."""
    # Indices are of voxels' centres: the box begins half a voxel before the first and ends half a voxel after the last.
    ends = [(-0.5, size - 0.5) for size in grid.size]
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*ends)])
    placed: npt.NDArray[np.float64] = (grid.matrix @ corners.T)[:3]
    return placed


def quantised(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Probabilities 0..1 as uint8."""
    numbers: npt.NDArray[np.uint8] = np.rint(probabilities * CERTAIN).astype(np.uint8)
    return numbers


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
        # Opened here, not by numpy, which takes a name without .npz for another file.
        refuse_pipe(path)
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as content:
            missing = [name for name in _ARRAYS if name not in content]
            if missing:
                raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=f"arrays {', '.join(_ARRAYS)}",
                                found=f"no {missing[0]}")
            # Members may unpack to a thousand times the file.
            assert content.zip is not None
            for member in content.zip.infolist():
                check_claim(f"{path}: {member.filename}", member.file_size, member.compress_size,
                            member.compress_type != zipfile.ZIP_STORED)
            arrays = {name: content[name] for name in _ARRAYS}
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found="soft targets expected, none found") from None
    # What numpy and its zip and zlib raise for a file that is cut short, empty or no archive.
    except (OSError, EOFError, MemoryError, NotImplementedError, OverflowError, ValueError, TypeError, AttributeError,
            zipfile.BadZipFile, zlib.error):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="soft targets (.npz without pickles)",
                        found="something else") from None
    return _parsed(path, arrays)


def _parsed(path: Path, arrays: _Arrays) -> SoftTargets:
    probabilities = arrays["probabilities"]
    if probabilities.dtype != np.uint8 or probabilities.ndim != 4 or 0 in probabilities.shape:
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: probabilities",
                        expected="uint8 in four axes (class, z, y, x)",
                        found=f"{probabilities.dtype} {probabilities.shape}")
    classes = parse_json(str(arrays["classes"][()]), f"{path}: classes", "a JSON list of lists of names")
    if not isinstance(classes, list) or not all(map(_are_names, classes)):
        raise UserError(code=Code.VALUE_UNFIT, subject=f"{path}: classes", expected="a JSON list of lists of names",
                        found=f"{arrays['classes'][()]!s:.60}")
    if len(classes) != len(probabilities):
        raise UserError(code=Code.VALUE_UNFIT, subject=f"{path}: classes",
                        expected=f"{len(probabilities)}, as in probabilities", found=len(classes))
    return SoftTargets(probabilities, _grid(path, probabilities.shape[1:], arrays),
                       tuple(tuple(names) for names in classes), str(path))


def _are_names(names: object) -> bool:
    return isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)


def _grid(path: Path, shape: Sequence[int], arrays: _Arrays) -> Grid:
    numbers: dict[str, tuple[float, ...]] = {}
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
    (spacing_x, spacing_y, spacing_z), (origin_x, origin_y, origin_z) = numbers["spacing"], numbers["origin"]
    return Grid((x, y, z), (spacing_x, spacing_y, spacing_z), (origin_x, origin_y, origin_z), numbers["direction"])
