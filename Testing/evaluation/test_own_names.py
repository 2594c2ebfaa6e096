"""Label maps of another model's organs, scored by the names that were written beside them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.own_names import read_named_labels
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.label_table import write_nifti
from PartialOrganSegLib.formats.writing import write_labelmap, write_table
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.learning.value_names import own_table
from PartialOrganSegLib.organs import WORD16, label_space_of_names
from Testing.helpers.listener import Listener

OTHER = label_space_of_names("other", ["spleen", "liver", "aorta"])
GRID = Grid((8, 8, 6), (2.0, 2.0, 3.0))


def labels_of(space) -> Volume:
    """A liver of 32 voxels and a spleen of 16, and where the label space has one an aorta of 8."""
    array = np.zeros(GRID.shape, np.uint8)
    array[1, :4] = space.index("liver")
    array[3, :2] = space.index("spleen")
    if "aorta" in space.names:
        array[5, 0] = space.index("aorta")
    return Volume(array, GRID)


def write_result(path: Path, labels: Volume, space) -> None:
    """As `segment` does."""
    write_labelmap(path, labels)
    counts = np.bincount(labels.array.ravel(), minlength=space.class_count)
    write_table(path.with_name(path.name.replace(".labels.nii.gz", ".volumes.csv")), [
        {"organ": organ.name, "volume_ml": round(float(counts[organ.index]) * GRID.voxel_ml, 3)}
        for organ in space.organs])


def dice_of(folder: Path) -> dict[str, float]:
    with open(folder / "scores.csv", encoding="utf-8", newline="") as stream:
        return {row["structure"]: float(row["dice"]) for row in csv.DictReader(stream) if row["dice"]}


@pytest.mark.parametrize("how", ["segment", "export"])
def test_a_label_map_of_another_label_space_is_read_by_its_names(how, tmp_path):
    path = tmp_path / "Müller J.labels.nii.gz"
    if how == "segment":
        write_result(path, labels_of(OTHER), OTHER)
    else:
        write_nifti({"nifti": path, "names": tmp_path / "Müller J.labels.csv"}, labels_of(OTHER), OTHER.organs)
        assert own_table(path) == {1: "spleen", 2: "liver", 3: "aorta"}
    listener = Listener()
    np.testing.assert_array_equal(read_named_labels(path, WORD16, listener).array, labels_of(WORD16).array)
    assert listener.warnings == [f"{path}: no organ of word16: aorta; taken as background"]


def test_labels_that_were_changed_since_are_taken_by_number_where_that_may_be(tmp_path):
    path = tmp_path / "a.labels.nii.gz"
    some = label_space_of_names("some", ["liver", "spleen", "pancreas"])  # in this order in word16 too
    write_result(path, labels_of(some), some)
    changed = labels_of(some)
    changed.array[4] = 1
    write_labelmap(path, changed)
    listener = Listener()
    np.testing.assert_array_equal(read_named_labels(path, WORD16, listener).array, changed.array)
    assert len(listener.warnings) == 1
    assert "its numbers are taken as those of word16" in listener.warnings[0]


def test_changed_labels_of_other_organs_are_refused(tmp_path):
    path = tmp_path / "a.labels.nii.gz"
    write_result(path, labels_of(OTHER), OTHER)
    changed = labels_of(OTHER)
    changed.array[4] = 1
    write_labelmap(path, changed)
    with pytest.raises(UserError, match=r"labels of the organs of word16, found a table \(a.volumes.csv\) that lists "
                                        "aorta, and volumes that are not those of the labels"):
        read_named_labels(path, WORD16)


def test_a_value_that_the_table_does_not_name_is_refused(tmp_path):
    path = tmp_path / "a.labels.nii.gz"
    write_nifti({"nifti": path, "names": tmp_path / "a.labels.csv"}, labels_of(OTHER), OTHER.organs[:2])
    changed = labels_of(OTHER)
    write_labelmap(path, changed)
    with pytest.raises(UserError, match="a name for every value in its table, found none for 3"):
        read_named_labels(path, WORD16)


def test_evaluate_pairs_organs_by_name_and_tells_what_numbers_it_took(tmp_path, capsys):
    predicted, reference = tmp_path / "results" / "a.labels.nii.gz", tmp_path / "a_label.nii.gz"
    predicted.parent.mkdir()
    write_result(predicted, labels_of(OTHER), OTHER)
    write_labelmap(reference, labels_of(WORD16))
    arguments = ["evaluate", str(predicted.parent), str(reference), "-o", str(tmp_path / "out"), "--overwrite"]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert dice_of(tmp_path / "out") == {"liver": 1.0, "spleen": 1.0}
    told, = (line for line in err.splitlines() if "nothing says what the numbers mean" in line)
    assert f"{reference}: nothing" in told  # the prediction has its table
    assert "taken as those of word16 (1 liver, 2 spleen, " in told
    assert main([*arguments, "--label-space", "word16"]) == 0
    assert "nothing says" not in capsys.readouterr().err
    # References have tables of their own as well.
    (tmp_path / "b").mkdir()
    write_result(tmp_path / "b" / "a.labels.nii.gz", labels_of(OTHER), OTHER)
    arguments[2] = str(tmp_path / "b" / "a.labels.nii.gz")
    assert main(arguments) == 0
    assert "nothing says" not in capsys.readouterr().err
    assert dice_of(tmp_path / "out") == {"liver": 1.0, "spleen": 1.0}
