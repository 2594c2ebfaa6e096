"""A CT that is not a file is checked as one that is, and what is wrong with it is one line."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.ct_input import as_ct
from PartialOrganSegLib.imaging.volume import Grid, Volume
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body

GRID = Grid(body().shape[::-1], (1.0, 1.0, 5.0))


def test_whole_numbers_of_any_type_become_int16() -> None:
    for kind in (np.int16, np.int32, np.float32, np.float64):
        volume = as_ct(body(kind), grid=GRID)
        assert volume.array.dtype == np.int16
        np.testing.assert_array_equal(volume.array, body())


def test_an_image_keeps_its_place() -> None:
    image = sitk.GetImageFromArray(body())
    image.SetSpacing((0.8, 0.9, 5.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    assert as_ct(image).grid == Grid(GRID.size, (0.8, 0.9, 5.0), (1.0, 2.0, 3.0), (0, 1, 0, 1, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(("ct", "place", "line"), [
    (body(), {}, r"array: expected spacing=\(x, y, z\) in mm or grid=Grid"),
    (body()[0], {"spacing": (1, 1, 1)}, r"array: expected axes \(z, y, x\), found the shape"),
    (body(), {"spacing": (1, 1)}, "array: spacing: expected 3 numbers"),
    (body(), {"spacing": "abc"}, "array: spacing: expected 3 numbers"),
    (body(), {"spacing": (1, 1, 0)}, "array: expected a positive voxel spacing, found 1 x 1 x 0 mm"),
    (body(), {"spacing": (1, 1, 1), "direction": np.ones((3, 3))}, "array: expected voxel axes at right angles"),
    (body(), {"spacing": (1, 1, 1), "direction": (1, 0, 0)}, "array: direction: expected 9 numbers"),
    (body(), {"grid": GRID, "spacing": (1, 1, 1)}, "array: expected grid alone"),
    (body(), {"grid": Grid((4, 4, 4), (1, 1, 1))}, r"array: expected the grid's shape \(4, 4, 4\)"),
    (body() > 0, {"grid": GRID}, "array: expected integer or float voxels, found bool"),
    (np.abs(body()), {"grid": GRID}, "array: expected a CT in HU, found values from"),
    (Volume(np.abs(body()), GRID), {}, "volume: expected a CT in HU"),
    # A Volume already has its grid: which of the two counts would be a guess.
    (Volume(body(), GRID), {"spacing": (1, 1, 1)}, "ct: expected spacing beside an array alone, found Volume"),
    ([[1]], {}, "ct: expected a path, a SimpleITK image, a Volume or an array .* found list"),
    (sitk.Image(4, 4, sitk.sitkInt16), {}, "image: expected a 3-D volume, found a 2-D image"),
    (sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), {}, "image: expected one number a voxel, found 3"),
    ("missing.nii.gz", {}, "missing.nii.gz: expected a CT file or a DICOM folder, found nothing there"),
])
def test_what_is_no_ct_is_one_line(ct: object, place: dict, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        as_ct(ct, **place)
    assert "\n" not in str(error.value)


def test_what_can_be_mended_is_told() -> None:
    array = body(np.float32)
    array[0, 0, 0] = np.nan
    listener = Listener()
    volume = as_ct(array, spacing=(1, 1, 1), reporter=listener)
    assert volume.array[0, 0, 0] == -1024
    assert any("NaN" in str(warning) for warning in listener.warnings)
    # What looks like no CT is taken when the user insists.
    assert as_ct(np.abs(body()), grid=GRID, force=True).array.min() >= 0
