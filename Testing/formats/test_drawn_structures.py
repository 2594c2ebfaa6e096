"""RT structure sets and DICOM SEG, read back onto the CT's grid: the voxels that were written, whatever the axes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.dicom_seg import write_dicom_seg
from PartialOrganSegLib.formats.dicom_source import Maker
from PartialOrganSegLib.formats.drawn_structures import read_structures
from PartialOrganSegLib.formats.rtstruct import write_rtstruct
from PartialOrganSegLib.formats.rtstruct_reading import inside as filled
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import make_case
from Testing.helpers.dicom_files import OBLIQUE, PRONE, UPRIGHT, inside

MAKER = Maker("test", "1")
WRITERS = {"rtstruct": write_rtstruct, "seg": write_dicom_seg,
           "labelmap": lambda *arguments: write_dicom_seg(*arguments, labelmap=True)}


@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE, PRONE])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_what_was_written_is_read_voxel_by_voxel(kind, axes, tmp_path):
    source, labels = make_case(tmp_path / "ct", axes)
    path = tmp_path / "struct.dcm"
    WRITERS[kind](path, source.on_slices(labels), source, WORD16.organs, MAKER)
    structures = read_structures(path)
    assert structures.series_uid == source.headers[0].SeriesInstanceUID
    masks = dict(structures.masks(labels.grid))
    present = set(np.unique(labels.array).tolist()) - {0}
    assert len(masks) == len(present) == len(structures.names)
    for organ in WORD16.organs:
        if organ.index in present:
            name = structures.names[sorted(present).index(organ.index)]
            np.testing.assert_array_equal(masks[name], labels.array == organ.index)


def test_a_file_of_another_kind_is_none(tmp_path):
    source, _ = make_case(tmp_path)
    assert read_structures(source.slices[0].file) is None
    text = tmp_path / "notes.txt"
    text.write_text("nothing")
    assert read_structures(text) is None


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_damaged_file_and_another_grid_are_one_line(kind, tmp_path):
    source, labels = make_case(tmp_path / "ct")
    path = tmp_path / "struct.dcm"
    WRITERS[kind](path, source.on_slices(labels), source, WORD16.organs, MAKER)
    elsewhere = Grid(labels.grid.size, labels.grid.spacing, (0.0, 0.0, 9000.0), labels.grid.direction)
    with pytest.raises(UserError, match=r"struct\.dcm"):
        list(read_structures(path).masks(elsewhere))
    _cut(path, 0.4)
    # A structure set that is cut behind its names may be read, but has lost contours.
    names: list[str] = []
    with contextlib.suppress(UserError):
        names = read_structures(path).names
    assert len(names) < len(set(np.unique(labels.array))) - 1


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:round(share * len(content))])


def test_polygons_are_filled_by_their_pixels_centres():
    rng = np.random.default_rng(0)
    for _ in range(50):
        polygon = rng.uniform(-3, 13, (rng.integers(3, 9), 2)).round(2)
        np.testing.assert_array_equal(filled(polygon, (1, 10, 11)), inside(polygon, (10, 11)))
