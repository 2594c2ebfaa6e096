"""Voxels read on another grid are those of linear interpolation, along the axes and turned."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from PartialOrganSegLib.imaging.linear import LinearReader, read_near


@settings(max_examples=25, deadline=None)
@given(st.permutations((0, 1, 2)), st.tuples(*(st.sampled_from((-1.3, -0.7, 0.4, 1.0, 1.7)),) * 3), st.integers(0, 99))
def test_reading_along_the_axes_is_linear_interpolation(order, steps, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(6, 7, 8, 2)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for target, axis in enumerate(order):
        matrix[axis, target] = steps[target]
    matrix[:3, 3] = generator.uniform(-1, 7, 3)
    _compare(values, matrix)


def test_what_is_far_from_a_mask_is_not_read():
    mask = np.zeros((20, 20, 20), bool)
    mask[4:6, 4:6, 4:6] = True
    near = read_near(mask, np.diag([0.5, 0.5, 0.5, 1.0]), (40, 40, 40))
    assert near.any()
    # Two voxels of the mask are four here, and each side may add the reach of the interpolation.
    assert near.sum() <= 12**3
    assert not read_near(np.zeros((20, 20, 20), bool), np.eye(4), (20, 20, 20)).any()


def test_reading_a_turned_grid_is_linear_interpolation():
    generator = np.random.default_rng(1)
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * 0.8, [2, 3, 3]
    _compare(generator.normal(size=(6, 7, 8, 2)).astype(np.float32), matrix)


def _compare(values: np.ndarray, matrix: np.ndarray) -> None:
    shape = (5, 4, 6)
    index = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    places = (matrix @ index)[:3]
    expected = np.stack([ndimage.map_coordinates(values[..., c], places, order=1, mode="nearest").reshape(shape)
                         for c in range(values.shape[3])], -1)
    row_of = np.arange(values[..., 0].size, dtype=np.int32).reshape(values.shape[:3])
    reader = LinearReader(torch.from_numpy(values).flatten(0, 2), row_of, matrix)
    # The reader goes slice by slice, as segmenting does, so that no whole class volume is held.
    y, x = (axis.ravel() for axis in np.indices(shape[1:]))
    read = torch.stack([reader.read(z, y, x) for z in range(shape[0])]).reshape(*shape, -1).numpy()
    np.testing.assert_allclose(read, expected, atol=2e-4)
    # A sparse mask: `read_near` must name every voxel beside one that reads from it.
    chosen = values[..., :1] > np.quantile(values[..., 0], 0.97)
    reader = LinearReader(torch.from_numpy(chosen.astype(np.float32)).flatten(0, 2), row_of, matrix)
    touched = torch.stack([reader.read(z, y, x) for z in range(shape[0])]).reshape(shape).numpy() > 1e-5
    beside = ndimage.binary_dilation(touched, np.ones((3, 3, 3)))
    assert not (beside & ~read_near(chosen[..., 0], matrix, shape)).any()
