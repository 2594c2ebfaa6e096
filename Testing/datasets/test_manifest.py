"""The manifest: what it means, and one clear line for everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets import manifest_file
from PartialOrganSegLib.datasets.case_names import case_names
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.listener import Listener
from Testing.helpers.manifests import dataset, manifest, problems
from Testing.helpers.training_data import blocks, write_case, write_image


def test_cases_and_their_defaults(tmp_path: Path):
    loaded = manifest(tmp_path, dataset(root="scans of ä", weight=2.5, cases=[
        {"image": "a.nii.gz", "label": "b.nii.gz"},
        {"image": "dicom", "kind": "unlabelled", "name": "other", "group": "patient 7"},
        {"image": "c.nrrd", "label": "c.seg.nrrd", "kind": "partial", "annotated": ["liver"]}]))
    first, second, third = loaded.cases
    assert loaded.label_space == WORD16
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
    loaded = manifest(tmp_path, dataset(cases=cases))
    assert [case.name for case in loaded.without(["a", "c"])] == ["2"]
    assert len(loaded.without([])) == 4


@pytest.mark.parametrize(("change", "message"), [
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
def test_a_wrong_entry_is_refused_in_one_line(tmp_path: Path, change, message):
    with pytest.raises(UserError, match=message) as error:
        manifest(tmp_path, dataset(**change))
    assert str(error.value).startswith(f"{tmp_path / 'manifest.yaml'}: ")
    assert "\n" not in str(error.value)


def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path):
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


@pytest.mark.parametrize(("content", "message"), [
    (b"", "m.yaml: expected a manifest: settings as 'key: value', found nothing"),
    (b"junk", "m.yaml: expected a manifest: settings as 'key: value', found text"),
    (b"datasets: [a.nii.gz]", "m.yaml: datasets.0: expected settings as 'key: value', found text"),
    (b"datasets: [{name: a, cases: [a.nii.gz]}]",
     "m.yaml: datasets.0.cases.0: expected settings as 'key: value', found text"),
    (b"\x1f\x8b\x08", "m.yaml: expected a manifest in YAML, in UTF-8, found bytes that are none (at 1)")])
def test_what_is_no_manifest_is_called_by_what_it_is(tmp_path: Path, content: bytes, message: str):
    """An image in its place, and not the words of the library that looks at it."""
    path = tmp_path / "m.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_manifest(path)
    assert str(error.value).endswith(message)


def test_the_manifest_in_a_folder_that_was_given_is_named(tmp_path: Path):
    (tmp_path / "manifest.yml").write_text("label_space: word16")
    with pytest.raises(UserError) as error:
        load_manifest(tmp_path)
    assert str(error.value).endswith(f"found a folder with manifest.yml; name the file: {tmp_path / 'manifest.yml'}")


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
    wrong, warnings = problems(tmp_path, dataset(cases=[write_case(tmp_path, "a", 0)]))
    assert wrong == []
    assert len(warnings) == 1
    assert warnings[0].startswith("a: full label without right_kidney, stomach")
    assert "liver" not in warnings[0]


def test_every_problem_is_listed_with_its_case(tmp_path: Path):
    undeclared = write_case(tmp_path, "undeclared", 0)
    moved = write_case(tmp_path, "moved", 1)
    # A millimetre along z: one third of a slice, which no eye sees and every border voxel feels.
    image, labels = blocks(1)
    write_image(tmp_path / moved["label"], labels, Grid(labels.shape[::-1], (2.0, 2.0, 3.0), (0.0, 0.0, 1.0)))
    unknown = write_case(tmp_path, "unknown", 2)
    write_image(tmp_path / unknown["label"], np.full(image.shape, 40, np.uint8))
    absent = {"image": "absent.nii.gz", "label": moved["label"]}
    text = {"image": "text.nii.gz", "label": moved["label"]}
    (tmp_path / "text.nii.gz").write_text("not an image")
    lines, _ = problems(tmp_path, dataset(kind="partial", annotated=["liver", "spleen"],
                                          cases=[undeclared, moved, unknown, absent, text]))
    kidney = int((blocks(0)[1] == 3).sum())
    assert len(lines) == 5
    assert lines[0] == (f"undeclared: {tmp_path.resolve() / 'undeclared_label.nii.gz'}: partial label holds {kidney} "
                        "voxels of left_kidney (value 3), which is not among its annotated organs; add it to "
                        "'annotated', or to 'ignored'")
    assert "moved_label.nii.gz: expected the geometry of moved_image.nii.gz" in lines[1]
    assert "unknown_label.nii.gz: label value 40 (6912 voxels): expected 0..16 or a value of label_map" in lines[2]
    assert lines[3] == f"absent: expected the file {tmp_path.resolve() / 'absent.nii.gz'}, found none"
    assert lines[4].startswith("text: ")
    assert not any("\n" in line for line in lines)


def test_other_size_and_bad_scribble_values_are_problems(tmp_path: Path):
    small, drawn = write_case(tmp_path, "small", 0), write_case(tmp_path, "drawn", 1)
    write_image(tmp_path / small["label"], np.zeros((12, 24, 23), np.uint8))
    write_image(tmp_path / drawn["label"], np.full((12, 24, 24), 30, np.uint8))
    lines, _ = problems(tmp_path, dataset(cases=[small]), dataset(name="s", kind="scribble", cases=[drawn]))
    assert "expected the geometry" in lines[0]
    assert "drawn_label.nii.gz: expected 0..16, 255 (not drawn) or a value of label_map, found 30 (6912 vox" in lines[1]


def test_mapped_values_need_no_declaration(tmp_path: Path):
    case = write_case(tmp_path, "a", 0)
    wrong, _ = problems(tmp_path, dataset(kind="partial", annotated=["liver", "spleen", "colon", "rectum"],
                                          label_map={3: ["colon", "rectum"]}, cases=[case]))
    assert wrong == []


def test_files_of_one_name_are_distinguished_by_their_folder(tmp_path: Path):
    entries = [{"image": "anna/ct.nii.gz", "label": "l"}, {"image": "otto/ct.nii.gz", "label": "l"},
               {"image": "otto/late.nii.gz", "label": "l"}]
    loaded = manifest(tmp_path, dataset(cases=entries))
    assert [case.name for case in loaded.cases] == ["anna", "otto", "late"]
    # Groups bear the names of 0.5.0, so that splits and folds stay as they were; recipes may say either.
    assert [case.group for case in loaded.cases] == ["anna_ct", "otto_ct", "late"]
    assert [loaded.group_called(name) for name in ("anna", "anna_ct", "late", "ann")] == [
        "anna_ct", "anna_ct", "late", None]
    assert loaded.group_names() == {"anna", "anna_ct", "otto", "otto_ct", "late"}


def test_a_case_is_named_as_learn_names_it(tmp_path: Path):
    """One name, wherever a CT is met: its file's, else that of the nearest folder that says something."""
    images = ["p1/ct/image.nii.gz", "p2/scan.nrrd", "p3/late.nii", "p4/late.nii", "imagesTr/liver_1_0000.nii.gz",
              "ct.nii"]
    cases = manifest(tmp_path, dataset(cases=[{"image": image, "label": "l"} for image in images])).cases
    assert [case.name for case in cases] == ["p1", "p2", "p3_late", "p4_late", "liver_1", "ct"]
    assert case_names([case.image for case in cases[:-1]]) == [case.name for case in cases[:-1]]
    assert case_names([Path("7/IMAGE.nii.gz"), Path("a:b.nii"), Path("image.nii.gz"), Path("..")]) == [
        "7", "a_b", "image", "case"]


