"""Strokes: the file comes back as written, and painting covers what a ruler in patient coordinates covers."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.strokes import (
    NOT_DRAWN,
    Stroke,
    Strokes,
    paint_strokes,
    read_strokes,
    write_strokes,
)
from PartialOrganSegLib.formats.strokes_image import drawn_on
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_files import inside

STRAIGHT = Grid((24, 20, 5), (1.5, 2.0, 4.0), (-10.0, 5.0, 100.0))


def oblique_grid() -> Grid:
    a, b = np.radians(20), np.radians(-12)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    direction = tuple(float(v) for v in (about_z @ about_x).ravel())
    return Grid((24, 20, 5), (1.5, 2.0, 4.0), (-30.0, 12.0, -800.0), direction)


def flipped_grid() -> Grid:
    return Grid((24, 20, 5), (1.5, 2.0, 4.0), (40.0, 30.0, 7.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))


# Straight, tilted about two axes, and with both axes backwards.
GRIDS = [STRAIGHT, oblique_grid(), flipped_grid()]


def world(grid: Grid, *voxels: tuple[float, float, float]) -> list[tuple[float, float, float]]:
    """LPS mm of voxel coordinates (x, y, z)."""
    return [tuple((grid.matrix @ [*voxel, 1])[:3].tolist()) for voxel in voxels]


def drawn(*strokes: Stroke) -> Strokes:
    return Strokes(image="ct.nii.gz", drawn_by="a test", licence="CC0-1.0", strokes=list(strokes))


def distance_mm(grid: Grid, points: list[tuple[float, float, float]], closed: bool = False) -> np.ndarray:
    """(z, y, x) distance of every voxel's centre to a polyline, in patient space."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    centres = np.stack([x, y, z, np.ones_like(x)], -1) @ grid.matrix.T
    ends = np.array(points + points[:1] if closed else points)
    nearest = np.linalg.norm(centres[..., :3] - ends[0], axis=-1)
    for a, b in pairwise(ends):
        along = np.linspace(0, 1, 400)[:, None] * (b - a) + a
        for point in along:
            nearest = np.minimum(nearest, np.linalg.norm(centres[..., :3] - point, axis=-1))
    return nearest


@pytest.mark.parametrize("grid", GRIDS)
def test_open_stroke_is_a_band_of_its_width(grid):
    points = world(grid, (3, 4, 2), (15, 6, 2), (17, 15, 2))
    painted = paint_strokes(drawn(Stroke(organ="colon", points=points, width_mm=5.0)), grid, WORD16)
    assert painted.grid == grid
    far = distance_mm(grid, points)
    assert set(np.unique(painted.array)) == {WORD16.index("colon"), NOT_DRAWN}
    slices = np.flatnonzero((painted.array != NOT_DRAWN).any((1, 2)))
    assert slices.tolist() == [2]
    on = painted.array[2] == WORD16.index("colon")
    # Half the width of 5 mm, less what 400 steps along a side leave open.
    assert on[far[2] < 2.49].all()
    assert not on[far[2] > 2.51].any()


