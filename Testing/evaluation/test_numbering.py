"""Results of a model that numbers its organs otherwise than the references are scored by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import PartialOrganSegLib as pos
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16, label_space_of_names
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.result import SegmentResult
from Testing.helpers import small_bundle

GRID = Grid((12, 10, 8), (1.5, 1.5, 4.0))
LIVER, SPLEEN = WORD16.index("liver"), WORD16.index("spleen")


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    array = np.zeros(GRID.shape, np.uint8)
    array[2:6, 1:4, 2:7], array[2:6, 5:8, 2:5] = LIVER, SPLEEN
    (tmp_path / "references").mkdir()
    write_labelmap(tmp_path / "references" / "ä.nii.gz", Volume(array, GRID))
    return tmp_path / "references"


def result_of(folder: Path, names: list[str], reference: Path, **options: object) -> Path:
    """A model's result that is right, in the model's own numbers; the organ "lump" is where there is nothing."""
    space = label_space_of_names("own", names)
    bundle, _ = small_bundle.written(folder / "model", space)
    truth = read_labelmap(reference / "ä.nii.gz").array
    array = np.zeros(GRID.shape, np.uint8)
    for name in names:
        if name in WORD16.names:
            array[truth == WORD16.index(name)] = space.index(name)
    if "lump" in names:
        array[7] = space.index("lump")
    volume = Volume(array, GRID)
    result = SegmentResult(volume, Volume(array.astype(np.int16), GRID), bundle,
                           SegmentOptions(model=bundle.folder, preview=False, **options), {}, {}, "")
    return result.save(folder / "results", name="ä")["labelmap"]


def dice(prediction: Path, reference: Path) -> dict[str, float | None]:
    scores = pos.evaluate(prediction.parent, reference, annotated=["liver", "spleen"]).scores
    return {score.structure: score.dice for score in scores}


@pytest.mark.parametrize("names", [["spleen", "liver"], ["lump", "spleen", "liver"], ["spleen", "pancreas", "liver"],
                                   ["liver", "lump", "spleen"], [*WORD16.names, "lump"]])
def test_another_order_is_read_by_name(names: list[str], tmp_path: Path, reference: Path) -> None:
    assert dice(result_of(tmp_path, names, reference), reference) == {"liver": 1.0, "spleen": 1.0}


def test_some_organs_of_the_references_model_keep_their_numbers(tmp_path: Path, reference: Path) -> None:
    file = result_of(tmp_path, list(WORD16.names), reference, organs=["liver", "spleen"])
    assert dice(file, reference) == {"liver": 1.0, "spleen": 1.0}


def test_labels_that_were_edited_since_are_one_line(tmp_path: Path, reference: Path,
                                                    capsys: pytest.CaptureFixture) -> None:
    file = result_of(tmp_path, ["spleen", "liver"], reference)
    labels = read_labelmap(file)
    labels.array[0, 0, 0] = 2
    write_labelmap(file, labels)
    arguments = ["evaluate", str(file), str(reference), "--annotated", "liver", "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    found = f"{file}: expected labels of the organs of word16, found a table (ä.volumes.csv) that lists another order"
    assert found in capsys.readouterr().err
    file.with_name("ä.volumes.csv").unlink()  # somebody's own label map, in the numbers that the command was told
    assert main(arguments) == 0
