"""The manifest: what it means, and one clear line for everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import blocks, write_case, write_image, write_yaml

EVERYTHING = set(range(17))


def dataset(**changes: object) -> dict:
    return {"name": "set", "kind": "full", "cases": [{"image": "a.nii.gz", "label": "l.nii.gz"}]} | changes


def manifest(folder: Path, *datasets: dict, **top: object):
    return load_manifest(write_yaml(folder / "manifest.yaml", {"datasets": list(datasets) or [dataset()]} | top))


def problems(folder: Path, *datasets: dict) -> tuple[list[str], list[str]]:
    """Problems and warnings."""
    listener = Listener()
    found = check_manifest(manifest(folder, *datasets), listener)
    return [problem.text() for problem in found], listener.warnings


def test_cases_and_their_defaults(tmp_path: Path):
    found = manifest(tmp_path, dataset(root="scans of ä", weight=2.5, cases=[
        {"image": "a.nii.gz", "label": "b.nii.gz"},
        {"image": "dicom", "kind": "unlabelled", "name": "other", "group": "patient 7"},
        {"image": "c.nrrd", "label": "c.seg.nrrd", "kind": "partial", "annotated": ["liver"]}]))
    first, second, third = found.cases
    assert found.label_space == WORD16
    assert (first.name, first.group, first.dataset, first.kind, first.weight) == ("a", "a", "set", Kind.FULL, 2.5)
    assert first.image == tmp_path.resolve() / "scans of ä" / "a.nii.gz"
    assert first.files() == [first.image, first.label]
    assert (second.name, second.group, second.kind, second.label) == ("other", "patient 7", Kind.UNLABELLED, None)
    assert (third.kind, third.annotated) == (Kind.PARTIAL, ("liver",))


def test_label_map_takes_a_name_or_a_list(tmp_path: Path):
    case = manifest(tmp_path, dataset(label_map={7: "liver", 20: ["colon", "rectum"]})).cases[0]
    assert dict(case.label_map) == {7: ("liver",), 20: ("colon", "rectum")}


def test_a_group_is_held_out_together(tmp_path: Path):
    cases = [{"image": f"{n}.nii.gz", "label": "l", "group": group} for n, group in enumerate("aabc")]
    found = manifest(tmp_path, dataset(cases=cases))
    assert [case.name for case in found.without(["a", "c"])] == ["2"]
    assert len(found.without([])) == 4


@pytest.mark.parametrize(("change", "told"), [
    ({"kind": "complete"}, r"datasets\.0\.kind"),
    ({"weight": -1}, r"datasets\.0\.weight"),
    ({"cases": [{"label": "l.nii.gz"}]}, r"datasets\.0\.cases\.0\.image"),
    ({"cases": [{"image": "a", "lable": "l.nii.gz"}]}, r"datasets\.0\.cases\.0\.lable: .*did you mean 'label'"),
    ({"anotated": ["liver"]}, r"datasets\.0\.anotated: .*did you mean 'annotated'"),
    ({"kind": "partial", "annotated": ["livre"]}, r"unknown organ 'livre' \(did you mean 'liver'\?\)"),
    ({"label_map": {20: ["colon", "rektum"]}}, r"unknown organ 'rektum' \(did you mean 'rectum'\?\)"),
    ({"label_map": {20: []}}, r"label_map\.20"),
    ({"label_map": {"colon": 20}}, "label_map"),
    ({"kind": "partial"}, "a partial case names its organs under 'annotated', found none"),
    ({"kind": "partial", "annotated": ["liver", "background"]}, "annotated: expected organs, found 'background'"),
    ({"cases": [{"image": "a.nii.gz"}]}, "a full case needs a label, found none"),
    ({"kind": "scribble", "cases": [{"image": "a.nii.gz"}]}, "a scribble case needs a label or strokes, found none"),
    ({"kind": "unlabelled"}, "an unlabelled case has no label"),
    ({"cases": [{"image": "x/ct.nii.gz", "label": "l"}, {"image": "x/ct.nrrd", "label": "l"}]},
     "two cases are called 'x_ct'"),
])
def test_wrong_entry_is_one_line(tmp_path: Path, change, told):
    with pytest.raises(UserError, match=told) as error:
        manifest(tmp_path, dataset(**change))
    assert str(error.value).startswith(f"{tmp_path / 'manifest.yaml'}: ")
    assert "\n" not in str(error.value)


def test_wrong_files_are_one_line(tmp_path: Path):
    path = tmp_path / "m.yaml"
    with pytest.raises(UserError, match=r"m\.yaml: manifest expected, none found"):
        load_manifest(path)
    with pytest.raises(UserError, match="expected a manifest file"):
        load_manifest(tmp_path)
    for content in (b"datasets: [", b"\xff\xfe\x00x", b"", b"- a\n- b\n", b"datasets: []\n", b"label_space: word16\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"m\.yaml: ") as error:
            load_manifest(path)
        assert "\n" not in str(error.value)


def test_unknown_label_space_names_the_nearest(tmp_path: Path):
    with pytest.raises(UserError, match=r"label_space: expected one of word16, .* found 'word' \(did you mean 'w"):
        manifest(tmp_path, label_space="word")


def test_sound_cases_have_no_problems(tmp_path: Path):
    cases = [write_case(tmp_path, name, seed) for seed, name in enumerate("ab")]
    listener = Listener()
    names = ["Liver", "spleen", "left kidney"]
    assert check_manifest(manifest(tmp_path, dataset(kind="partial", annotated=names, cases=cases)), listener) == []
    assert listener.warnings == []
    assert listener.steps == [(1, 2), (2, 2)]


def test_full_case_without_an_organ_is_only_warned_of(tmp_path: Path):
    found, warnings = problems(tmp_path, dataset(cases=[write_case(tmp_path, "a", 0)]))
    assert found == []
    assert len(warnings) == 1
    assert warnings[0].startswith("a: full label without right_kidney, stomach")
    assert "liver" not in warnings[0]


def test_every_problem_is_listed_with_its_case(tmp_path: Path):
    undeclared = write_case(tmp_path, "undeclared", 0)
    moved = write_case(tmp_path, "moved", 1)
    image, labels = blocks(1)
    write_image(tmp_path / moved["label"], labels, Grid(labels.shape[::-1], (2.0, 2.0, 3.0), (0.0, 0.0, 1.0)))
    unknown = write_case(tmp_path, "unknown", 2)
    write_image(tmp_path / unknown["label"], np.full(image.shape, 40, np.uint8))
    absent = {"image": "absent.nii.gz", "label": moved["label"]}
    text = {"image": "text.nii.gz", "label": moved["label"]}
    (tmp_path / "text.nii.gz").write_text("not an image")
    found, _ = problems(tmp_path, dataset(kind="partial", annotated=["liver", "spleen"],
                                          cases=[undeclared, moved, unknown, absent, text]))
    kidney = int((blocks(0)[1] == 3).sum())
    assert len(found) == 5
    assert found[0] == (f"undeclared: {tmp_path.resolve() / 'undeclared_label.nii.gz'}: partial label holds {kidney} "
                        "voxels of left_kidney (value 3), which is not among its annotated organs")
    assert "moved_label.nii.gz: expected the geometry of moved_image.nii.gz" in found[1]
    assert "unknown_label.nii.gz: label value 40 (6912 voxels): expected 0..16 or a value of label_map" in found[2]
    assert found[3] == f"absent: expected the file {tmp_path.resolve() / 'absent.nii.gz'}, found none"
    assert found[4].startswith("text: ")
    assert not any("\n" in line for line in found)


def test_other_size_and_bad_scribble_values_are_problems(tmp_path: Path):
    small, drawn = write_case(tmp_path, "small", 0), write_case(tmp_path, "drawn", 1)
    write_image(tmp_path / small["label"], np.zeros((12, 24, 23), np.uint8))
    write_image(tmp_path / drawn["label"], np.full((12, 24, 24), 30, np.uint8))
    found, _ = problems(tmp_path, dataset(cases=[small]), dataset(name="s", kind="scribble", cases=[drawn]))
    assert "expected the geometry" in found[0]
    assert "drawn_label.nii.gz: expected 0..16, 255 (not drawn) or a value of label_map, found 30 (6912 vox" in found[1]


def test_mapped_values_need_no_declaration(tmp_path: Path):
    case = write_case(tmp_path, "a", 0)
    found, _ = problems(tmp_path, dataset(kind="partial", annotated=["liver", "spleen", "colon", "rectum"],
                                          label_map={3: ["colon", "rectum"]}, cases=[case]))
    assert found == []


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
    return {frozenset(int(c) for c in np.flatnonzero(row)) for row in np.unique(allowed[where], axis=0)}


def test_codes_of_a_partial_case_with_a_coarse_value(tmp_path: Path):
    allowed, labels, image = codes_of(tmp_path, kind="partial", annotated=["liver", "colon", "rectum"],
                                      label_map={2: ["colon", "rectum"]})
    assert np.array_equal(image, blocks(0)[0])
    rest = EVERYTHING - {1, 10, 13}
    assert sets_of(allowed, labels == 0) == {frozenset(rest)}
    assert sets_of(allowed, labels == 1) == {frozenset({1})}
    assert sets_of(allowed, labels == 2) == {frozenset({10, 13})}
    assert sets_of(allowed, labels == 3) == {frozenset(rest)}


def test_strokes_win_over_the_label_below(tmp_path: Path):
    points = [(8.0, 8.0, 9.0), (40.0, 8.0, 9.0)]
    write_strokes(tmp_path / "s.json", Strokes(image="a", drawn_by="b", licence="c", strokes=[
        Stroke(organ="background", points=points, width_mm=2.0)]))
    allowed, labels, _ = codes_of(tmp_path, kind="partial", annotated=["liver"], entry={"strokes": "s.json"})
    stroke = np.zeros(labels.shape, bool)
    stroke[3, 4, 4:21] = True
    assert sets_of(allowed, stroke) == {frozenset({0})}
    assert (labels[stroke] == 1).any()
    assert sets_of(allowed, ~stroke & (labels == 1)) == {frozenset({1})}
    assert sets_of(allowed, ~stroke & (labels == 0)) == {frozenset(EVERYTHING - {1})}


def test_codes_of_an_unlabelled_case_exclude_nothing(tmp_path: Path):
    allowed, _, _ = codes_of(tmp_path, kind="unlabelled", files=("image",))
    assert allowed.all()


def test_files_of_one_name_are_told_apart_by_their_folder(tmp_path: Path):
    entries = [{"image": "anna/ct.nii.gz", "label": "l"}, {"image": "otto/ct.nii.gz", "label": "l"},
               {"image": "otto/late.nii.gz", "label": "l"}]
    cases = manifest(tmp_path, dataset(cases=entries)).cases
    assert [case.name for case in cases] == ["anna_ct", "otto_ct", "late"]
    assert [case.group for case in cases] == ["anna_ct", "otto_ct", "late"]


def test_a_case_overrides_what_its_dataset_says(tmp_path: Path):
    entries = [{"image": "a.nii.gz", "label": "l"}, {"image": "b.nii.gz", "label": "l", "label_map": {5: "spleen"},
                                                     "split_left_right": {}, "annotated": "spleen"}]
    first, second = manifest(tmp_path, dataset(
        kind="partial", annotated=["left_kidney", "right_kidney"], label_map={3: ["colon", "rectum"]},
        split_left_right={1: ["left_kidney", "right_kidney"]}, cases=entries)).cases
    assert first.split_left_right == ((1, ("left_kidney", "right_kidney")),)
    assert first.label_map == ((3, ("colon", "rectum")),)
    assert (second.split_left_right, second.label_map, second.annotated) == ((), ((5, ("spleen",)),), ("spleen",))


@pytest.mark.parametrize(("split", "told"), [
    ({1: ["left_kidney", "left_kidney"]}, "two organs, left then right"),
    ({1: ["right_kidney", "left_kidney"]}, "expected the left organ first"),
    ({1: ["left_kidney", "background"]}, "two organs"),
    ({1: ["left_kidny", "right_kidney"]}, "did you mean 'left_kidney'"),
    ({1: ["left_kidney"]}, r"split_left_right\.1"),
    ({0: ["left_kidney", "right_kidney"]}, "a value that is neither 0 nor in label_map"),
])
def test_wrong_split_is_told(tmp_path: Path, split, told):
    with pytest.raises(UserError, match=told):
        manifest(tmp_path, dataset(split_left_right=split))


@pytest.mark.parametrize("name", ["a/b", "a:b", ""])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name):
    with pytest.raises(UserError, match="can be part of a file name"):
        manifest(tmp_path, dataset(cases=[{"image": "a", "label": "l", "name": name}]))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for name in ("b", "a", ".hidden", "c [1]"):
        for end in ("", "_seg"):
            (tmp_path / "scans ö").mkdir(exist_ok=True)
            (tmp_path / "scans ö" / f"{name}{end}.nii.gz").touch()
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "ct.nii.gz").touch()
    (tmp_path / "folders" / "empty").mkdir()
    return tmp_path


def test_a_pattern_stands_for_every_file_it_finds(many: Path):
    cases = manifest(many, dataset(root="scans ö", cases={"image": "*.nii.gz", "label": "*_seg.nii.gz"})).cases
    assert [case.name for case in cases] == ["a", "b", "c [1]"]
    assert cases[2].label == many.resolve() / "scans ö" / "c [1]_seg.nii.gz"
    cases = manifest(many, dataset(kind="unlabelled", cases="folders/*/ct.nii.gz")).cases
    assert [case.name for case in cases] == ["a_ct", "b_ct", "c [1]_ct"]
    entry = {"image": "folders/*/ct.nii.gz", "label": "scans ö/*_seg.nii.gz", "name": "patient *", "group": "*"}
    cases = manifest(many, dataset(cases=[entry])).cases
    assert [(case.name, case.group) for case in cases] == [(f"patient {n}", n) for n in ("a", "b", "c [1]")]


@pytest.mark.parametrize(("image", "told"), [("none/*.nii.gz", "expected files like .*, found none"),
                                             ("*/*.nii.gz", r"expected one \* in a pattern")])
def test_a_pattern_that_finds_nothing_is_told(many: Path, image, told):
    with pytest.raises(UserError, match=told):
        manifest(many, dataset(cases=[{"image": image, "label": "*.nii.gz"}]))


@pytest.mark.parametrize(("change", "told"), [({"cases": None}, "either 'cases' or 'folder'"),
                                              ({"folder": "x"}, "either 'cases' or 'folder'"),
                                              ({"kind": None}, "expected a 'kind', one of full, partial")])
def test_a_dataset_that_is_neither_is_told(tmp_path: Path, change, told):
    with pytest.raises(UserError, match=told):
        manifest(tmp_path, dataset(**change))


def groups(folder: Path, names: str, share: float, seed: int = 0) -> list[str]:
    cases = [{"image": f"{n}{name}.nii.gz", "label": "l", "group": name} for n, name in enumerate(names)]
    return manifest(folder, dataset(cases=cases), splits={"validation": share, "seed": seed}).validation_groups()


def test_validation_takes_whole_groups_and_depends_on_the_seed_alone(tmp_path: Path):
    names = "abcdefghijklmnopqrst"
    taken = groups(tmp_path, names, 0.25)
    assert len(taken) == 5
    assert taken == groups(tmp_path, names[::-1] + "abc", 0.25)
    assert taken != groups(tmp_path, names, 0.25, seed=1)
    assert set(taken) < set(groups(tmp_path, names, 0.5))
    assert len(set(taken) & set(groups(tmp_path, names + "u", 0.25))) >= 4  # one more patient moves few others
    assert groups(tmp_path, names, 0.0) == []
    assert len(groups(tmp_path, "ab", 0.01)) == len(groups(tmp_path, "ab", 0.99)) == 1
    assert groups(tmp_path, "a", 0.5) == []


def test_only_labelled_groups_are_validated_on(tmp_path: Path):
    unlabelled = dataset(name="u", kind="unlabelled", cases=[{"image": f"u{n}"} for n in range(8)])
    labelled = dataset(cases=[{"image": f"l{n}", "label": "l"} for n in range(8)])
    found = manifest(tmp_path, unlabelled, labelled, splits={"validation": 0.5}).validation_groups()
    assert len(found) == 4
    assert all(group.startswith("l") for group in found)


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
    labels[-1, -1, -4:] = 254
    write_image(tmp_path / "a.nii.gz", image)
    write_image(tmp_path / "l.nii.gz", labels)
    return tmp_path


LIVER, SPLEEN, KIDNEY = 1, 2, 3
IGNORING = {"kind": "partial", "annotated": ["liver", "spleen"], "ignored": ["left_kidney"],
            "label_map": {254: "unknown"}}


def test_an_ignored_value_is_none_of_the_annotated_organs_and_unknown_is_anything(blocks_written):
    case = manifest(blocks_written, dataset(**IGNORING)).cases[0]
    rest = EVERYTHING - {LIVER, SPLEEN}
    assert allowed(case, blocks_written) == {0: rest, LIVER: {LIVER}, SPLEEN: {SPLEEN}, KIDNEY: rest, 254: EVERYTHING}


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
    assert allowed(case, blocks_written)[3] in ({right}, EVERYTHING - {LIVER, SPLEEN, right},
                                                EVERYTHING - {LIVER, SPLEEN})
    assert case.ignored_voxels(WORD16)["left_kidney"] == (blocks(0)[1] == KIDNEY).sum()


def test_ignored_strokes_of_a_label_say_nothing(blocks_written):
    changes = {"kind": "scribble", "annotated": []}
    case = manifest(blocks_written, dataset(**(IGNORING | changes))).cases[0]
    assert allowed(case, blocks_written) == {0: {0}, LIVER: {LIVER}, SPLEEN: {SPLEEN}, KIDNEY: EVERYTHING,
                                             254: EVERYTHING}


def test_a_case_goes_before_its_data_set(tmp_path: Path):
    cases = [{"image": "a", "label": "a"}, {"image": "b", "label": "b", "ignored": "liver"},
             {"image": "c", "label": "c", "annotated": ["left_kidney"]}, {"image": "d", "label": "d", "ignored": []}]
    found = manifest(tmp_path, dataset(**IGNORING, cases=cases)).cases
    assert [(case.annotated, case.ignored) for case in found] == [
        (("liver", "spleen"), ("left_kidney",)), (("spleen",), ("liver",)), (("left_kidney",), ()),
        (("liver", "spleen"), ())]


def test_what_is_ignored_is_said_with_its_voxels_and_is_no_problem(blocks_written):
    found, warnings = problems(blocks_written, dataset(**IGNORING))
    assert found == []
    voxels = int((blocks(0)[1] == KIDNEY).sum())
    assert warnings == [f"a: ignored: left_kidney ({voxels} voxels)"]
    found, _ = problems(blocks_written, dataset(**(IGNORING | {"ignored": []})))
    assert len(found) == 1
    assert f"partial label holds {voxels} voxels of left_kidney" in found[0]


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
def test_contradictions_are_one_line(tmp_path: Path, changes, line):
    with pytest.raises(UserError) as raised:
        manifest(tmp_path, dataset(**(IGNORING | changes)))
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
