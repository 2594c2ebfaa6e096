"""Where to draw next: the organ that the model is least sure of, on the slice where most of it seems to be missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.refining.ranking import rank_organs
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.threshold_network import LEVELS, threshold_bundle


@pytest.mark.parametrize("upside_down", [False, True])
def test_the_least_sure_organ_comes_first_on_the_slice_where_most_is_missing(tmp_path: Path, upside_down: bool) -> None:
    hu = np.full((44, 40, 48), -1000, np.int16)
    hu[:, 4:36, 4:44] = 0
    hu[10:30, 8:24, 8:22] = LEVELS["liver"]
    # The network takes all of it for a spleen; three slices are nearly as bright as a kidney, so that it is not sure.
    hu[18:32, 10:22, 30:40] = LEVELS["spleen"]
    hu[24:27, 10:22, 30:40] = 540
    # In three other slices a part of it is called liver, and nearly was not.
    hu[28:31, 10:22, 22:30] = 290
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
    assert spleen.slice in (28, 29, 30)  # counted from below, however the file lies
    assert spleen.z_mm == pytest.approx(500.0 + spleen.slice * 4.0)
    assert spleen.ct == "a"
    assert "small" in spleen.checks
    # A model that does not say where it is unsure: the slice where the organ is largest.
    without = rank_organs(replace(result, entropy=dict(result.entropy)), "a")
    assert [worth.organ for worth in without] == ["spleen", "liver"]
    assert 18 <= without[0].slice < 32


@pytest.mark.parametrize("degrees", [1.0, 20.0])
def test_in_a_tilted_ct_the_slice_goes_through_the_organ(tmp_path: Path, degrees: float) -> None:
    """A slice of it lies at another height in front than behind; a slice of the patient cuts several of them."""
    hu = np.full((44, 60, 48), -1000, np.int16)
    hu[:, 4:56, 4:44] = 0
    hu[18:32, 40:54, 30:40] = LEVELS["spleen"]
    hu[24:27, 40:54, 30:40] = 540
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    grid = Grid((48, 60, 44), (4.0, 4.0, 4.0), (10.0, -30.0, 500.0), (1, 0, 0, 0, cosine, -sine, 0, sine, cosine))
    segmenter = Segmenter(SegmentOptions(device="cpu"), Predictor(threshold_bundle(tmp_path), device="cpu"))
    [spleen] = [worth for worth in rank_organs(segmenter(Volume(hu, grid))) if worth.organ == "spleen"]
    assert 18 <= spleen.slice < 32
    middle = grid.matrix @ [34.5, 46.5, spleen.slice, 1]
    assert spleen.z_mm == pytest.approx(middle[2], abs=4.0)
