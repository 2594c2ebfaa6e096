"""Strokes are obeyed in the CT that they were drawn on, whatever the model says there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.learning.obeying import obeying_strokes
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.result import SegmentResult
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.finetune_data import write_start

# The user's numbers, which are not the model's, and an organ that the model lacks.
SPACE = label_space_of_names("mine", ["spleen", "colon", "liver", "left_kidney"])
NOTHING_KNOWN = 254  # in the scribble map: "none of these organs"


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return write_start(tmp_path_factory.mktemp("models") / "start", ["liver", "spleen"])


def result_of(folder: Path, start: Bundle, drawn: np.ndarray, ct: Volume, labels: np.ndarray
              ) -> tuple[SegmentResult, Case]:
    write_ct(folder / "ct.nii.gz", ct)
    write_labelmap(folder / "drawn.nii.gz", Volume(drawn, ct.grid))
    case = Case("a", "a", "d", folder / "ct.nii.gz", Kind.SCRIBBLE, folder / "drawn.nii.gz",
                annotated=("spleen", "liver"),
                label_map=((NOTHING_KNOWN, ("background", "colon", "left_kidney")),))
    result = SegmentResult(Volume(labels, ct.grid), ct, start, SegmentOptions(model=str(start.folder)), {}, {}, "")
    return result, case


def test_what_contradicts_a_stroke_is_corrected_and_said(tmp_path, start):
    ct, _ = make_phantom((40, 40, 40), (8.0, 8.0, 8.0))
    labels = np.zeros(ct.array.shape, np.uint8)
    labels[10:20, 10:20, 10:20] = start.label_space.index("liver")
    drawn = np.full(labels.shape, 255, np.uint8)
    drawn[15, 12:16, 12] = SPACE.index("liver")
    drawn[15, 12:16, 16] = SPACE.index("spleen")
    drawn[15, 12:16, 18] = SPACE.index("colon")  # the model calls it background
    drawn[15, 5:9, 12] = NOTHING_KNOWN  # outside of what it found: nothing to correct
    drawn[12, 12:16, 12] = NOTHING_KNOWN
    result, case = result_of(tmp_path, start, drawn, ct, labels)
    corrected, obedience = obeying_strokes(result, case, SPACE, Reporter())
    assert (obedience.voxels, obedience.model, obedience.corrected) == (20, 8 / 20, 1.0)
    assert set(corrected.array[drawn == SPACE.index("spleen")].tolist()) == {start.label_space.index("spleen")}
    assert not corrected.array[np.isin(drawn, [SPACE.index("colon"), NOTHING_KNOWN])].any()
    assert corrected.array[12, 12, 18] == start.label_space.index("liver")  # far from any stroke
    assert np.array_equal(result.array, labels)


def test_a_result_that_agrees_stays_as_it_is(tmp_path, start):
    ct, _ = make_phantom((40, 40, 40), (8.0, 8.0, 8.0))
    labels = np.zeros(ct.array.shape, np.uint8)
    labels[10:20, 10:20, 10:20] = start.label_space.index("liver")
    drawn = np.full(labels.shape, 255, np.uint8)
    drawn[15, 12:16, 12] = SPACE.index("liver")
    drawn[15, 5:9, 12] = NOTHING_KNOWN
    corrected, obedience = obeying_strokes(*result_of(tmp_path, start, drawn, ct, labels), SPACE, Reporter())
    assert (obedience.model, obedience.corrected) == (1.0, 1.0)
    assert np.array_equal(corrected.array, labels)
