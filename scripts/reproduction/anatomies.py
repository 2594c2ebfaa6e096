"""Real anatomy without real images: label maps drawn by people, each with a CT synthesised round it.

Meant for the 30 label maps of WORD. The organs' shapes and places are those of patients; the images are not, so orders
of methods can be shown here, and figures of one method on CTs cannot.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from scipy import ndimage

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.synthetic_ct import synthesise_ct

VERSION = 1  # raised when the same label map would give another CT
SPACING_MM = 4.0
MARGIN_ZYX_MM = (30.0, 90.0, 60.0)  # round the organs, where the synthetic body has to fit


def make_anatomies(work: Path, folder: Path, reporter: Reporter) -> list[tuple[Path, Path]]:
    """Image and label map (WORD's sixteen organs) of each *.nii.gz in `folder`, made unless they are in `work`.

    WORD's own file word_template.nii.gz is no patient and is left out. Raises UserError where there is no label map, or
    one with a value that is no organ of WORD.
    """
    maps = [path for path in sorted(folder.glob("*.nii.gz")) if not path.name.endswith("template.nii.gz")]
    if not maps:
        raise UserError(code=Code.NO_CASES, subject=folder, expected="label maps *.nii.gz of WORD's sixteen organs",
                        found="none")
    files = []
    for number, path in enumerate(maps, 1):
        files.append(_make_anatomy(work, path))
        reporter.progress("synthetic CTs", number, len(maps))
    return files


def _make_anatomy(work: Path, path: Path) -> tuple[Path, Path]:
    image, labels = work / "images" / path.name, work / "labels" / path.name
    if not image.exists() or not labels.exists():
        original = read_labelmap(path)
        highest, last = int(original.array.max()), WORD16.class_count - 1
        if highest > last:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected=f"values 0..{last} (WORD)", found=highest)
        if highest == 0:
            raise UserError(code=Code.NO_LABELS, subject=path, expected="voxels of WORD's organs", found="none")
        small = coarse_labels(original)
        # By the file's name, so that one label map more or less leaves the other CTs as they are.
        seed = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big")
        for file in (image, labels):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_labelmap(labels, small)
        write_ct(image, synthesise_ct(small, np.random.default_rng([VERSION, seed])))
    return image, labels


def coarse_labels(labels: Volume) -> Volume:
    """A label map cropped to its organs with MARGIN_ZYX_MM and resampled to SPACING_MM, axes along the patient's.

    A voxel gets the class whose membership, linear between voxels, is the greatest there. A tilt of the grid is
    dropped: the CT is painted onto the voxels' own axes.
    """
    canonical = labels.canonical()
    spacing = np.array(canonical.grid.spacing[::-1])
    box = ndimage.find_objects((canonical.array > 0).astype(np.uint8))[0]
    margins = np.ceil(np.array(MARGIN_ZYX_MM) / spacing).astype(int)
    low = [max(0, part.start - int(margin)) for part, margin in zip(box, margins, strict=True)]
    high = [part.stop + int(margin) for part, margin in zip(box, margins, strict=True)]  # slices end at the border
    cropped = canonical.array[low[0]:high[0], low[1]:high[1], low[2]:high[2]]

    step = SPACING_MM / spacing
    depth, height, width = (max(1, round(size / ratio)) for size, ratio in zip(cropped.shape, step, strict=True))
    best = np.zeros((depth, height, width), np.float32)
    organs_share = np.zeros(best.shape, np.float32)
    coarse = np.zeros(best.shape, np.uint8)
    for value in np.unique(cropped[cropped > 0]):
        # Voxel centres of both grids start half a voxel from the same corner.
        share = ndimage.affine_transform((cropped == value).astype(np.float32), step, (step - 1) / 2, best.shape,
                                         order=1, mode="nearest")
        wins = share > best
        coarse[wins] = value
        best[wins] = share[wins]
        organs_share += share
    coarse[best < 1 - organs_share] = 0
    return Volume(coarse, Grid((width, height, depth), (SPACING_MM, SPACING_MM, SPACING_MM)))