@pytest.mark.parametrize("grid", GRIDS)
def test_closed_stroke_is_the_area_inside(grid):
    corners = [(4, 3, 1), (19, 5, 1), (12, 16, 1)]
    points = world(grid, *corners)
    painted = paint_strokes(drawn(Stroke(organ="bladder", points=points, closed=True)), grid, WORD16).array
    y, x = np.meshgrid(np.arange(20), np.arange(24), indexing="ij")
    sides = [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
             for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    within = np.all(np.array(sides) >= 0, axis=0)
    clear = distance_mm(grid, points, closed=True)[1] > 2.0  # one pixel from the outline
    assert np.array_equal((painted[1] == WORD16.index("bladder"))[clear], within[clear])
    assert within[clear].any()
    assert (painted[[0, 2, 3, 4]] == NOT_DRAWN).all()


@pytest.mark.parametrize("radius", [1.7, 3.3, 7.1])
def test_closed_stroke_covers_the_pixels_whose_centre_it_goes_round(radius):
    angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    outline = np.stack([11.3 + radius * np.cos(angles), 9.6 + radius * np.sin(angles)], axis=1)
    points = world(STRAIGHT, *[(x, y, 1) for x, y in outline.tolist()])
    for plane in ("slice", "axial"):
        strokes = drawn(Stroke(organ="liver", points=points, closed=True, plane=plane))
        np.testing.assert_array_equal(paint_strokes(strokes, STRAIGHT, WORD16).array[1] == 1, inside(outline, (20, 24)))


def test_a_closed_stroke_between_the_pixels_centres_is_no_less_than_its_line():
    points = world(STRAIGHT, (10.3, 10.3, 1), (10.7, 10.3, 1), (10.5, 10.7, 1))
    assert (paint_strokes(drawn(Stroke(organ="liver", points=points, closed=True)), STRAIGHT, WORD16).array == 1).any()


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_closed_stroke_has_the_area_and_the_middle_of_its_outline(flips):
    """However the image's rows and columns run: half a pixel too far to one side is a tenth of a small organ."""
    size, mm, radius = 64, 0.8, 5.0
    middle = np.array([25.13, 24.77])
    origin = [0.0 if flip > 0 else (size - 1) * mm for flip in flips]
    grid = Grid((size, size, 3), (mm, mm, 5.0), (*origin, 0.0), (flips[0], 0, 0, 0, flips[1], 0, 0, 0, 1))
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = [(float(x), float(y), 5.0) for x, y in middle + radius * np.c_[np.cos(angles), np.sin(angles)]]
    painted = paint_strokes(drawn(Stroke(organ="adrenal", points=points, closed=True)), grid, WORD16).array
    z, y, x = np.nonzero(painted != NOT_DRAWN)
    assert set(z) == {1}
    centres = (np.c_[x, y, z, np.ones_like(x)] @ grid.matrix.T)[:, :2]
    assert (np.linalg.norm(centres - middle, axis=1) <= radius).all()
    every_pixel = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) * mm
    assert len(x) == (np.linalg.norm(every_pixel - middle, axis=-1) < radius * np.cos(np.pi / 200)).sum()


def test_closed_stroke_of_two_points_is_a_band():
    points = world(STRAIGHT, (3, 4, 2), (15, 6, 2))
    painted = [paint_strokes(drawn(Stroke(organ="colon", points=points, closed=closed)), STRAIGHT, WORD16).array
            for closed in (False, True)]
    assert np.array_equal(*painted)


def test_single_point_is_a_disc():
    points = world(STRAIGHT, (10, 10, 0))
    painted = paint_strokes(drawn(Stroke(organ="liver", points=points, width_mm=6.0)), STRAIGHT, WORD16).array
    assert np.array_equal(painted == 1, (distance_mm(STRAIGHT, points) <= 3.0) & (np.arange(5) == 0)[:, None, None])


def test_background_is_drawn_as_zero_and_later_strokes_win():
    points = world(STRAIGHT, (3, 4, 2), (15, 4, 2))
    first = Stroke(organ="liver", points=points, width_mm=8.0)
    second = Stroke(organ="Background", points=points, width_mm=4.0)
    painted = paint_strokes(drawn(first, second), STRAIGHT, WORD16).array
    assert painted[2, 4, 9] == 0
    assert painted[2, 3, 9] == 0
    # Two voxels (4 mm) from the middle: in the first stroke, beside the second.
    assert painted[2, 2, 9] == 1


def test_a_stroke_between_slices_belongs_to_the_nearest():
    stroke = Stroke(organ="liver", points=world(STRAIGHT, (5, 5, 3.3)), width_mm=4)
    assert np.flatnonzero((paint_strokes(drawn(stroke), STRAIGHT, WORD16).array == 1).any((1, 2))).tolist() == [3]


def test_part_of_a_stroke_beside_the_image_is_cut_off():
    stroke = Stroke(organ="liver", points=world(STRAIGHT, (-8, 5, 1), (3, 5, 1)), width_mm=4)
    painted = paint_strokes(drawn(stroke), STRAIGHT, WORD16).array
    assert painted[1, 5, 0] == 1
    assert (painted[1, 5, 6:] == NOT_DRAWN).all()


@pytest.mark.parametrize("k", [-1.0, 5.0])
def test_stroke_above_or_below_the_image_is_refused(k):
    stroke = Stroke(organ="liver", points=world(STRAIGHT, (5, 5, k)))
    with pytest.raises(UserError, match=r"strokes of ct.nii.gz: stroke 0 \(liver\) lies outside the image"):
        paint_strokes(drawn(stroke), STRAIGHT, WORD16)


def test_unknown_organ_names_the_nearest():
    stroke = Stroke(organ="blader", points=world(STRAIGHT, (5, 5, 1)))
    with pytest.raises(UserError, match=r"'blader' \(did you mean 'bladder'\?\)"):
        paint_strokes(drawn(stroke), STRAIGHT, WORD16)


