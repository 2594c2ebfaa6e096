"""One record an organ, one file a label space: what reads them, what is refused, and what a new one touches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.datasets.manifest import load_label_space
from PartialOrganSegLib.datasets.structure_names import meanings
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.roi_names import tg263_name
from PartialOrganSegLib.formats.writing import write_segmentation
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.label_map import read_label_map
from PartialOrganSegLib.organ_records import (
    FILE,
    FOLDERS_VARIABLE,
    REGIONS,
    known_organs,
    organ_record,
    read_organs,
    shipped_organs,
)
from PartialOrganSegLib.organs import BTCV13, LABEL_SPACES, SHI5, WORD16, label_space_of_names
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.segmenting.organ_checks import check_organs
from PartialOrganSegLib.segmenting.postprocess import remove_stray_components

PROSTATE = {
    "name": "prostate", "title": "prostate gland", "code": {"value": "41216001", "meaning": "Prostate"},
    "colour": [230, 158, 140], "region": "pelvis", "shows_in": ["pelvis"],
    "names": {"tg263": "Prostate", "totalsegmentator": ["prostate"], "other": ["prostata"]},
    "usual_ml": {"mean": 30, "std": 8, "min": 10, "p5": 15, "p95": 60, "max": 90},
    "components": {"most": 1, "share": 0.5, "least_ml": 0.5}}


def organs_file(folder: Path, *records: dict) -> Path:
    """A file of the user's own with these records."""
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(json.dumps({"organs": records}), encoding="utf-8")
    return folder / FILE


