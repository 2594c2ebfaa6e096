"""Strokes in coronal, sagittal and oblique planes cover what the plane goes through; files say which plane it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats import stroke_planes
from PartialOrganSegLib.formats.stroke_planes import distance_to_segment, half_thickness
from PartialOrganSegLib.formats.strokes import NOT_DRAWN, Stroke, Strokes, paint_strokes, read_strokes, write_strokes
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.organs import WORD16

STRAIGHT = Grid((24, 20, 12), (1.5, 2.0, 4.0), (-10.0, 5.0, 100.0))
TURNED = Grid((24, 20, 12), (1.5, 2.0, 4.0), (-10.0, 5.0, 100.0), (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0))
OBLIQUE = (0.3, 0.8, 0.5)


def drawn(*strokes: Stroke) -> Strokes:
    return Strokes(image="ct.nii.gz", drawn_by="a test", licence="CC0-1.0", strokes=list(strokes))


def in_plane(normal: tuple[float, float, float], middle: np.ndarray) -> list[tuple[float, float, float]]:
    """Three points of the plane through `middle`, a bent line of some 20 mm."""
    unit = np.asarray(normal) / np.linalg.norm(normal)
    first = np.cross(unit, [0.0, 0.0, 1.0] if abs(unit[2]) < 0.9 else [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(unit, first)
    corners = (middle - 8 * first, middle + 4 * first, middle + 4 * first + 8 * second)
    return [(float(x), float(y), float(z)) for x, y, z in corners]


def centres(grid: Grid) -> np.ndarray:
    """(z, y, x, 3) LPS mm."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    return (np.stack([x, y, z, np.ones_like(x)], -1) @ grid.matrix.T)[..., :3]


def test_a_coronal_stroke_lies_in_one_row_of_a_straight_image():
    y = 5.0 + 7 * 2.0
    stroke = Stroke(organ="spleen", points=[(0.0, y, 108.0), (12.0, y, 132.0)], width_mm=6, plane="coronal")
    painted = paint_strokes(drawn(stroke), STRAIGHT, WORD16).array
    assert np.flatnonzero((painted != NOT_DRAWN).any((0, 2))).tolist() == [7]
    along = np.linspace(0, 1, 500)[:, None] * np.array([12.0, 0.0, 24.0]) + np.array([0.0, y, 108.0])
    # 500 points along the stroke: the nearest is at most 0.03 mm from the line.
    far = np.linalg.norm(centres(STRAIGHT)[:, 7, :, None] - along, axis=-1).min(-1)
    assert np.array_equal(painted[:, 7] == WORD16.index("spleen"), far <= 3.0)


@pytest.mark.parametrize("grid", [STRAIGHT, TURNED])
@pytest.mark.parametrize("plane", ["axial", "sagittal", OBLIQUE])
@pytest.mark.parametrize("closed", [False, True])
def test_every_voxel_under_a_stroke_and_no_other(grid: Grid, plane: str | tuple[float, float, float], closed: bool):
    normal = {"axial": (0.0, 0.0, 1.0), "sagittal": (1.0, 0.0, 0.0)}.get(str(plane), OBLIQUE)
    middle = (grid.matrix @ [11.3, 9.2, 5.4, 1])[:3]
    stroke = Stroke(organ="liver", points=in_plane(normal, middle), width_mm=5.0, closed=closed, plane=plane)
    painted = paint_strokes(drawn(stroke), grid, WORD16).array == 1
    unit = np.asarray(normal) / np.linalg.norm(normal)
    away = (centres(grid) - np.mean(stroke.points, axis=0)) @ unit
    assert painted.any()
    # No voxel is painted whose body the plane does not touch.
    assert np.abs(away[painted]).max() <= half_thickness(unit, grid) + 1e-9
    # Points right on the stroke's middle line lie in voxels of the plane whose centres are near the line.
    corners = np.asarray(stroke.points)
    inner = corners[0] + np.linspace(0.1, 0.9, 30)[:, None] * (corners[1] - corners[0])
    if closed:
        inner = corners.mean(axis=0, keepdims=True)
    places = np.c_[inner, np.ones(len(inner))] @ np.linalg.inv(grid.matrix).T
    x, y, z = np.rint(places[:, :3]).astype(int).T
    assert painted[z, y, x].mean() > 0.9