def test_stroke_across_slices_is_refused():
    stroke = Stroke(organ="liver", points=world(STRAIGHT, (5, 5, 0), (9, 5, 4)))
    with pytest.raises(UserError, match=r"stroke 0 \(liver\): expected all points in one slice"):
        paint_strokes(drawn(stroke), STRAIGHT, WORD16)


WHOLE = {"image": "ct.nii.gz", "drawn_by": "a test", "licence": "CC0-1.0", "strokes": []}


@pytest.mark.parametrize(("content", "line"), [
    ([], "expected fields (key: value), found a list"),
    (None, "expected fields (key: value), found nothing"),
    ({}, "image: expected the name of the image that was drawn on, found none"),
    (WHOLE | {"licence": None}, "licence: expected the licence of the strokes, found nothing"),
    (WHOLE | {"imag": "a"}, "imag: unknown field (did you mean 'image'?)"),
    (WHOLE | {"version": 2}, "version: expected 1, found 2"),
    (WHOLE | {"coordinates": "RAS"}, "coordinates: expected LPS, found 'RAS'"),
    (WHOLE | {"size": [9, 9]}, "size.2: expected three whole numbers of voxels [x, y, z], found [9, 9]"),
    (WHOLE | {"strokes": {}}, "strokes: expected a list of strokes, 100000 at most, found {}"),
    (WHOLE | {"strokes": [3]}, "strokes.0: expected fields (key: value), found a number"),
])
def test_what_is_wrong_with_a_file_is_a_line_in_plain_words(content: object, line: str, tmp_path: Path):
    check_line(tmp_path / "s.json", json.dumps(content), line)


@pytest.mark.parametrize(("change", "line"), [
    ({"organ": 2}, "organ: expected the name of an organ, or background, found 2"),
    ({"colour": "red"}, "colour: unknown field (did you mean 'closed'?)"),
    ({"points": "abc"}, "points: expected 1 to 20000 points of three numbers [x, y, z], found 'abc'"),
    ({"points": []}, "points: expected 1 to 20000 points of three numbers [x, y, z], found 0"),
    ({"points": [[1, 2, 3]] * 20001}, "points: expected 1 to 20000 points of three numbers [x, y, z], found 20001"),
    ({"points": [[1, 2]]}, "points.0.2: expected 1 to 20000 points of three numbers [x, y, z], found [1, 2]"),
    ({"points": [[1, 2, 3, 4]]}, "points.0: expected 1 to 20000 points of three numbers [x, y, z], found [1, 2, 3, 4]"),
    ({"points": [[1, "x", 3]]}, "points.0.1: expected 1 to 20000 points of three numbers [x, y, z], found 'x'"),
    ({"width_mm": 1e9}, "width_mm: expected mm, more than 0 and 50 at most, found 1000000000.0"),
    ({"plane": "transverse"}, "plane: expected slice, axial, coronal, sagittal, or a normal [x, y, z] that is longer "
                              "than 0, found 'transverse'"),
])
def test_what_is_wrong_with_a_stroke_is_a_line_in_plain_words(change: dict, line: str, tmp_path: Path):
    stroke = {"organ": "liver", "points": [[1, 2, 3]]} | change
    check_line(tmp_path / "s.json", json.dumps(WHOLE | {"strokes": [stroke]}), f"strokes.0.{line}")


def check_line(path: Path, text: str, line: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_strokes(path)
    assert str(caught.value) == f"{path}: {line}"


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path):
    """Of two lists of strokes the first was lost without a word."""
    stroke = '[{"organ": "liver", "points": [[1, 2, 3]]}]'
    text = f'{json.dumps(WHOLE)[:-1]}, "strokes": {stroke}}}'
    check_line(tmp_path / "s.json", text, "expected JSON, found the key 'strokes' twice")


def test_file_comes_back_as_written(tmp_path: Path):
    strokes = drawn(Stroke(organ="liver", points=[(1.25, -2.0, 3.5)], width_mm=4.0),
                    Stroke(organ="background", points=[(0, 0, 0), (1, 1, 0), (2, 0, 0)], closed=True))
    path = tmp_path / "Ordner mit Blank" / "ä.json"
    path.parent.mkdir()
    write_strokes(path, strokes)
    assert read_strokes(path) == strokes
    assert json.loads(path.read_text("utf-8"))["strokes"][0]["organ"] == "liver"
    write_strokes(path, drawn())
    assert read_strokes(path).strokes == []


