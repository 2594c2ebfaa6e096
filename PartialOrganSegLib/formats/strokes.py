"""Strokes and outlines drawn on slices: polylines in patient coordinates, kept as JSON, painted onto a CT's grid.

The file says who drew them and on which image. Each stroke lies in one slice of the image:
`{"organ": "colon", "width_mm": 4.0, "closed": false, "points": [[x, y, z], ...]}` with points in LPS millimetres. An
open stroke paints a band of `width_mm`; a closed one paints the area inside its outline. "background" is a legal organ.
With `"plane": "coronal"` (or "axial", "sagittal", or a plane's normal [x, y, z] in LPS) a stroke lies in any plane of
the patient, and covers the voxels that this plane goes through.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..atomic import whole_file
from ..errors import Code, UserError
from ..imaging.shapes import Coordinates, Mask, VoxelIndices
from ..imaging.volume import Grid, Volume
from ..json_file import read_json
from ..organs import LabelSpace
from .rtstruct_reading import inside as inside_polygon
from .stroke_errors import first_problem
from .stroke_planes import distance_to_segment, half_thickness, plane_voxels

NOT_DRAWN = 255
FORMAT_NAME = "partialorganseg-strokes"
NORMALS = {"axial": (0.0, 0.0, 1.0), "coronal": (0.0, 1.0, 0.0), "sagittal": (1.0, 0.0, 0.0)}  # LPS


_MOST_POINTS = 20_000  # of one stroke: a mouse that is drawn around all organs of a slice leaves some hundred
_MOST_STROKES = 100_000
_WIDEST_MM = 50.0
_OVERHANG = 1.0  # of the image's size: an outline may run over its rim, but not to another place


class Stroke(BaseModel):
    """One stroke: points (x, y, z) in LPS mm, all in one plane: a slice of the image, or one of the patient's."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    organ: str = Field(description="the name of an organ, or background")
    points: list[tuple[float, float, float]] = Field(
        min_length=1, max_length=_MOST_POINTS, description=f"1 to {_MOST_POINTS} points of three numbers [x, y, z]")
    width_mm: float = Field(default=3.0, gt=0, le=_WIDEST_MM, description=f"mm, more than 0 and {_WIDEST_MM:g} at most")
    closed: bool = Field(default=False, description="true or false")
    plane: Literal["slice", "axial", "coronal", "sagittal"] | tuple[float, float, float] = Field(
        default="slice", description="slice, axial, coronal, sagittal, or a normal [x, y, z] that is longer than 0")

    @field_validator("plane")
    @classmethod
    def _check_plane(cls, plane: str | tuple[float, float, float]) -> str | tuple[float, float, float]:
        if not isinstance(plane, str) and not 1e-3 < float(np.linalg.norm(plane)) < 1e3:
            raise ValueError("a plane's normal must have a length")
        return plane

    @property
    def normal(self) -> Coordinates | None:
        """(3,) the unit normal of its plane in LPS; None for a slice of the image."""
        if self.plane == "slice":
            return None
        direction = NORMALS[self.plane] if isinstance(self.plane, str) else self.plane
        return np.asarray(np.asarray(direction) / np.linalg.norm(direction))


