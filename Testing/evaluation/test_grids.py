"""Predictions on another grid than their reference's: told, turned, or resampled where that is asked for."""

from __future__ import annotations

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.evaluation.evaluation import resample_labels
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from Testing.helpers.evaluation_study import GRID, labels, scores
from Testing.helpers.other_orders import stored_otherwise


def test_another_grid_is_told_and_resampled_on_request(study, capsys):
    # The same box with voxels half as wide: the first centre lies a quarter of a voxel further out.
    finer = Grid((24, 20, 8), (0.75, 0.75, 4.0), (-5.375, 6.625, -30.0))
    write_labelmap(study / "good" / "a.labels.nii.gz", resample_labels(labels(), finer))
    command = ["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]
    assert main(command) == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if "grid, " in line)
    assert "expected the reference's grid, size (12, 10, 8), spacing (1.5, 1.5, 4)" in line
    assert "found size (24, 20, 8), spacing (0.75, 0.75, 4)" in line
    assert "--resample" in line
    assert ("good", "a", "liver") not in scores(study / "out")
    assert main([*command, "--resample", "--overwrite"]) == 0
    assert float(scores(study / "out")["good", "a", "liver"]["dice"]) == 1
    assert "put on the reference's grid (nearest neighbour): a" in (study / "out" / "report.md").read_text("utf-8")


def test_a_prediction_in_another_axis_order_is_scored_as_it_is(study):
    write_labelmap(study / "good" / "a.labels.nii.gz", stored_otherwise(labels()))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]) == 0
    assert float(scores(study / "out")["good", "a", "liver"]["dice"]) == 1
    assert "nearest neighbour" not in (study / "out" / "report.md").read_text("utf-8")


def test_a_grid_that_differs_in_its_directions_alone_is_told_by_these(study, capsys):
    """What was expected and what was found looked the same, word by word."""
    turned = Grid(GRID.size, GRID.spacing, GRID.origin, (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    write_labelmap(study / "good" / "a.labels.nii.gz", Volume(labels().array, turned))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]) == 1
    assert ("expected the reference's grid, direction (1, 0, 0, 0, 1, 0, 0, 0, 1), "
            "found direction (-1, 0, 0, 0, -1, 0, 0, 0, 1); --resample") in capsys.readouterr().err


def test_a_resampled_prediction_that_ends_before_the_reference(study, capsys):
    """Elsewhere altogether it is no prediction of that case; a part of the CT scores what it holds, and says so."""
    elsewhere = Grid(GRID.size, GRID.spacing, (900.0, 7.0, -30.0))
    write_labelmap(study / "good" / "a.labels.nii.gz", Volume(labels().array, elsewhere))
    left = Grid((4, 10, 8), GRID.spacing, GRID.origin)
    write_labelmap(study / "good" / "b 2.labels.nii.gz", Volume(labels().array[:, :, :4].copy(), left))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out"), "--resample"]) == 1
    warned = capsys.readouterr().err
    assert "error: a: " in warned
    assert "expected some of the reference's place, origin (-5, 7, -30), found origin (900, 7, -30)" in warned
    assert "b 2.labels.nii.gz: 60.0% of the reference's organs lies beyond the prediction's end" in warned
    table = scores(study / "out")
    assert ("good", "a", "liver") not in table
    assert float(table["good", "b 2", "liver"]["recall"]) == pytest.approx(0.4)
