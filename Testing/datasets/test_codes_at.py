"""Codes on the working grid: point samples of masks, and strokes that survive the coarser slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import UNKNOWN, CandidateTable
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.loading.cache import cache_cases, codes_at
from Testing.helpers.training_data import write_yaml

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


def middles(size: int, target: int) -> list[int]:
    """The own voxel at the middle of each of `target` new ones."""
    return [min(int((k + 0.5) * size / target), size - 1) for k in range(target)]


@given(SHAPES, SHAPES, st.integers(0, 99))
def test_where_everything_is_known_it_is_point_sampling(shape, target, seed):
    codes = np.random.default_rng(seed).integers(1, 5, shape, dtype=np.uint8)
    assert np.array_equal(codes_at(codes, target), codes[np.ix_(*map(middles, shape, target))])


@given(SHAPES, SHAPES, st.data())
def test_a_lone_known_voxel_is_never_lost(shape, target, data):
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    codes = np.full(shape, UNKNOWN, np.uint8)
    codes[place] = 7
    expected = np.full(target, UNKNOWN, np.uint8)
    lines = []
    for at, size, new in zip(place, shape, target, strict=True):
        # The new voxel that contains it keeps it, even where another voxel is nearer to the middle.
        holder = min(int((at + 0.5) * new / size), new - 1)
        lines.append(sorted({holder} | {k for k, middle in enumerate(middles(size, new)) if middle == at}))
    expected[np.ix_(*lines)] = 7
    assert np.array_equal(codes_at(codes, target), expected)


@given(SHAPES, SHAPES, st.integers(0, 99))
def test_a_code_at_the_middle_stays_and_none_is_invented(shape, target, seed):
    random = np.random.default_rng(seed)
    codes = np.where(random.random(shape) < 0.3, random.integers(1, 5, shape), UNKNOWN).astype(np.uint8)
    resampled, sampled = codes_at(codes, target), codes[np.ix_(*map(middles, shape, target))]
    assert np.array_equal(resampled[sampled != UNKNOWN], sampled[sampled != UNKNOWN])
    # No mean of two codes: 2 and 4 never become 3.
    assert set(np.unique(resampled)) <= set(np.unique(codes)) | {UNKNOWN}


@pytest.mark.parametrize("drawn_in", range(9))
def test_a_stroke_in_any_slice_of_a_thin_sliced_ct_is_learnt_from(drawn_in, tmp_path: Path):
    """1 mm slices, three to a working one."""
    grid = Grid((12, 12, 9), (2.0, 2.0, 1.0))
    write_ct(tmp_path / "image.nii.gz", Volume(np.full((9, 12, 12), 40, np.int16), grid))
    strokes = np.full((9, 12, 12), 255, np.uint8)
    strokes[drawn_in, 5, 3:8] = 2
    write_labelmap(tmp_path / "strokes.nii.gz", Volume(strokes, grid))
    manifest = load_manifest(write_yaml(tmp_path / "manifest.yaml", {
        "label_space": "word16", "datasets": [{"name": "drawn", "kind": "scribble", "cases": [
            {"image": "image.nii.gz", "label": "strokes.nii.gz"}]}]}), Reporter())
    (case,) = cache_cases(manifest.cases, manifest.label_space, CandidateTable(17), (3.0, 2.0, 2.0),
                          tmp_path / "cache", Reporter())
    assert sorted(map(tuple, case.positions[2])) == [(drawn_in // 3, 5, x) for x in range(3, 8)]
