"""Options are checked once, with one line for whatever cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UsageError, UserError
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.result_files import single_kind, target_files

WRONG = [
    ({"device": "gpu"}, "device: expected auto, cpu, cuda, cuda:N or mps, found 'gpu'"),
    ({"precision": "float8"}, "precision: expected auto, float32, bfloat16 or float16, found 'float8' "
                              "(did you mean 'float32'?)"),
    ({"scales": "0.75,x"}, "scales: expected numbers from 0.25 to 4, found 'x'"),
    ({"scales": [1.0, 8.0]}, "scales: expected numbers from 0.25 to 4, found '8.0'"),
    ({"scales": []}, "scales: expected numbers from 0.25 to 4, found none"),
    ({"scales": float("nan")}, "scales: expected numbers from 0.25 to 4, found 'nan'"),
    ({"organs": " , "}, "organs: expected organ names separated by commas, found none"),
    ({"organs": [3]}, "organs: expected organ names separated by commas, found [3]"),
    ({"dicom": "rtstuct"}, "dicom: expected seg, labelmap-seg, rtstruct, found 'rtstuct' (did you mean 'rtstruct'?)"),
    ({"mirror": "yes"}, "mirror: expected True or False, found 'yes'"),
    ({"model": ""}, "model: expected an installed model's name or a bundle's folder, found ''"),
]


@pytest.mark.parametrize(("wrong", "line"), WRONG)
def test_what_cannot_be_is_one_line(wrong: dict, line: str) -> None:
    with pytest.raises(UsageError) as error:
        SegmentOptions(**wrong)
    assert str(error.value) == line


@pytest.mark.parametrize(("wrong", "line"), [(wrong, line) for wrong, line in WRONG
                                             if isinstance(next(iter(wrong.values())), str) and "mirror" not in wrong
                                             and wrong != {"model": ""}])
def test_the_command_line_gives_the_same_line(wrong: dict, line: str, tmp_path: Path, capsys) -> None:
    # Every option of the command line is text; only those of the wrong options that are text can be typed. An empty
    # one is refused before it is looked at (`cli/test_commands.py`).
    [(name, value)] = wrong.items()
    assert main(["segment", "ct.nii.gz", "-o", str(tmp_path / "out"), f"--{name}", value]) == 2
    shown = capsys.readouterr().err.strip()
    assert line.removeprefix(f"{name}: ") in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_organs_come_in_label_order_and_unknown_ones_name_the_nearest() -> None:
    assert SegmentOptions(organs="Spleen, liver,spleen").organs_of(WORD16) == ["liver", "spleen"]
    assert SegmentOptions().organs_of(WORD16) is None
    with pytest.raises(UserError, match="did you mean 'spleen'"):
        SegmentOptions(organs=["splen"]).organs_of(WORD16)


def test_options_cannot_be_changed_and_may_be_keys() -> None:
    options = SegmentOptions(scales=[1, 0.75], dicom=["rtstruct", "seg"], series=2)
    assert (options.scales, options.dicom, options.series) == ((1.0, 0.75), ("seg", "rtstruct"), "2")
    with pytest.raises(AttributeError):
        options.mirror = True
    # Lists and text mean the same: a segmenter with equal options is used again.
    assert options in {SegmentOptions(scales="1,0.75", dicom="seg,rtstruct", series="2")}


def test_what_decides_a_result_is_what_records_of_0_3_0_hold() -> None:
    """Their settings, as the command wrote them then: what is finished stays finished."""
    assert SegmentOptions().deciding_settings(WORD16) == {
        "force": False, "mirror": False, "organs": None, "precision": "auto", "scales": [1.0], "series": None}
    assert SegmentOptions(organs="spleen,liver", scales="1,0.75", series="2", device="cpu",
                          dicom="seg", preview=False, overwrite=True).deciding_settings(WORD16) == {
        "force": False, "mirror": False, "organs": ["liver", "spleen"], "precision": "auto", "scales": [1.0, 0.75],
        "series": "2"}


@pytest.mark.parametrize(("name", "kind"), [
    ("seg.nii.gz", "labelmap"), ("SEG.NII", "labelmap"), ("seg.nrrd", "labelmap"), ("seg.mha", "labelmap"),
    ("a.seg.nrrd", "segmentation"), ("seg.dcm", "seg"), ("a.seg.dcm", "seg"), ("a.labelmap-seg.dcm", "labelmap-seg"),
    ("a.rtstruct.dcm", "rtstruct"), ("results", None), ("results.v2", None), ("2024.01.05", None), (".hidden", None),
    ("results.nii.gz/", None), (".", None), ("..", None),
])
def test_a_files_name_says_what_it_holds(name: str, kind: str | None) -> None:
    assert single_kind(name) == kind


@pytest.mark.parametrize("name", ["seg.tif", "seg.png", "seg.stl", "seg.mhd", "seg.tar.gz"])
def test_an_unknown_ending_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected a folder or a file ending in \.nii\.gz, .* found '\."):
        single_kind(name)


def test_a_folder_that_is_there_is_a_folder_whatever_its_name(tmp_path: Path) -> None:
    for name in ("seg.nii.gz", "seg.tif"):
        (tmp_path / name).mkdir()
        assert single_kind(tmp_path / name) is None


def test_a_ct_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found the CT"):
        target_files(tmp_path / "ct.nii.gz", "ct", True, ct=tmp_path / "." / "ct.nii.gz")