class Strokes(BaseModel):
    """All strokes of one image, with their origin.

    `size` (x, y, z), `spacing` mm and `series_uid` say which image that is, where the file knows; `image` is its name.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    format: str = Field(default=FORMAT_NAME, pattern=f"^{FORMAT_NAME}$", description=FORMAT_NAME)
    version: int = Field(default=1, ge=1, le=1, description="1")
    image: str = Field(description="the name of the image that was drawn on")
    drawn_by: str = Field(description="who drew the strokes")
    licence: str = Field(description="the licence of the strokes")
    label_space: str = Field(default="word16", description="a name")
    size: tuple[int, int, int] | None = Field(default=None, description="three whole numbers of voxels [x, y, z]")
    spacing: tuple[float, float, float] | None = Field(default=None, description="three numbers [x, y, z] in mm")
    series_uid: str | None = Field(default=None, description="a Series Instance UID as text")
    coordinates: str = Field(default="LPS", pattern="^LPS$", description="LPS")
    unit: str = Field(default="mm", pattern="^mm$", description="mm")
    strokes: list[Stroke] = Field(default=[], max_length=_MOST_STROKES,
                                  description=f"a list of strokes, {_MOST_STROKES} at most")


def read_strokes(path: Path | str) -> Strokes:
    """Reads a stroke file. Raises UserError naming the file and the first bad field."""
    path = Path(path)
    try:
        return Strokes.model_validate(read_json(path, "JSON"))
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found="stroke file expected, none found") from None
    except ValidationError as error:
        raise UserError(first_problem(error, Strokes, Stroke).within(path)) from None


def write_strokes(path: Path | str, strokes: Strokes) -> None:
    """Writes a stroke file whole, points rounded to 0.01 mm."""
    content = strokes.model_dump()
    for name in ("size", "spacing", "series_uid"):
        if content[name] is None:
            del content[name]
    for stroke in content["strokes"]:
        if stroke["plane"] == "slice":  # files of strokes in slices stay readable for earlier versions
            del stroke["plane"]
        rounded = []
        for point in stroke["points"]:
            rounded.append([round(coordinate, 2) for coordinate in point])
        stroke["points"] = rounded
    lines = ",\n".join("  " + json.dumps(stroke, ensure_ascii=False) for stroke in content.pop("strokes"))
    head = json.dumps(content, ensure_ascii=False)[:-1]
    with whole_file(path) as temporary:
        temporary.write_text(f'{head}, "strokes": [\n{lines}\n]}}\n', encoding="utf-8")


def paint_strokes(strokes: Strokes, grid: Grid, label_space: LabelSpace) -> Volume:
    """Scribble map (z, y, x) uint8 on `grid`: organ indices, 0 for background strokes, 255 where nothing is drawn.

    Later strokes win. Raises UserError for an unknown organ or a stroke outside the grid or out of its plane.
    """
    painted = np.full(grid.shape, NOT_DRAWN, np.uint8)
    # In the order of the file, so that what was drawn last is on top.
    for number, stroke in enumerate(strokes.strokes):
        painted[stroke_voxels(strokes, number, grid)] = label_space.index(stroke.organ)
    return Volume(painted, grid)


def stroke_voxels(strokes: Strokes, number: int, grid: Grid) -> VoxelIndices:
    """The voxels that one of the strokes covers, an index to an array on `grid`.

    A stroke in the image's slices belongs to the slice nearest to its points. Raises UserError for a stroke outside the
    grid or out of its plane.
    """
    stroke = strokes.strokes[number]
    normal = stroke.normal
    points = np.c_[np.asarray(stroke.points), np.ones(len(stroke.points))] @ np.linalg.inv(grid.matrix).T
    if normal is None:
        k = round(float(points[:, 2].clip(-1, grid.size[2]).mean()))
        if not 0 <= k < grid.size[2] or not _near(points[:, :2], np.asarray(grid.size[:2]), _OVERHANG):
            raise _outside(strokes, number)
        # Points were rounded to 0.01 mm, and a viewer may place them anywhere within the slice's thickness.
        if np.ptp(points[:, 2]) > 1:
            raise _uneven(strokes, number, "all points in one slice of the image",
                          f"them across {np.ptp(points[:, 2]):.1f} slices")
        y, x = _area(points[:, :2], stroke, grid).nonzero()
        return np.full(len(y), k), y, x
    inside = (points[:, :3] > -0.5) & (points[:, :3] < np.asarray(grid.size) - 0.5)
    sides = np.asarray(grid.size) * grid.spacing
    if not inside.all(axis=1).any() or not _near(points[:, :3], np.asarray(grid.size), _OVERHANG * sides.max() / sides):
        raise _outside(strokes, number)
    off = float(np.ptp(np.asarray(stroke.points) @ normal))
    if off > max(1.0, 2 * half_thickness(normal, grid)):
        raise _uneven(strokes, number, f"all points in one {stroke.plane} plane", f"them across {off:.1f} mm")
    return plane_voxels(np.asarray(stroke.points), normal, stroke.width_mm, stroke.closed, grid)


def _near(points: Coordinates, size: npt.NDArray[np.int_], overhang: float | Coordinates) -> bool:
    """Whether all points (voxels) are at most so many sizes of the image beside it."""
    return bool(((points >= -overhang * size) & (points <= size - 1 + overhang * size)).all())


def _outside(strokes: Strokes, number: int) -> UserError:
    return UserError(code=Code.GEOMETRY_DIFFERS, subject=f"strokes of {strokes.image}",
                     found=f"stroke {number} ({strokes.strokes[number].organ}) lies outside the image")


def _uneven(strokes: Strokes, number: int, expected: str, found: str) -> UserError:
    return UserError(code=Code.VALUE_UNFIT, expected=expected, found=found,
                     subject=f"strokes of {strokes.image}: stroke {number} ({strokes.strokes[number].organ})")


def _area(points: Coordinates, stroke: Stroke, grid: Grid) -> Mask:
    """(y, x) bool: pixels whose centre a stroke covers; `points` are (n, 2) pixel coordinates (x, y)."""
    if stroke.closed and len(points) >= 3:
        area = inside_polygon(points, grid.shape)
        # An outline between the pixels' centres, as around a small vessel, is painted as the line that it is.
        if area.any():
            return area
    scale = np.asarray(grid.spacing[:2])
    radius = stroke.width_mm / 2
    covered = np.zeros(grid.shape[1:], np.bool_)
    columns, rows = np.arange(grid.size[0]) * scale[0], np.arange(grid.size[1]) * scale[1]
    ends = points * scale
    # The last point is followed by itself, which paints a stroke of one point as a disc.
    for start, end in zip(ends, np.r_[ends[1:], ends[-1:]], strict=True):
        # Only pixels near to the line are looked at, so that many points of one stroke do not take minutes.
        low = np.maximum(np.floor((np.minimum(start, end) - radius) / scale).astype(int), 0)
        high = np.ceil((np.maximum(start, end) + radius) / scale).astype(int) + 1
        box = np.s_[low[1]:max(high[1], low[1]), low[0]:max(high[0], low[0])]
        pixels = np.stack(np.meshgrid(columns[box[1]], rows[box[0]]), -1)
        covered[box] |= distance_to_segment(pixels, start, end) <= radius
    return covered
