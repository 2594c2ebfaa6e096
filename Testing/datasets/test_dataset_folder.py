"""nnU-Net raw and Decathlon folders: read as they are, and nothing claimed that their labels do not say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.datasets.structure_names import Structure, meanings, parse_structure
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.organs import BTCV13, SHI5, WORD16, label_space_of_names
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_image, write_yaml

ALL = ["background", *WORD16.names]


@pytest.mark.parametrize(("name", "meaning"), [
    ("Left Kidney", Structure("kidney", "left")), ("kidney_left", Structure("kidney", "left")),
    ("LeftKidney", Structure("kidney", "left")), ("Kidney (L)", Structure("kidney", "left")),
    ("kidneys", Structure("kidney")), ("left and right kidney", Structure("kidney")),
    ("Gall Bladder", Structure("gallbladder")), ("urinary_bladder", Structure("bladder")),
    ("small-bowel", Structure("intestine")), ("Oesophagus", Structure("esophagus")),
    ("adrenal_gland_right", Structure("adrenal", "right")), ("femur_head_left", Structure("head femur", "left")),
    ("Head_of_femur_R", Structure("head femur", "right")), ("portal_vein_and_splenic_vein",
                                                            Structure("portal splenic vein")),
    ("liver tumour", Structure("liver", lesion=True)), ("colon cancer primaries", Structure("colon", lesion=True)),
    ("cancer", Structure("", lesion=True)), ("kidney_cyst_left", Structure("kidney", "left", True)),
    ("spleen", Structure("spleen")),
])
def test_names_are_compared_by_their_words(name, meaning):
    assert parse_structure(name) == meaning


@pytest.mark.parametrize("space", [WORD16, BTCV13, SHI5], ids=lambda space: space.name)
def test_a_space_means_itself(space):
    meaning = meanings(dict(enumerate(("background", *space.names))), space)
    assert meaning.label_map == {organ.index: [organ.name] for organ in space.organs}
    assert meaning.annotated == list(space.names)
    assert (meaning.split_left_right, meaning.notes) == ({}, [])


def test_btcv_in_words_space_merges_the_adrenals_and_leaves_vessels_out():
    meaning = meanings(dict(enumerate(("background", *BTCV13.names))), WORD16)
    assert meaning.label_map[12] == meaning.label_map[13] == ["adrenal"]
    # Both sides are there, so the organ of both is annotated in full.
    assert "adrenal" in meaning.annotated
    assert {"colon", "rectum", "bladder"}.isdisjoint(meaning.annotated)
    not_annotated = [name for name in ALL if name not in meaning.annotated]
    assert meaning.label_map[8] == meaning.label_map[10] == not_annotated
    note, = meaning.notes
    assert "aorta, inferior_vena_cava, portal_and_splenic_vein" in note


def test_one_adrenal_does_not_vouch_for_both():
    meaning = meanings({1: "left adrenal gland", 2: "spleen"}, WORD16)
    assert meaning.label_map[1] == ["adrenal"]
    assert meaning.annotated == ["spleen"]


def test_unsided_organs_are_split_and_their_tumours_with_them():
    pair = ("left_kidney", "right_kidney")
    assert meanings({1: "kidney", 2: "tumor"}, WORD16).split_left_right == {1: pair, 2: pair}
    assert meanings({1: "Kidneys"}, WORD16).annotated == list(pair)
    sided = meanings({1: "left kidney", 2: "right kidney", 3: "tumor"}, WORD16)
    assert sided.label_map[3] == list(pair)
    assert sided.split_left_right == {}


def test_a_tumour_belongs_to_the_only_organ_and_otherwise_is_unknown():
    assert meanings({1: "liver", 2: "cancer"}, WORD16).label_map == {1: ["liver"], 2: ["liver"]}
    unknown = meanings({1: "liver", 2: "spleen", 3: "lesion"}, WORD16)
    assert unknown.label_map[3] == ALL
    assert "of which organ is not known" in unknown.notes[0]
    alone = meanings({1: "colon cancer primaries"}, WORD16)
    assert (alone.label_map, alone.annotated) == ({1: ["colon"]}, [])


def test_coarse_and_inner_structures_and_ignore():
    meaning = meanings({1: "large bowel", 2: "femur_left", 3: "hepatic vessels", 4: "ignore", 5: "vertebra"}, WORD16)
    assert meaning.label_map[1] == ["colon", "rectum"]
    assert meaning.label_map[2] == ["background", "head_of_left_femur"]
    assert meaning.label_map[3] == meaning.label_map[4] == ALL
    assert meaning.annotated == ["colon", "head_of_left_femur"]
    assert meaning.label_map[5] == [name for name in ALL if name not in meaning.annotated]
    assert meanings({1: "large bowel"}, BTCV13).annotated == []
    bowel = meanings({1: "bowel"}, WORD16)
    assert set(bowel.label_map[1]) == {"intestine", "duodenum", "colon", "rectum"}
    assert bowel.annotated == []


def test_a_colon_may_hold_a_rectum_that_nobody_names():
    # Public sets often draw the rectum as the end of the colon: only a set that names both divides them.
    doubtful = meanings({1: "colon", 2: "liver"}, WORD16)
    assert doubtful.label_map[1] == ["colon", "rectum"]
    assert doubtful.annotated == ["liver", "colon"]
    assert "'colon' (value 1)" in doubtful.notes[0]
    assert meanings({1: "colon", 2: "rectum"}, WORD16).label_map[1] == ["colon"]
    without_rectum = label_space_of_names("own", ["colon", "liver"])
    assert meanings({1: "colon"}, without_rectum).label_map[1] == ["colon"]


def images(folder: Path, names: list[str], label: str, image: str, values: int = 3) -> None:
    shape = (4, 8, 12)
    for number, name in enumerate(names):
        array = np.zeros(shape, np.uint8)
        array[1, 1:7, :values * 2] = np.repeat(np.arange(values), 2)
        write_image(folder / image.format(name), np.full(shape, number, np.int16))
        write_image(folder / label.format(name), array)


def nnunet(folder: Path, **changes: object) -> Path:
    """An nnU-Net raw data set of two cases with values 0-2."""
    images(folder, ["case_a", "case b"], "labelsTr/{}.nii.gz", "imagesTr/{}_0000.nii.gz")
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "Liver": 1, "spleen": 2}, "numTraining": 2,
               "file_ending": ".nii.gz"} | changes
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def decathlon(folder: Path, **changes: object) -> Path:
    """A Decathlon folder of two cases; macOS' own files lie between them as in the real ones."""
    images(folder, ["liver_0", "liver_1"], "labelsTr/{}.nii.gz", "imagesTr/{}.nii.gz")
    # Whoever counts files by their ending would take it for a third case.
    (folder / "imagesTr" / "._liver_0.nii.gz").write_bytes(b"x")
    files = [{"image": f"./imagesTr/liver_{n}.nii.gz", "label": f"./labelsTr/liver_{n}.nii.gz"} for n in (0, 1)]
    content = {"name": "Liver", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "cancer"},
               "numTraining": 2, "training": files, "test": ["./imagesTs/liver_9.nii.gz"]} | changes
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_nnunet_folder_is_a_manifest(tmp_path: Path):
    folder = nnunet(tmp_path / "Dataset001_Äbdomen")
    for path in (folder, folder / "dataset.json"):
        loaded = load_manifest(path)
        assert [case.name for case in loaded.cases] == ["case b", "case_a"]
        case = loaded.cases[1]
        assert (case.kind, case.annotated, case.dataset) == (Kind.PARTIAL, ("liver", "spleen"), "Dataset001_Äbdomen")
        assert (case.image.name, case.label.name) == ("case_a_0000.nii.gz", "case_a.nii.gz")
        assert check_manifest(loaded) == []


