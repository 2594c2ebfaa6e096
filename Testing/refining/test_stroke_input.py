"""Strokes that do not fit a CT are one line that says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.stroke_input import painted_strokes
from Testing.helpers.other_orders import stored_otherwise

GRID = Grid((20, 16, 8), (2.0, 2.0, 4.0))
LINE = [(10.0, 10.0, 8.0), (20.0, 10.0, 8.0)]


def strokes_of(*strokes: Stroke, **about: object) -> Strokes:
    facts = {"image": "ct.nii.gz", "drawn_by": "a test", "licence": "CC0-1.0"} | about
    return Strokes.model_validate(facts | {"strokes": [stroke.model_dump() for stroke in strokes]})


LIVER = Stroke(organ="liver", points=LINE)


def test_all_forms_of_strokes_say_the_same(tmp_path: Path):
    strokes = strokes_of(LIVER, size=GRID.size, spacing=GRID.spacing)
    write_strokes(tmp_path / "s.json", strokes)
    painted = painted_strokes(strokes, GRID, WORD16)
    write_labelmap(tmp_path / "s.nii.gz", painted)
    assert (painted.array == 1).sum() >= 6
    for source in (tmp_path / "s.json", str(tmp_path / "s.nii.gz"), painted, stored_otherwise(painted)):
        assert np.array_equal(painted_strokes(source, GRID, WORD16).array, painted.array)


@pytest.mark.parametrize(("strokes", "line"), [
    (strokes_of(LIVER, size=(20, 16, 9)), "strokes of this CT (20 x 16 x 8 voxels), found those of another (20 x 16"),
    (strokes_of(LIVER, spacing=(2, 2, 5)), "strokes of this CT (2 x 2 x 4 mm), found those of another (2 x 2 x 5 mm)"),
    (strokes_of(LIVER, series_uid="1.9"), "strokes of this CT (series 1.2), found those of another (series 1.9)"),
    (strokes_of(Stroke(organ="liver", points=[(10, 10, 900)])),
     "s.json: strokes of ct.nii.gz: stroke 0 (liver) lies outside the image"),
    # The wider one, drawn later, hides the first: a slip that would otherwise go unnoticed.
    (strokes_of(LIVER, Stroke(organ="spleen", points=LINE, width_mm=6)),
     "stroke 0 (liver): expected one organ for a place, found spleen drawn over most of it"),
    (strokes_of(LIVER, Stroke(organ="hart", points=LINE)), "stroke 1: unknown organ 'hart'"),
    (strokes_of(), "expected one stroke or more, found none"),
    (strokes_of(Stroke(organ="liver", points=[(11, 11, 8)], width_mm=0.1)), "expected a stroke that covers a voxel's"),
    # Between two rows, and beside one that covers voxels: it must not be left out without a word.
    (strokes_of(LIVER, Stroke(organ="spleen", points=[(30, 21, 8), (36, 21, 8)], width_mm=1.5)),
     "stroke 1 (spleen): expected a stroke that covers a voxel's centre, found none; draw it wider"),
])
def test_strokes_that_do_not_fit(strokes: Strokes, line: str, tmp_path: Path):
    write_strokes(tmp_path / "s.json", strokes)
    with pytest.raises(UserError) as caught:
        painted_strokes(tmp_path / "s.json", GRID, WORD16, series_uid="1.2")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shared_end_is_no_contradiction():
    crossing = Stroke(organ="spleen", points=[(20.0, 10.0, 8.0), (30.0, 10.0, 8.0)])
    painted = painted_strokes(strokes_of(LIVER, crossing), GRID, WORD16).array
    assert painted[2, 5, 10] == 2
    assert painted[2, 5, 6] == 1


@pytest.mark.parametrize(("value", "grid", "line"), [
    (255, GRID, "expected one stroke or more, found none"),
    (40, GRID, "expected 0..16 (word16) or 255 (not drawn), found 40"),
    (1, Grid(GRID.size, (2.0, 2.0, 5.0)), "expected strokes on the CT's grid, spacing"),
])
def test_maps_that_do_not_fit(value: int, grid: Grid, line: str):
    drawn = np.full(GRID.shape, 255, np.uint8)
    drawn[2, 5, 5:9] = value
    with pytest.raises(UserError) as caught:
        painted_strokes(Volume(drawn, grid), GRID, WORD16)
    assert line in str(caught.value)


def test_a_map_of_organs_is_no_map_of_strokes():
    """Its 0 would be strokes of background all over the patient."""
    organs = np.zeros(GRID.shape, np.uint8)
    organs[2, 5, 5:9] = 1
    with pytest.raises(UserError, match="expected 255 where nothing is drawn, found a stroke in every voxel"):
        painted_strokes(Volume(organs, GRID), GRID, WORD16)


def test_another_kind_of_file_names_both_kinds(tmp_path: Path):
    (tmp_path / "s.txt").write_text("{}")
    with pytest.raises(UserError, match=r"s\.txt: expected a stroke file \(\.json\) or a label map \(\.nii"):
        painted_strokes(tmp_path / "s.txt", GRID, WORD16)


def test_something_else_is_refused():
    with pytest.raises(UserError, match="strokes: expected a file, Strokes or a Volume, found int"):
        painted_strokes(3, GRID, WORD16)
