"""The label space of a manifest, by name, as a list or from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.label_space_file import LabelSpaceEntry
from PartialOrganSegLib.organs import LABEL_SPACES, WORD16, LabelSpace
from Testing.helpers.training_data import write_yaml


def space_of(folder: Path, setting: object) -> LabelSpace:
    """That of a manifest with the `setting`."""
    cases = [{"image": "a.nii.gz", "label": "l.nii.gz"}]
    content = {"datasets": [{"name": "set", "kind": "full", "cases": cases}], "label_space": setting}
    return load_manifest(write_yaml(folder / "manifest.yaml", content)).label_space


def test_label_spaces_by_name_list_and_file(tmp_path: Path):
    assert space_of(tmp_path, "btcv13").names[7] == "aorta"
    assert space_of(tmp_path, "shi5").mirrored == ((4, 5),)
    listed = space_of(tmp_path, ["Liver", "left kidney", "prostate"])
    assert listed.names == ("liver", "left_kidney", "prostate")
    assert listed.organ("left_kidney").code == WORD16.organ("left_kidney").code
    assert listed.organ("left_kidney").modifier == WORD16.organ("left_kidney").modifier
    assert listed.organ("prostate").index == 3
    write_yaml(tmp_path / "three.yaml", ["spleen", "prostate", "uterus"])
    assert space_of(tmp_path, "three.yaml").names == ("spleen", "prostate", "uterus")
    # As the label space of a bundle is written.
    entry = LabelSpaceEntry.of(WORD16).model_dump()
    write_yaml(tmp_path / "full.yaml", entry | {"organs": [o | {"colour": list(o["colour"])} for o in entry["organs"]]})
    assert space_of(tmp_path, "full.yaml") == WORD16


@pytest.mark.parametrize(("setting", "message"), [
    (["liver", "Liver"], "'liver' twice"), ([], "found none"), (["liver", "a/b"], "letters and digits"),
    ([f"organ{number}" for number in range(255)], "expected at most 254 organs, found 255"),
    (["background"], "other than 'background'"), ("none.yaml", "label space expected, none found"),
    ("bad.yaml", "bad.yaml: organs: Field required")])
def test_a_wrong_label_space_is_refused_in_one_line(tmp_path: Path, setting, message):
    write_yaml(tmp_path / "bad.yaml", {"name": "x"})
    with pytest.raises(UserError, match=message) as error:
        space_of(tmp_path, setting)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("space", LABEL_SPACES.values(), ids=str)
def test_registered_spaces_have_codes_and_colours_of_their_own(space):
    assert len({organ.colour for organ in space.organs}) == len(space.organs)
    assert len({(organ.code.value, organ.modifier) for organ in space.organs}) == len(space.organs)
    assert len(set(space.names)) == len(space.organs)
