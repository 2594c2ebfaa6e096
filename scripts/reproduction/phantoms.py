"""Synthetic patients of the benchmark: the library's phantoms, each bent into an anatomy of its own.

Rendered at 4 mm and resampled by the recipes, so that partial volume is that of a real CT. Contrast phase, contents,
noise and scanner are drawn anew for each patient, as measured on real CTs (`synthesis.tissues`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.synthesis.synthetic_ct import synthesise_ct

VERSION = 1  # raised when the same number would give another patient
SPACING_MM = 4.0
SHAPE_ZYX = (120, 72, 108)
BEND_MM, BEND_SMOOTH_MM = 9.0, 45.0  # standard deviation of the displacement, and of the Gaussian that smooths it
SHIFT_MM = 15.0  # of the field of view, along each axis


def make_patient(folder: Path, number: int) -> tuple[Path, Path]:
    """Image and label map (WORD's sixteen organs) of patient `number`, made unless they are in `folder`."""
    image, labels = (folder / part / f"phantom_{number:03}.nii.gz" for part in ("images", "labels"))
    if not image.exists() or not labels.exists():
        for file in (image, labels):
            file.parent.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng([VERSION, number])
        centre = generator.uniform(-SHIFT_MM, SHIFT_MM, 3)
        _, straight = make_phantom(SHAPE_ZYX, (SPACING_MM, SPACING_MM, SPACING_MM), number,
                                   (float(centre[0]), float(centre[1]), float(centre[2])))
        bent = _bent(straight, generator)
        write_labelmap(labels, bent)
        write_ct(image, synthesise_ct(bent, generator))
    return image, labels


def make_patients(folder: Path, count: int, reporter: Reporter) -> list[tuple[Path, Path]]:
    """Image and label map of the patients 0 to `count` - 1."""
    files = []
    for number in range(count):
        files.append(make_patient(folder, number))
        reporter.progress("phantoms", number + 1, count)
    return files


def _bent(labels: Volume, generator: np.random.Generator) -> Volume:
    """The label map displaced by a smooth random field: phantoms alone are straighter than patients."""
    # One displacement field for each axis, added to where every voxel is read.
    places = np.indices(labels.array.shape, np.float32)
    for axis in places:
        field = ndimage.gaussian_filter(generator.standard_normal(axis.shape, np.float32),
                                        BEND_SMOOTH_MM / SPACING_MM, mode="nearest")
        axis += field * (BEND_MM / SPACING_MM / field.std())
    return Volume(ndimage.map_coordinates(labels.array, places, order=0, mode="nearest"), labels.grid)
