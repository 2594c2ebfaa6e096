"""The classes that a case's voxels may be of: kinds, coarse values, strokes, and values that are not trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.imaging.volume import AxisOrder, Grid, Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.manifests import EVERYTHING, dataset, manifest, problems
from Testing.helpers.other_orders import MIRRORED, TURNED, elsewhere, stored_otherwise
from Testing.helpers.training_data import blocks, write_case, write_image
from Testing.helpers.volume_files import TILTED


def codes_of(folder: Path, **changes: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidate sets (z, y, x, class), labels and image of one case."""
    entry = write_case(folder, "a", 0)
    keep = changes.pop("files", ("image", "label"))
    entry = {key: value for key, value in entry.items() if key in keep} | changes.pop("entry", {})
    case = manifest(folder, dataset(cases=[entry], **changes)).cases[0]
    table = CandidateTable(17)
    image = case.read_image()
    codes = case.read_codes(image, WORD16, table)
    return table.table[codes], blocks(0)[1], image.array


def sets_of(allowed: np.ndarray, where: np.ndarray) -> set[frozenset[int]]:
    rows = np.unique(allowed[where], axis=0)
    return {frozenset(np.flatnonzero(row).tolist()) for row in rows}


def test_codes_of_a_partial_case_with_a_coarse_value(tmp_path: Path):
    allowed, labels, image = codes_of(tmp_path, kind="partial", annotated=["liver", "colon", "rectum"],
                                      label_map={2: ["colon", "rectum"]})
    assert np.array_equal(image, blocks(0)[0])
    not_annotated = EVERYTHING - {1, 10, 13}
    assert sets_of(allowed, labels == 0) == {frozenset(not_annotated)}
    assert sets_of(allowed, labels == 1) == {frozenset({1})}
    assert sets_of(allowed, labels == 2) == {frozenset({10, 13})}
    assert sets_of(allowed, labels == 3) == {frozenset(not_annotated)}


def test_strokes_win_over_the_label_below(tmp_path: Path):
    points = [(8.0, 8.0, 9.0), (40.0, 8.0, 9.0)]
    write_strokes(tmp_path / "s.json", Strokes(image="a", drawn_by="b", licence="c", strokes=[
        Stroke(organ="background", points=points, width_mm=2.0)]))
    allowed, labels, _ = codes_of(tmp_path, kind="partial", annotated=["liver"], entry={"strokes": "s.json"})
    # Points in mm on voxels of 2 x 2 x 3: slice 3, row 4, columns 4 to 20.
    stroke = np.zeros(labels.shape, bool)
    stroke[3, 4, 4:21] = True
    assert sets_of(allowed, stroke) == {frozenset({0})}
    assert (labels[stroke] == 1).any()
    assert sets_of(allowed, ~stroke & (labels == 1)) == {frozenset({1})}
    assert sets_of(allowed, ~stroke & (labels == 0)) == {frozenset(EVERYTHING - {1})}


def test_codes_of_an_unlabelled_case_exclude_nothing(tmp_path: Path):
    allowed, _, _ = codes_of(tmp_path, kind="unlabelled", files=("image",))
    assert allowed.all()


def allowed(case, folder: Path) -> dict[int, set[int]]:
    """Label value -> classes that its voxels may be, of the label l.nii.gz."""
    image, labels = read_ct(folder / "a.nii.gz", force=True), read_labelmap(folder / "l.nii.gz").array
    table = CandidateTable(17)
    codes = case.read_codes(image, WORD16, table)
    return {value: set(np.flatnonzero(table.table[codes[labels == value][0]]).tolist())
            for value in np.unique(labels).tolist()}


@pytest.fixture
def blocks_written(tmp_path: Path) -> Path:
    """Liver, spleen and left kidney, and a corner of value 254."""
    image, labels = blocks(0)
    # A value as other programs use it for "do not look here".
    labels[-1, -1, -4:] = 254
    write_image(tmp_path / "a.nii.gz", image)
    write_image(tmp_path / "l.nii.gz", labels)
    return tmp_path


LIVER, SPLEEN, KIDNEY = 1, 2, 3
IGNORING = {"kind": "partial", "annotated": ["liver", "spleen"], "ignored": ["left_kidney"],
            "label_map": {254: "unknown"}}


def test_an_ignored_value_is_none_of_the_annotated_organs_and_unknown_is_anything(blocks_written):
    case = manifest(blocks_written, dataset(**IGNORING)).cases[0]
    not_annotated = EVERYTHING - {LIVER, SPLEEN}
    assert allowed(case, blocks_written) == {0: not_annotated, LIVER: {LIVER}, SPLEEN: {SPLEEN}, KIDNEY: not_annotated,
                                             254: EVERYTHING}


def test_a_full_label_of_which_organs_are_ignored_vouches_for_the_others(blocks_written):
    case = manifest(blocks_written, dataset(ignored=["left_kidney"], label_map={254: "unknown"})).cases[0]
    assert case.kind is Kind.PARTIAL
    assert len(case.annotated) == 15
    assert allowed(case, blocks_written) == {0: {0, KIDNEY}, LIVER: {LIVER}, SPLEEN: {SPLEEN}, KIDNEY: {0, KIDNEY},
                                             254: EVERYTHING}


