"""CT series with labels on their grid, for the tests of what is written from them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.dicom_source import DicomSource, read_source
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.dicom_files import UPRIGHT, write_enhanced, write_slices

SPACING = (12.0, 5.0, 6.0)  # z, y, x


@cache
def phantom() -> tuple[np.ndarray, np.ndarray]:
    """HU and labels (28, 48, 64) of a patient; the liver has holes, an island in one, a thread and a lone voxel."""
    ct, labels = make_phantom((28, 48, 64), SPACING, seed=3)
    array = labels.array.copy()
    liver = array == 1
    # The phantom's liver is replaced by a block whose holes and parts are known.
    array[liver] = 0
    array[14:20, 4:22, 4:24] = 1
    array[15:19, 7:17, 8:20] = 0
    array[16:18, 11:13, 12:15] = 1
    array[15:19, 19, 9] = array[17, 5, 18:22] = 0
    array[16, 24, 4:30] = 1
    array[18, 30, 3] = 1
    array[array == 6] = 0  # no gallbladder
    return ct.array, array


def make_case(folder: Path, axes: tuple = UPRIGHT, enhanced: bool = False, reporter: Reporter | None = None,
              **tags: object) -> tuple[DicomSource, Volume]:
    """The phantom as a series in `folder`, read as a source, and its labels on the grid of the CT as it is read."""
    hu, labels = phantom()
    if enhanced:
        # Frames may lie in any order in a file.
        order = np.random.default_rng(1).permutation(len(hu))
        write_enhanced(folder / "ct.dcm", hu, axes, order=order, pixel_mm=SPACING[1:], step=SPACING[0], **tags)
    else:
        write_slices(folder, hu, axes, pixel_mm=SPACING[1:], step=SPACING[0], **tags)
    reporter = reporter or Reporter()
    return read_source(folder, None, reporter), Volume(labels, read_ct(folder).grid)
