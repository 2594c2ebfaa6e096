"""Where to draw next: the organ that the model is least sure of comes first, on the slice with the longest outline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.refining.ranking import rank_organs, slice_to_draw
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.threshold_network import LEVELS, threshold_bundle


@pytest.mark.parametrize("upside_down", [False, True])
def test_the_organ_between_two_levels_comes_first_with_its_widest_slice(tmp_path: Path, upside_down: bool) -> None:
    hu = np.full((44, 40, 48), -1000, np.int16)
    hu[:, 4:36, 4:44] = 0
    hu[10:30, 8:24, 8:22] = LEVELS["liver"]
    # As bright as a spleen, nearly as a kidney: the network takes it for a spleen and is not sure.
    hu[20:28, 10:22, 30:40] = 540
    hu[25, 9:24, 28:42] = 540
    direction, origin = (1, 0, 0, 0, 1, 0, 0, 0, 1), (10.0, -30.0, 500.0)
    if upside_down:
        hu = np.ascontiguousarray(hu[::-1])
        direction, origin = (1, 0, 0, 0, 1, 0, 0, 0, -1), (10.0, -30.0, 500.0 + 43 * 4.0)
    segmenter = Segmenter(SegmentOptions(device="cpu"), Predictor(threshold_bundle(tmp_path), device="cpu"))
    result = segmenter(Volume(hu, Grid((48, 40, 44), (4.0, 4.0, 4.0), origin, direction)))
    worths = rank_organs(result, "a")
    assert [worth.organ for worth in worths] == ["spleen", "liver"]
    spleen, liver = worths
    assert spleen.worth > liver.worth > 0
    assert spleen.slice == 25  # counted from below, however the file lies
    assert spleen.z_mm == pytest.approx(500.0 + 25 * 4.0)
    assert spleen.ct == "a"
    assert "small" in spleen.checks


def test_the_longest_outline_not_the_largest_area() -> None:
    organ = np.zeros((3, 12, 24), bool)
    organ[1, 2:8, 2:9] = True  # 42 voxels, outline of 22
    organ[2, 2:4, 1:20] = True  # 38 voxels, all of them outline
    assert slice_to_draw(organ) == 2
    assert slice_to_draw(np.zeros((3, 4, 4), bool)) == 0