def test_decathlon_folder_is_a_manifest_with_the_tumour_merged(tmp_path: Path):
    listener = Listener()
    loaded = load_manifest(decathlon(tmp_path / "Task03_Liver"), listener)
    assert [case.name for case in loaded.cases] == ["liver_0", "liver_1"]
    assert loaded.cases[0].annotated == ("liver",)
    table = CandidateTable(17)
    codes = loaded.cases[0].read_codes(loaded.cases[0].read_image(), WORD16, table)
    allowed = table.table[codes]
    assert (allowed[1, 2, 2:6] == np.eye(17, dtype=bool)[1]).all()
    assert not allowed[0, 0, 0, 1]
    assert allowed[0, 0, 0].sum() == 16
    line, = listener.warnings
    assert line.endswith("'cancer' (value 2): merged into liver")


def test_all_organs_are_a_full_label(tmp_path: Path):
    labels = {"background": 0} | {organ.title: organ.index for organ in WORD16.organs}
    assert load_manifest(nnunet(tmp_path, labels=labels)).cases[0].kind is Kind.FULL


def test_a_value_the_dataset_does_not_name_is_no_organ_of_ours(tmp_path: Path):
    problems = check_manifest(load_manifest(nnunet(tmp_path, labels={"background": 0, "liver": 1})))
    assert problems[0].code == Code.UNKNOWN_LABEL
    assert problems[0].text() == (
        f"case b: {tmp_path / 'labelsTr' / 'case b.nii.gz'}: label value 2 (12 voxels): expected 0 or a label of the "
        "data set")