def test_a_new_organ_is_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One file outside the package, and everything that speaks of organs knows it."""
    organs_file(tmp_path, PROSTATE)
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path))
    # One file is all that a new organ takes.
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    space = label_space_of_names("two", ["bladder", "prostate"])
    organ = space.organ("prostate")
    assert (organ.code.value, organ.colour, organ.title) == ("41216001", (230, 158, 140), "prostate gland")
    assert tg263_name(organ) == "Prostate"
    for name in ("Prostate", "prostata", "Prostates"):
        assert meanings({1: name}, space).label_map == {1: ["prostate"]}
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[5:9, 5:15, 5:15] = 2  # 400 voxels of 1 ml
    labels[12:14, 25:30, 25:30] = 2
    grid = Grid((40, 40, 20), (10.0, 10.0, 10.0))
    report = check_organs(Volume(labels, grid), space)[1]
    assert report.volume_ml == 450
    # Scores that are sure of the labels: what goes must go by the record's rule.
    scores = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 3).float()
    remove_stray_components(scores, labels, (10.0, 10.0, 10.0), space, None)
    assert (labels == 2).sum() == 400  # the record's share of 0.5 leaves out the smaller part
    write_segmentation(tmp_path / "a.seg.nrrd", Volume(labels, grid), space)
    assert b"prostate gland" in (tmp_path / "a.seg.nrrd").read_bytes()[:4000]


def test_a_new_label_space_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "label_spaces"
    folder.mkdir()
    (folder / "pelvis3.json").write_text('{"about": "ours", "organs": ["bladder", "rectum", "uterus"]}')
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path))
    assert list(LABEL_SPACES) == ["word16", "btcv13", "shi5", "pelvis3"]
    space = load_label_space("pelvis3", Path())
    assert (space.name, space.names) == ("pelvis3", ("bladder", "rectum", "uterus"))
    assert space.organ("bladder").code == WORD16.organ("bladder").code
    assert LABEL_SPACES.about("pelvis3") == "ours"
    assert load_label_space("pelvis3.json", folder) == space  # as a path in a manifest
    (folder / "wrong.json").write_text('{"organs": 3}')
    with pytest.raises(UserError, match=r"wrong\.json: expected a list of organ names, found a number"):
        load_label_space("wrong", Path())


def test_shipped_spaces_and_their_pairs():
    assert list(LABEL_SPACES) == ["word16", "btcv13", "shi5"]
    assert LABEL_SPACES["word16"] == WORD16
    assert LABEL_SPACES["btcv13"] == BTCV13
    assert LABEL_SPACES["shi5"] == SHI5
    assert WORD16.mirrored == ((3, 4), (15, 16))
    assert BTCV13.mirrored == ((3, 2), (13, 12))
    assert label_space_of_names("two", ["right_lung", "left_lung"]).mirrored == ((2, 1),)  # no record says so
    with pytest.raises(KeyError):
        LABEL_SPACES["word"]


def test_every_record_is_whole():
    records = shipped_organs().records
    assert list(records)[:16] == list(WORD16.names)
    for record in records.values():
        assert record.region in record.shows_in
        assert set(record.shows_in) <= set(REGIONS)
        assert record.names.tg263 is not None or record.name == "portal_and_splenic_vein"  # TG-263 has no such name
    assert {name for name in records if records[name].modifier is not None} == {
        "left_kidney", "right_kidney", "adrenal", "left_adrenal", "right_adrenal", "head_of_left_femur",
        "head_of_right_femur"}
    volumes = [organ_record(name).usual_ml for name in WORD16.names]
    assert all(usual.min <= usual.p5 < usual.mean < usual.p95 <= usual.max for usual in volumes)


def test_the_shipped_label_map_agrees_with_the_records():
    # Stated in two places for two readers; here they are held against each other.
    mapping = {theirs: ours for theirs, ours in read_label_map("total_to_word.yaml").labels.items() if ours}
    assert mapping == {theirs: name for name in WORD16.names for theirs in organ_record(name).names.totalsegmentator}


def test_the_volumes_are_stated_once():
    assert "volume_ml" not in resource("word_statistics.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("change", "line"), [
    ({"colour": [1, 2, 300]}, "organ prostate: colour: expected three numbers of 0-255, found [1, 2, 300]"),
    ({"regoin": "pelvis"}, "organ prostate: unknown field 'regoin' (did you mean 'region'?)"),
    ({"region": "pelvic"}, "organ prostate: region: expected one of head, chest, abdomen, pelvis (did you mean "
                           "'pelvis'?), found \"pelvic\""),
    ({"shows_in": ["leg"]}, "organ prostate: shows_in: expected a list of head, chest, abdomen, pelvis"),
    ({"code": {"value": 41216001, "meaning": "Prostate"}}, "organ prostate: code: value: expected a text, found 41216"),
    ({"code": "41216001"}, 'organ prostate: code: expected fields as "key": value, found text'),
    ({"names": {"tg263": "A_Name_Of_Seventeen"}}, "names: tg263: expected at most 16 characters, found 'A_Name_Of_S"),
    ({"usual_ml": {**PROSTATE["usual_ml"], "p5": 70}}, "usual_ml: expected min <= p5 <= mean <= p95 <= max, found 10"),
    ({"components": {"most": 0}}, "organ prostate: components: most: expected a whole number from 1 on, found 0"),
    ({"in_slicer_list": "no"}, 'organ prostate: in_slicer_list: expected true or false, found "no"'),
    ({"name": "Prostate Gland"}, "name: expected small letters, digits and underscores, found 'Prostate Gland'"),
])
def test_a_wrong_field_is_a_line(tmp_path: Path, change: dict, line: str):
    file = organs_file(tmp_path, PROSTATE | change)
    with pytest.raises(UserError) as error:
        read_organs(file)
    assert str(error.value).startswith(f"{file}: ")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_reported_at_once(tmp_path: Path):
    file = organs_file(tmp_path, {"name": "uterus", "colour": "red"}, PROSTATE, PROSTATE)
    with pytest.raises(UserError) as error:
        read_organs(file)
    assert str(error.value).removeprefix(f"{file}: ").split("; ") == [
        'organ uterus: colour: expected three numbers of 0-255, found "red"',
        "organ uterus: expected the field 'title', found none", "organ uterus: expected the field 'code', found none",
        "organ uterus: expected the field 'region', found none",
        "organ prostate: expected different names, found this one twice"]


@pytest.mark.parametrize(("record", "line"), [
    (PROSTATE | {"name": "liver"}, "organ liver: expected a name that organs.json of the library has not"),
    (PROSTATE | {"twin": "postate"}, "twin: expected a known organ, found 'postate' (did you mean 'prostate'?)"),
    (PROSTATE | {"twin": "left_kidney"}, "expected left_kidney's twin to be prostate, found right_kidney"),
    (PROSTATE | {"may_include": ["vesicles"]}, "may_include: expected a known organ, found 'vesicles'")])
def test_records_that_do_not_fit_the_library(tmp_path: Path, monkeypatch, record: dict, line: str):
    organs_file(tmp_path, record)
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path))
    with pytest.raises(UserError) as error:
        known_organs()
    assert line in str(error.value)
    assert WORD16.organ("liver").index == 1  # the library itself goes on