def test_a_case_overrides_what_its_dataset_says(tmp_path: Path):
    entries = [{"image": "a.nii.gz", "label": "l"}, {"image": "b.nii.gz", "label": "l", "label_map": {5: "spleen"},
                                                     "split_left_right": {}, "annotated": "spleen"}]
    first, second = manifest(tmp_path, dataset(
        kind="partial", annotated=["left_kidney", "right_kidney"], label_map={3: ["colon", "rectum"]},
        split_left_right={1: ["left_kidney", "right_kidney"]}, cases=entries)).cases
    assert first.split_left_right == ((1, ("left_kidney", "right_kidney")),)
    assert first.label_map == ((3, ("colon", "rectum")),)
    assert (second.split_left_right, second.label_map, second.annotated) == ((), ((5, ("spleen",)),), ("spleen",))


@pytest.mark.parametrize(("split", "message"), [
    ({1: ["left_kidney", "left_kidney"]}, "two organs, left then right"),
    ({1: ["right_kidney", "left_kidney"]}, "expected the left organ first"),
    ({1: ["left_kidney", "background"]}, "two organs"),
    ({1: ["left_kidny", "right_kidney"]}, "did you mean 'left_kidney'"),
    ({1: ["left_kidney"]}, r"split_left_right\.1"),
    ({0: ["left_kidney", "right_kidney"]}, "a value that is neither 0 nor in label_map"),
])
def test_a_wrong_split_is_refused(tmp_path: Path, split, message):
    with pytest.raises(UserError, match=message):
        manifest(tmp_path, dataset(split_left_right=split))


@pytest.mark.parametrize("name", ["a/b", "a:b", ""])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name):
    with pytest.raises(UserError, match="can be part of a file name"):
        manifest(tmp_path, dataset(cases=[{"image": "a", "label": "l", "name": name}]))