def test_points_are_kept_to_a_hundredth_of_a_millimetre(tmp_path: Path):
    write_strokes(tmp_path / "s.json", drawn(Stroke(organ="liver", points=[(1 / 3, 2 / 3, -1 / 3)])))
    assert read_strokes(tmp_path / "s.json").strokes[0].points == [(0.33, 0.67, -0.33)]


GOOD = {"image": "a", "drawn_by": "b", "licence": "c",
        "strokes": [{"organ": "liver", "points": [[0, 0, 0]]}]}


@pytest.mark.parametrize(("change", "field"), [
    ({"format": "other"}, "format"), ({"version": 2}, "version"), ({"coordinates": "RAS"}, "coordinates"),
    ({"unit": "cm"}, "unit"), ({"colour": "red"}, "colour"), ({"drawn_by": None}, "drawn_by"),
    ({"strokes": [{"organ": "liver", "points": []}]}, r"strokes\.0\.points"),
    ({"strokes": [{"organ": "liver", "points": [[0, 0]]}]}, r"strokes\.0\.points\.0"),
    ({"strokes": [{"organ": "liver", "points": [[0, 0, 0]], "width_mm": 0}]}, r"strokes\.0\.width_mm")])
def test_bad_field_is_named_in_one_line(tmp_path: Path, change, field):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(UserError, match=rf"s\.json: {field}") as error:
        read_strokes(path)
    assert "\n" not in str(error.value)


def test_no_file_and_no_json(tmp_path: Path):
    with pytest.raises(UserError, match=r"s\.json: stroke file expected, none found"):
        read_strokes(tmp_path / "s.json")
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(UserError, match=r"s\.json: expected JSON"):
        read_strokes(tmp_path / "s.json")
    (tmp_path / "s.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"s\.json: expected JSON"):
        read_strokes(tmp_path / "s.json")


@pytest.mark.parametrize(("stated", "image", "fits"), [
    ("ct/case_7/image.nii.gz", "other/case_7_image.nii.gz", True), ("scan 1.nii.gz", "in/scan_1.nrrd", True),
    ("case_7.nii.gz", "case_7/ct.nii.gz", True), ("image.nii.gz", "anything.nii.gz", True),
    ("C:\\data\\anna.nii.gz", "anna", True), ("ct/anna/image.nii.gz", "ct/otto/image.nii.gz", False),
    ("anna.nii.gz", "otto.nii.gz", False), ("a.nii.gz", "ct/data.nii.gz", False)])
def test_strokes_of_another_image_are_noticed(stated: str, image: str, fits: bool):
    strokes = Strokes(image=stated, drawn_by="a", licence="b")
    assert drawn_on(strokes, Path(image)) is fits


def test_numbers_that_no_mouse_draws_are_refused(tmp_path: Path):
    head = {"format": "partialorganseg-strokes", "version": 1, "image": "a", "drawn_by": "b", "licence": "c"}
    for text in ("NaN", "Infinity", "1e999", "-1e999", "9" * 5000):
        file = tmp_path / "s.json"
        content = json.dumps({**head, "strokes": [{"organ": "liver", "points": [[0, 0, 12345]]}]})
        file.write_text(content.replace("12345", text))
        with pytest.raises(UserError, match=r"s\.json") as caught:
            read_strokes(file)
        assert len(str(caught.value)) < 300
    for points in ([(1e300, 0, 108)], [(0, -1e300, 108)], [(0, 0, 1e300)], [(5000, 10, 108)]):
        with pytest.raises(UserError, match="outside the image"):
            paint_strokes(drawn(Stroke(organ="liver", points=points)), STRAIGHT, WORD16)
    with pytest.raises(ValueError, match="points"):
        Stroke(organ="liver", points=[(0, 0, 0)] * 1_000_000)


def test_many_points_take_no_minutes():
    angles = np.linspace(0, 50, 20_000)
    grid = Grid((512, 512, 2), (0.8, 0.8, 4.0))
    points = np.c_[200 + 150 * np.cos(angles), 200 + 150 * np.sin(angles), np.zeros(len(angles))]
    began = time.perf_counter()
    painted = paint_strokes(drawn(Stroke(organ="liver", points=points.tolist())), grid, WORD16).array
    # 20,000 points on 512 x 512 pixels: distances of all pairs would take minutes.
    assert time.perf_counter() - began < 20
    assert (painted[0] == 1).sum() == pytest.approx(2 * np.pi * 150 * 3 / 0.64, rel=0.05)
