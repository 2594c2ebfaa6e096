"""Labels of another model are refused: the same values would be other organs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import PartialOrganSegLib as pos
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.result import CTSource, SegmentResult
from Testing.helpers import small_bundle
from Testing.helpers.stroke_scenes import FIRST_MIDDLE, GRID, KIDNEY, SPLEEN, scene, stroke_at


@pytest.fixture
def result(tmp_path: Path) -> SegmentResult:
    """Of a model whose organ 2 is no spleen; its files and those of the CT lie in a folder."""
    space = label_space_of_names("three", ["liver", "lump", "pancreas"])
    bundle, _ = small_bundle.written(tmp_path / "lümp model", space)
    ct, truth = scene()
    write_ct(tmp_path / "scan.nii.gz", ct)
    write_labelmap(tmp_path / "strokes.nii.gz", stroke_at(FIRST_MIDDLE, SPLEEN))
    labels = Volume(np.where(truth == KIDNEY, 1, 0).astype(np.uint8), GRID)
    options = SegmentOptions(model=bundle.folder, preview=False)
    segmented = SegmentResult(labels, ct, bundle, options, {}, {}, "", CTSource(tmp_path / "scan.nii.gz"))
    segmented.save(tmp_path / "results")
    return segmented


def refine(folder: Path, model: Bundle | None, *options: str) -> int:
    named = [] if model is None else ["--model", str(model.folder)]
    return main(["refine", str(folder / "scan.nii.gz"), "-o", str(folder / "results"), "--no-preview", *named,
                 *options])


def test_a_correction_with_another_model_than_the_labels_are_of(result: SegmentResult, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture) -> None:
    labels = tmp_path / "results" / "scan.labels.nii.gz"
    before = labels.read_bytes()
    correct = ["--strokes", str(tmp_path / "strokes.nii.gz"), "--labels", str(labels), "--overwrite"]
    assert refine(tmp_path, None, *correct) == 1
    assert f"{labels}: expected labels of the organs of embedded, found a table that lists lump; --model" in (
        capsys.readouterr().err)
    assert labels.read_bytes() == before
    assert refine(tmp_path, result.bundle, *correct) == 0


def test_taking_back_with_another_model(result: SegmentResult, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    labels = tmp_path / "results" / "scan.labels.nii.gz"
    assert refine(tmp_path, result.bundle, "--strokes", str(tmp_path / "strokes.nii.gz"), "--labels", str(labels),
                  "--overwrite") == 0
    corrected = labels.read_bytes()
    assert refine(tmp_path, None, "--undo") == 1
    assert "expected labels of the organs of embedded" in capsys.readouterr().err
    assert labels.read_bytes() == corrected
    assert refine(tmp_path, result.bundle, "--undo") == 0
    np.testing.assert_array_equal(read_labelmap(labels).array, result.array)


def test_a_result_of_another_model(result: SegmentResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="labels: expected those of embedded's organs, found a result of"):
        pos.refine(result.ct, stroke_at(FIRST_MIDDLE, SPLEEN), labels=result)
    corrected = pos.refine(result.ct, stroke_at(FIRST_MIDDLE, SPLEEN), labels=result, model=result.bundle.folder)
    assert [change.organ for change in corrected.changes] == ["lump"]


def test_an_organ_list_in_part_or_none_says_nothing_against_a_model(result: SegmentResult, tmp_path: Path) -> None:
    table = tmp_path / "results" / "scan.volumes.csv"
    correct = ["--strokes", str(tmp_path / "strokes.nii.gz"), "--labels",
               str(tmp_path / "results" / "scan.labels.nii.gz"), "--overwrite"]
    for content in (b"organ,volume_ml\nliver,1\npancreas,2\n", b"\xff\xfe", b""):
        table.write_bytes(content)
        assert refine(tmp_path, None, *correct) == 0
    table.write_bytes(b"organ,volume_ml\npancreas,1\nliver,2\n")
    assert refine(tmp_path, None, *correct) == 1


@pytest.mark.parametrize("labels", [np.zeros(GRID.shape, np.uint8), 5])
def test_something_else_is_refused(labels: object) -> None:
    with pytest.raises(UserError, match="labels: expected a file, a Volume or a SegmentResult, found"):
        pos.refine(scene()[0], stroke_at(FIRST_MIDDLE, SPLEEN), labels=labels)