@pytest.fixture
def many_files(tmp_path: Path) -> Path:
    for name in ("b", "a", ".hidden", "c [1]"):
        for end in ("", "_seg"):
            # Brackets are a pattern of their own to `glob`; hidden files are no cases.
            (tmp_path / "scans ö").mkdir(exist_ok=True)
            (tmp_path / "scans ö" / f"{name}{end}.nii.gz").touch()
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "ct.nii.gz").touch()
    (tmp_path / "folders" / "empty").mkdir()
    return tmp_path


def test_a_pattern_stands_for_every_file_it_finds(many_files: Path):
    cases = manifest(many_files, dataset(root="scans ö", cases={"image": "*.nii.gz", "label": "*_seg.nii.gz"})).cases
    assert [case.name for case in cases] == ["a", "b", "c [1]"]
    assert cases[2].label == many_files.resolve() / "scans ö" / "c [1]_seg.nii.gz"
    cases = manifest(many_files, dataset(kind="unlabelled", cases="folders/*/ct.nii.gz")).cases
    assert [case.name for case in cases] == ["a", "b", "c [1]"]
    entry = {"image": "folders/*/ct.nii.gz", "label": "scans ö/*_seg.nii.gz", "name": "patient *", "group": "*"}
    cases = manifest(many_files, dataset(cases=[entry])).cases
    assert [(case.name, case.group) for case in cases] == [(f"patient {n}", n) for n in ("a", "b", "c [1]")]


def test_a_pattern_with_backslashes_finds_the_same_on_windows(many_files: Path, monkeypatch):
    monkeypatch.setattr(manifest_file, "os", SimpleNamespace(sep="\\"))
    entry = {"image": r"scans ö\*.nii.gz", "label": r"scans ö\*_seg.nii.gz", "name": "patient *"}
    cases = manifest(many_files, dataset(cases=[entry])).cases
    assert [case.name for case in cases] == ["patient a", "patient b", "patient c [1]"]
    assert cases[0].label == many_files.resolve() / "scans ö" / "a_seg.nii.gz"


def test_a_path_of_windows_in_double_quotes_is_explained(tmp_path: Path):
    r"""In YAML "C:\new" holds the end of a line, and a message that shows it as such looks right."""
    cases = manifest(tmp_path, dataset(kind="unlabelled", cases=[{"image": "C:\new.nii.gz", "name": "a"}])).cases
    with pytest.raises(UserError, match="use single quotes or slashes"):
        cases[0].require_files()


@pytest.mark.parametrize(("image", "message"), [("none/*.nii.gz", "expected files like .*, found none"),
                                             ("*/*.nii.gz", r"expected one \* in a pattern")])
def test_a_pattern_without_a_file_is_refused(many_files: Path, image, message):
    with pytest.raises(UserError, match=message):
        manifest(many_files, dataset(cases=[{"image": image, "label": "*.nii.gz"}]))


@pytest.mark.parametrize(("change", "message"), [({"cases": None}, "either 'cases' or 'folder'"),
                                              ({"folder": "x"}, "either 'cases' or 'folder'"),
                                              ({"kind": None}, "expected a 'kind', one of full, partial")])
def test_a_dataset_without_cases_or_kind_is_refused(tmp_path: Path, change, message):
    with pytest.raises(UserError, match=message):
        manifest(tmp_path, dataset(**change))


def groups(folder: Path, names: str, share: float, seed: int = 0) -> list[str]:
    cases = [{"image": f"{n}{name}.nii.gz", "label": "l", "group": name} for n, name in enumerate(names)]
    return manifest(folder, dataset(cases=cases), splits={"validation": share, "seed": seed}).validation_groups()


def test_validation_takes_whole_groups_and_depends_on_the_seed_alone(tmp_path: Path):
    names = "abcdefghijklmnopqrst"
    chosen = groups(tmp_path, names, 0.25)
    assert len(chosen) == 5
    # Order and number of a patient's cases do not matter.
    assert chosen == groups(tmp_path, names[::-1] + "abc", 0.25)
    assert chosen != groups(tmp_path, names, 0.25, seed=1)
    # A larger share takes the same patients and more.
    assert set(chosen) < set(groups(tmp_path, names, 0.5))
    assert len(set(chosen) & set(groups(tmp_path, names + "u", 0.25))) >= 4  # one more patient moves few others
    assert groups(tmp_path, names, 0.0) == []
    # However small or large the share, both sides have a patient.
    assert len(groups(tmp_path, "ab", 0.01)) == len(groups(tmp_path, "ab", 0.99)) == 1
    assert groups(tmp_path, "a", 0.5) == []


def test_only_labelled_groups_are_validated_on(tmp_path: Path):
    unlabelled = dataset(name="u", kind="unlabelled", cases=[{"image": f"u{n}"} for n in range(8)])
    labelled = dataset(cases=[{"image": f"l{n}", "label": "l"} for n in range(8)])
    chosen = manifest(tmp_path, unlabelled, labelled, splits={"validation": 0.5}).validation_groups()
    assert len(chosen) == 4
    assert all(group.startswith("l") for group in chosen)
