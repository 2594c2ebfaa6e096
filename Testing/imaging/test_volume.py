"""Flips and axis swaps keep every voxel's value and place, for all 48 axis orders and oblique grids."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.imaging.volume import AxisOrder, Grid, Volume
from Testing.helpers.other_orders import elsewhere, stored_otherwise

ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def signed_axes(order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """Direction matrix whose voxel axis a runs along patient axis order[a], backwards for a sign of -1."""
    axes = np.zeros((3, 3))
    for voxel, (world, sign) in enumerate(zip(order, signs, strict=True)):
        axes[world, voxel] = sign
    return axes


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rotation by three angles in degrees."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians((x, y, z))):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result


def volume(direction: np.ndarray, size: tuple[int, int, int] = (4, 5, 6)) -> Volume:
    grid = Grid(size, (0.7, 1.3, 5.0), (-120.5, 33.25, 801.0), tuple(direction.ravel()))
    # Every voxel has a number of its own: none can be mistaken for another.
    return Volume(np.arange(np.prod(size), dtype=np.int32).reshape(grid.shape), grid)


def places(placed: Volume) -> np.ndarray:
    """(n, 3) LPS mm of each voxel, row v for the voxel of value v."""
    z, y, x = np.indices(placed.array.shape).reshape(3, -1)
    where = (placed.grid.matrix @ np.stack([x, y, z, np.ones_like(x)]))[:3].T
    return where[np.argsort(placed.array.ravel())]


def check_canonical_and_back(original: Volume) -> None:
    turned = original.canonical()
    np.testing.assert_allclose(places(turned), places(original), atol=1e-9)
    np.testing.assert_array_equal(original.grid.axis_order().from_canonical(turned.array), original.array)
    cosines = np.asarray(turned.grid.direction).reshape(3, 3)
    assert (np.diag(cosines) > 0).all()
    assert turned.grid.axis_order().permutation == (0, 1, 2)
    assert not any(turned.grid.axis_order().flips)


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_every_axis_order_keeps_voxels_in_place(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    original = volume(signed_axes(order, signs))
    check_canonical_and_back(original)
    np.testing.assert_array_equal(original.canonical().grid.direction, np.eye(3).ravel())
    assert original.grid.tilt_degrees() == pytest.approx(0, abs=1e-5)


@settings(max_examples=150)
@given(st.sampled_from(ORDERS), st.tuples(*[st.floats(-30, 30)] * 3), st.tuples(*[st.integers(1, 5)] * 3))
def test_oblique_grids_keep_voxels_in_place(axes: tuple, angles: tuple, size: tuple) -> None:
    check_canonical_and_back(volume(rotation(*angles) @ signed_axes(*axes), size))


@settings(max_examples=50)
@given(st.tuples(*[st.floats(-180, 180)] * 3))
def test_any_rotation_round_trips(angles: tuple) -> None:
    original = volume(rotation(*angles))
    turned = original.canonical()
    np.testing.assert_allclose(places(turned), places(original), atol=1e-9)
    np.testing.assert_array_equal(original.grid.axis_order().from_canonical(turned.array), original.array)


@settings(max_examples=100)
@given(st.sampled_from(ORDERS), st.tuples(*[st.floats(-180, 180)] * 3), st.booleans())
def test_voxels_are_put_into_another_order_of_the_same_grid(axes: tuple, angles: tuple, left_handed: bool) -> None:
    direction = rotation(*angles) @ np.diag((1.0, 1.0, -1.0 if left_handed else 1.0))
    wanted = volume(direction, (4, 5, 5))
    order = AxisOrder(axes[0], tuple(sign < 0 for sign in axes[1]))
    found = stored_otherwise(wanted, order).in_order_of(wanted.grid)
    np.testing.assert_array_equal(found.array, wanted.array)
    assert found.grid.same_as(wanted.grid, 1e-6)
    # One that is as near in another order is no better than one that is in this order.
    moved = Volume(wanted.array, elsewhere(wanted.grid))
    assert stored_otherwise(moved, order).grid.order_of(wanted.grid, 0.1) is None
    assert moved.in_order_of(wanted.grid) is moved


def test_canonical_arrays_run_to_superior_posterior_left() -> None:
    turned = volume(signed_axes((2, 0, 1), (-1, 1, -1))).canonical()
    where = places(turned)[np.argsort(np.argsort(turned.array.ravel()))].reshape(*turned.array.shape, 3)
    for axis, world in ((0, 2), (1, 1), (2, 0)):
        assert (np.diff(where[..., world], axis=axis) > 0).all()


def test_tilt_is_the_angle_to_the_nearest_axis() -> None:
    assert volume(rotation(12, 0, 0)).grid.tilt_degrees() == pytest.approx(12)
    assert volume(rotation(0, 0, 90)).grid.tilt_degrees() == pytest.approx(0, abs=1e-5)


def test_same_as_compares_places_not_numbers() -> None:
    grid = volume(np.eye(3)).grid
    # Headers round places to a hundredth of a millimetre.
    assert grid.same_as(Grid(grid.size, grid.spacing, (grid.origin[0] + 0.005, *grid.origin[1:])))
    assert not grid.same_as(Grid(grid.size, grid.spacing, (grid.origin[0] + 0.05, *grid.origin[1:])))
    assert not grid.same_as(Grid((4, 5, 7), grid.spacing, grid.origin))
    assert not grid.same_as(Grid(grid.size, (0.71, 1.3, 5.0), grid.origin))


def test_voxel_volume_and_array_shape() -> None:
    grid = Grid((4, 5, 6), (2.0, 2.5, 4.0))
    assert grid.voxel_ml == pytest.approx(0.02)
    assert grid.shape == (6, 5, 4)
    with pytest.raises(ValueError, match="does not fit"):
        Volume(np.zeros((4, 5, 6)), grid)


def test_a_difference_is_described_by_both_grids():
    grid = Grid((4, 5, 6), (1.0, 1.0, 3.0))
    assert grid.differing_from(Grid((4, 5, 6), (1.0, 1.0, 3.0), (0.0, 0.0, 7.5))) == (
        "origin (0, 0, 0), found origin (0, 0, 7.5)")
    assert grid.differing_from(Grid((4, 5, 7), (1.0, 1.0, 2.5))) == (
        "size (4, 5, 6), spacing (1, 1, 3), found size (4, 5, 7), spacing (1, 1, 2.5)")