def test_a_value_of_several_organs_with_an_ignored_one_is_not_trusted(blocks_written):
    changes = {"annotated": ["liver", "colon"], "ignored": ["rectum", "spleen"],
               "label_map": {3: ["colon", "rectum"], 254: "unknown"}}
    case = manifest(blocks_written, dataset(**(IGNORING | changes))).cases[0]
    colon = WORD16.index("colon")
    assert allowed(case, blocks_written)[3] == EVERYTHING - {LIVER}
    assert allowed(case, blocks_written)[SPLEEN] == EVERYTHING - {LIVER, colon}


def test_a_side_that_is_ignored_is_not_trusted(blocks_written):
    changes = {"annotated": ["liver", "spleen", "right_kidney"],
               "split_left_right": {3: ["left_kidney", "right_kidney"]}}
    case = manifest(blocks_written, dataset(**(IGNORING | changes))).cases[0]
    right = WORD16.index("right_kidney")
    # One block stands for either side; whichever it lies on, an ignored side is no evidence for the other.
    assert allowed(case, blocks_written)[3] in ({right}, EVERYTHING - {LIVER, SPLEEN, right},
                                                EVERYTHING - {LIVER, SPLEEN})
    assert case.ignored_voxels(WORD16)["left_kidney"] == (blocks(0)[1] == KIDNEY).sum()


def test_ignored_strokes_of_a_label_say_nothing(blocks_written):
    changes = {"kind": "scribble", "annotated": []}
    case = manifest(blocks_written, dataset(**(IGNORING | changes))).cases[0]
    assert allowed(case, blocks_written) == {0: {0}, LIVER: {LIVER}, SPLEEN: {SPLEEN}, KIDNEY: EVERYTHING,
                                             254: EVERYTHING}


def test_settings_of_a_case_go_before_those_of_its_data_set(tmp_path: Path):
    entries = [{"image": "a", "label": "a"}, {"image": "b", "label": "b", "ignored": "liver"},
               {"image": "c", "label": "c", "annotated": ["left_kidney"]}, {"image": "d", "label": "d", "ignored": []}]
    cases = manifest(tmp_path, dataset(**IGNORING, cases=entries)).cases
    assert [(case.annotated, case.ignored) for case in cases] == [
        (("liver", "spleen"), ("left_kidney",)), (("spleen",), ("liver",)), (("left_kidney",), ()),
        (("liver", "spleen"), ())]


def test_ignored_values_are_reported_with_their_voxels_and_are_no_problem(blocks_written):
    wrong, warnings = problems(blocks_written, dataset(**IGNORING))
    assert wrong == []
    voxels = int((blocks(0)[1] == KIDNEY).sum())
    assert warnings == [f"a: ignored: left_kidney ({voxels} voxels)"]
    wrong, _ = problems(blocks_written, dataset(**(IGNORING | {"ignored": []})))
    assert len(wrong) == 1
    assert f"partial label holds {voxels} voxels of left_kidney" in wrong[0]


@pytest.mark.parametrize(("changes", "line"), [
    ({"annotated": ["liver", "left_kidney"]}, "left_kidney: expected an organ either annotated or ignored, found it"),
    ({"annotated": [], "ignored": [],
      "cases": [{"image": "a", "label": "l", "annotated": "liver", "ignored": "Liver"}]},
     "liver: expected an organ either annotated or ignored"),
    ({"ignored": ["left_kidnee"]}, "did you mean 'left_kidney'"),
    ({"ignored": ["background"]}, "ignored: expected organs, found 'background'"),
    ({"label_map": {254: ["unknown", "liver"]}}, "label_map: 254: expected 'unknown' alone or names of organs"),
    ({"kind": "unlabelled", "annotated": None, "cases": [{"image": "a"}]}, "ignored: expected a label whose values"),
    ({"ignore": ["liver"]}, "unknown setting (did you mean 'ignored'?)")])
def test_contradictions_are_refused_in_one_line(tmp_path: Path, changes, line):
    with pytest.raises(UserError) as raised:
        manifest(tmp_path, dataset(**(IGNORING | changes)))
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("order", [TURNED, MIRRORED])
def test_a_label_in_another_axis_order_is_brought_to_that_of_its_ct(tmp_path: Path, order: AxisOrder):
    image, labels = blocks(0)
    grid = Grid(image.shape[::-1], (2.0, 2.0, 3.0), (-10.0, 20.0, 300.5), TILTED)
    write_image(tmp_path / "a.nii.gz", image, grid)
    stored = stored_otherwise(Volume(labels, grid), order)
    write_image(tmp_path / "l.nii.gz", stored.array, stored.grid)
    case = manifest(tmp_path).cases[0]
    table = CandidateTable(17)
    codes = case.read_codes(case.read_image(), WORD16, table)
    np.testing.assert_array_equal(table.table[codes].argmax(-1), labels)
    assert problems(tmp_path, dataset())[0] == []
    write_image(tmp_path / "l.nii.gz", stored.array, elsewhere(stored.grid))
    assert "expected the geometry of a.nii.gz" in problems(tmp_path, dataset())[0][0]