def test_nnunet_files_may_lie_elsewhere(tmp_path: Path):
    # nnU-Net 2 lets dataset.json name files anywhere.
    files = {"b": {"images": ["../x/b.nii.gz"], "label": "y/b.nii.gz"}, "a": {"images": ["/a.nii.gz"], "label": "a"}}
    cases = load_manifest(nnunet(tmp_path / "raw", dataset=files)).cases
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].image == Path("/a.nii.gz")
    assert cases[1].image.resolve() == (tmp_path / "x" / "b.nii.gz").resolve()


def test_a_folder_is_a_dataset_of_a_manifest(tmp_path: Path):
    nnunet(tmp_path / "raw")
    path = write_yaml(tmp_path / "m.yaml", {"datasets": [
        {"name": "mine", "folder": "raw", "weight": 2.0, "label_map": {2: ["colon", "rectum"]}, "annotated": ["liver"]},
        {"name": "u", "kind": "unlabelled", "cases": "raw/imagesTr/*_0000.nii.gz"}]})
    loaded = load_manifest(path)
    assert [case.dataset for case in loaded.cases] == ["mine", "mine", "u", "u"]
    case = loaded.cases[0]
    assert dict(case.label_map) == {1: ("liver",), 2: ("colon", "rectum")}
    assert (case.weight, case.annotated) == (2.0, ("liver",))


@pytest.mark.parametrize(("make", "change", "message"), [
    (nnunet, {"labels": {"background": 0, "kidney": [1, 2], "tumor": 2}}, "found the region list 'kidney': \\[1, 2\\]"),
    (nnunet, {"labels": {"background": 0, "a": 1, "b": 1}}, "different values, found 1 for 'a' and 'b'"),
    (nnunet, {"labels": {"background": 0}}, "labels besides the background"),
    (nnunet, {"labels": ["liver"]}, "description with 'labels'"),
    (nnunet, {"labels": {"background": 0, "a": "x"}}, "expected a name and a number"),
    (nnunet, {"channel_names": {"0": "T1"}}, "channel_names: expected one channel, 'CT', found 'T1'"),
    (nnunet, {"channel_names": {"0": "CT", "1": "PET"}}, "found 'CT', 'PET'"),
    (nnunet, {"file_ending": None}, "file_ending"), (nnunet, {"file_ending": ".mha"}, "training cases, found none"),
    (decathlon, {"modality": {"0": "MRI"}}, "modality: expected one channel, 'CT', found 'MRI'"),
    (nnunet, {"dataset": {"a": {"images": [], "label": "x"}}}, r"dataset\.a: expected an image and a label"),
    (decathlon, {"training": None}, "found neither"), (decathlon, {"training": ["a.nii.gz"]}, r"training\.0"),
    (decathlon, {"training": [{"image": "a.nii.gz", "label": 3}]}, r"training\.0: expected an image and a label"),
])
def test_unreadable_folders_are_refused_in_one_line(tmp_path: Path, make, change, message):
    with pytest.raises(UserError, match=message) as error:
        load_manifest(make(tmp_path, **change))
    assert str(error.value).startswith(f"{tmp_path / 'dataset.json'}: ")
    assert "\n" not in str(error.value)


def test_check_prints_what_a_folder_annotates(tmp_path: Path, capsys):
    assert main(["check", str(decathlon(tmp_path / "Task03_Liver"))]) == 0
    captured = capsys.readouterr()
    assert "Task03_Liver: 2 partial: liver" in captured.out
    assert "merged into liver" in captured.err


def test_nnunet_1_lists_images_without_their_channel(tmp_path: Path):
    decathlon(tmp_path)
    for image in (tmp_path / "imagesTr").glob("liver_?.nii.gz"):
        image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))
    manifest = load_manifest(tmp_path)
    assert [(case.name, case.image.name) for case in manifest.cases] == [
        ("liver_0", "liver_0_0000.nii.gz"), ("liver_1", "liver_1_0000.nii.gz")]
    assert check_manifest(manifest) == []


@pytest.mark.parametrize("modality", [{"0": "CT "}, ["CT"]])
def test_a_byte_order_mark_and_other_spellings_of_ct_are_read(tmp_path: Path, modality):
    description = decathlon(tmp_path, modality=modality) / "dataset.json"
    description.write_bytes(b"\xef\xbb\xbf" + description.read_bytes())
    assert [case.name for case in load_manifest(tmp_path).cases] == ["liver_0", "liver_1"]


def test_dots_in_names_stay(tmp_path: Path):
    images(tmp_path, ["1.3.6.1", "1.3.6.2"], "labelsTr/{}.nii.gz", "imagesTr/{}.nii.gz")
    files = [{"image": f"./imagesTr/1.3.6.{n}.nii.gz", "label": f"./labelsTr/1.3.6.{n}.nii.gz"} for n in (1, 2)]
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "training": files}
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert [case.name for case in load_manifest(tmp_path).cases] == ["1.3.6.1", "1.3.6.2"]