def test_files_keep_the_plane_and_the_image(tmp_path: Path):
    strokes = Strokes(image="ct.nii.gz", drawn_by="a test", licence="CC0-1.0", size=(24, 20, 12),
                      spacing=(1.5, 2.0, 4.0), series_uid="1.2.3", strokes=[
                          Stroke(organ="liver", points=[(0, 0, 0)]),
                          Stroke(organ="liver", points=[(0, 0, 0)], plane="coronal"),
                          Stroke(organ="liver", points=[(0, 0, 0)], plane=OBLIQUE)])
    write_strokes(tmp_path / "s.json", strokes)
    assert read_strokes(tmp_path / "s.json") == strokes
    content = json.loads((tmp_path / "s.json").read_text())
    assert ["plane" in stroke for stroke in content["strokes"]] == [False, True, True]


def test_files_of_slices_look_as_before(tmp_path: Path):
    write_strokes(tmp_path / "s.json", drawn(Stroke(organ="liver", points=[(0, 0, 0)])))
    content = json.loads((tmp_path / "s.json").read_text())
    assert not {"size", "spacing", "series_uid"} & set(content)
    assert set(content["strokes"][0]) == {"organ", "points", "width_mm", "closed"}


def test_points_out_of_their_plane_are_refused():
    stroke = Stroke(organ="liver", points=[(0.0, 10.0, 108.0), (0.0, 30.0, 108.0)], plane="coronal")
    with pytest.raises(UserError, match=r"stroke 0 \(liver\): expected all points in one coronal plane, found them"):
        paint_strokes(drawn(stroke), STRAIGHT, WORD16)


def test_a_stroke_beside_the_image_is_refused():
    stroke = Stroke(organ="liver", points=[(500.0, 10.0, 108.0)], plane="sagittal")
    with pytest.raises(UserError, match="lies outside the image"):
        paint_strokes(drawn(stroke), STRAIGHT, WORD16)


@pytest.mark.parametrize("far", [1e4, 1e300])
@pytest.mark.filterwarnings("error")  # the square of so long a way is no number
def test_a_point_far_beside_the_image_is_refused_in_any_plane(far: float):
    for plane in ("slice", "coronal"):
        stroke = Stroke(organ="liver", points=[(0.0, 15.0, 108.0), (far, 15.0, 108.0)], plane=plane)
        with pytest.raises(UserError, match="lies outside the image"):
            paint_strokes(drawn(stroke), STRAIGHT, WORD16)
    beside = Stroke(organ="liver", points=[(0.0, 15.0, 108.0), (50.0, 15.0, 108.0)], plane="coronal")
    assert (paint_strokes(drawn(beside), STRAIGHT, WORD16).array == 1).any()


def test_many_points_in_an_oblique_plane_take_no_minutes(monkeypatch: pytest.MonkeyPatch):
    """Each part of the line was measured to every voxel of the plane, 250 million times."""
    measured = []

    def counted(places: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        measured.append(len(places))
        return distance_to_segment(places, start, end)

    monkeypatch.setattr(stroke_planes, "distance_to_segment", counted)
    grid = Grid((256, 256, 100), (1.0, 1.0, 2.5))
    angles = np.linspace(0, 2 * np.pi, 2000)
    first, second = np.array([1, -1, 0]) / np.sqrt(2), np.array([1, 1, -2]) / np.sqrt(6)
    points = [128, 128, 125] + 100 * (np.cos(angles)[:, None] * first + 0.5 * np.sin(angles)[:, None] * second)
    painted = paint_strokes(drawn(Stroke(organ="liver", points=points.tolist(), plane=(1.0, 1.0, 1.0))), grid, WORD16)
    assert sum(measured) < 100_000
    z, y, x = (painted.array == 1).nonzero()
    places = np.stack([x, y, 2.5 * z], axis=1) - [128, 128, 125]
    around = np.hypot(places @ first, 2 * (places @ second))
    assert len(z) > 500
    assert np.abs(around - 100).max() < 4  # half a width, twice that where the ellipse is narrow


def test_a_normal_without_length_is_refused(tmp_path: Path):
    (tmp_path / "s.json").write_text(json.dumps({"image": "a", "drawn_by": "b", "licence": "c", "strokes": [
        {"organ": "liver", "points": [[0, 0, 0]], "plane": [0, 0, 0]}]}))
    with pytest.raises(UserError, match=r"plane: expected .* a normal .* longer than 0, found \[0, 0, 0\]"):
        read_strokes(tmp_path / "s.json")
