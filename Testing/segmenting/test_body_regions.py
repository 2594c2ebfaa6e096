"""Parts of a result that lie where their organ cannot be are noticed; organs in their place are not."""

from __future__ import annotations

import numpy as np
import pytest

from PartialOrganSegLib.imaging.volume import AxisOrder, Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.check_kinds import CheckKind, OrganCheck, Place
from PartialOrganSegLib.segmenting.organ_checks import check_organs

GRID = Grid((60, 50, 120), (4.0, 4.0, 5.0))  # 24 x 20 x 60 cm, from the hips to the chest
# (z, y, x) of a corner and the sizes: a body from z 0 to 120 with its organs in their places.
ORGANS = {"liver": ((60, 15, 10), (24, 15, 16)), "spleen": ((64, 25, 40), (12, 8, 8)),
          "right_kidney": ((45, 28, 15), (20, 8, 8)), "left_kidney": ((48, 28, 38), (20, 8, 8)),
          "colon": ((20, 12, 28), (50, 6, 6)), "bladder": ((14, 15, 26), (10, 10, 10)),
          "head_of_left_femur": ((12, 20, 45), (9, 8, 8)), "head_of_right_femur": ((12, 20, 8), (9, 8, 8)),
          "esophagus": ((70, 30, 28), (50, 3, 3)), "stomach": ((58, 14, 36), (20, 8, 4))}
CUBE = (5, 5, 5)  # 10 ml


def labels_with(*strays: tuple[str, tuple[int, int, int]], without: tuple[str, ...] = (),
                size: tuple[int, int, int] = CUBE) -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    boxes = [(name, *box) for name, box in ORGANS.items() if name not in without]
    for name, corner, extent in [*boxes, *((name, corner, size) for name, corner in strays)]:
        array[tuple(slice(first, first + width) for first, width in zip(corner, extent, strict=True))] = (
            WORD16.index(name))
    return array


def ct() -> np.ndarray:
    """Soft tissue in air, and two lungs above the liver whose bases come down behind it."""
    array = np.full(GRID.shape, -1000, np.int16)
    array[:, 2:48, 2:58] = 40
    array[85:120, 10:40, 10:26] = -850
    # Behind the liver a lung reaches further down than its dome: height alone is no landmark.
    array[66:120, 31:40, 10:26] = -850
    array[85:120, 10:28, 34:52] = -850
    return array


def stray_of(array: np.ndarray, organ: str, image: np.ndarray | None = None) -> list[OrganCheck]:
    volume = None if image is None else Volume(image, GRID)
    reports = check_organs(Volume(array, GRID), WORD16, ct=volume)
    checks = next(report for report in reports if report.organ == organ).checks
    return [check for check in checks if check.kind is CheckKind.STRAY_COMPONENT]


@pytest.mark.parametrize("image", [None, ct()], ids=["labels", "labels and CT"])
def test_organs_in_their_places_are_no_strays(image: np.ndarray | None) -> None:
    for organ in ORGANS:
        assert stray_of(labels_with(), organ, image) == []


@pytest.mark.parametrize(("organ", "corner", "place"), [
    ("colon", (100, 20, 28), Place.ABOVE_DIAPHRAGM), ("intestine", (110, 20, 28), Place.ABOVE_DIAPHRAGM),
    ("spleen", (100, 20, 28), Place.ABOVE_DIAPHRAGM), ("bladder", (70, 10, 28), Place.ABOVE_PELVIS),
    ("head_of_left_femur", (60, 10, 50), Place.ABOVE_PELVIS), ("liver", (1, 20, 28), Place.BELOW_ABDOMEN),
    ("colon", (0, 30, 28), Place.BELOW_PELVIS)])
def test_a_part_outside_its_region(organ: str, corner: tuple[int, int, int], place: Place) -> None:
    assert stray_of(labels_with((organ, corner)), organ) == [
        OrganCheck(CheckKind.STRAY_COMPONENT, organ, pytest.approx(10.0), 0, 1.0, place.value)]


def test_the_region_is_that_of_any_axis_order() -> None:
    order = AxisOrder((2, 0, 1), (True, False, True))
    array = labels_with(("colon", (100, 20, 28)))
    turned = Volume(order.to_canonical(array), order.canonical_grid(GRID))
    report = next(report for report in check_organs(turned, WORD16) if report.organ == "colon")
    assert [check.detail for check in report.checks if check.kind is CheckKind.STRAY_COMPONENT] == ["above_diaphragm"]


def test_small_parts_and_the_oesophagus_are_left_alone() -> None:
    assert stray_of(labels_with(("colon", (100, 20, 28)), size=(2, 2, 3)), "colon") == []  # 0.96 ml
    assert stray_of(labels_with(("esophagus", (110, 15, 28))), "esophagus") == []


def test_several_parts_count_together() -> None:
    checks = stray_of(labels_with(("colon", (100, 20, 28)), ("colon", (110, 20, 10))), "colon")
    assert [check.value for check in checks] == [pytest.approx(20.0)]


def test_without_landmarks_nothing_is_said() -> None:
    lost = labels_with(("colon", (100, 20, 28)), without=("liver",))
    assert stray_of(lost, "colon") == []
    alone = labels_with(("bladder", (70, 10, 28)), without=("left_kidney", "right_kidney"))
    assert stray_of(alone, "bladder") == []


def test_a_liver_that_the_image_cuts_is_no_landmark() -> None:
    array = labels_with(("colon", (100, 20, 50)))
    array[84:, 15:30, 10:26] = WORD16.index("liver")
    assert stray_of(array, "colon") == []


def test_the_ct_tells_of_lungs_below_the_dome() -> None:
    """The lungs' bases come down beside the liver: no height tells, but lung all around does."""
    array = labels_with(("intestine", (74, 33, 14)))
    assert stray_of(array, "intestine") == []
    assert [check.detail for check in stray_of(array, "intestine", ct())] == ["in_lung"]


def test_gas_in_the_bowel_is_no_lung() -> None:
    image = ct()
    image[21:69, 7:30, 29:33] = -950  # more than 200 ml of gas
    array = labels_with()
    array[21:69, 6:31, 28:34] = WORD16.index("colon")
    array[40:45, 15:20, 30:32] = WORD16.index("intestine")
    assert stray_of(array, "intestine", image) == []


def test_the_ct_tells_what_is_outside_of_the_patient() -> None:
    array = labels_with()
    array[50:56, 0:2, 0:60] = WORD16.index("colon")
    image = ct()
    image[:, 0:5] = -1000
    # Room in front of the patient, as for the table and the air of a wide field of view.
    wide = np.pad(array, ((0, 0), (20, 0), (0, 0)))
    grid = Grid((60, 70, 120), GRID.spacing)
    for report in check_organs(Volume(wide, grid), WORD16):
        assert CheckKind.STRAY_COMPONENT not in [check.kind for check in report.checks]
    wide[50:56, 0:5, 20:40] = WORD16.index("colon")
    padded = Volume(np.pad(image, ((0, 0), (20, 0), (0, 0)), constant_values=-1000), grid)
    report = next(r for r in check_organs(Volume(wide, grid), WORD16, ct=padded) if r.organ == "colon")
    assert [c.detail for c in report.checks if c.kind is CheckKind.STRAY_COMPONENT] == ["outside_body"]
