"""Warping onto another anatomy: ellipsoids whose true shapes are known."""

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.imaging.volume import Grid, Volume
from Testing.helpers.repository import import_script

resample_labels = import_script("points", "embedded").resample_labels
register = import_script("warping", "embedded").register

ORGANS = (1, 2, 3)
LEVELS = ((8.0, 40),)
# Values are organs, then (centre, radii) in mm along z, y, x: the second anatomy differs in place, size and shape.
MOVING = {1: ((90, 100, 60), (40, 35, 35)), 2: ((100, 110, 150), (22, 20, 18)), 3: ((50, 110, 130), (25, 15, 15))}
FIXED = {1: ((95, 90, 65), (45, 30, 42)), 2: ((85, 120, 155), (18, 24, 20)), 3: ((55, 100, 145), (20, 18, 16))}


def ellipsoids(organs: dict, spacing: float = 4.0, offset: float = 0.0) -> Volume:
    """Labels (z, y, x) of ellipsoids given as (centre, radii) in z, y, x mm; `offset` moves the whole scanner frame."""
    grid = Grid((55, 50, 45), (spacing,) * 3, (offset,) * 3)
    points = spacing * np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    labels = np.zeros(grid.shape, np.uint8)
    for value, (centre, radii) in organs.items():
        labels[(((points - np.array(centre)) / np.array(radii)) ** 2).sum(-1) <= 1] = value
    return Volume(labels, grid)


def as_ct(labels: Volume) -> Volume:
    return Volume((labels.array.astype(np.int16) * 100 - 50), labels.grid)


def dice(a: Volume, b: Volume, value: int) -> float:
    a_in, b_in = a.array == value, b.array == value
    return 2 * float((a_in & b_in).sum()) / float(a_in.sum() + b_in.sum())


@pytest.fixture(scope="module")
def moving() -> Volume:
    return ellipsoids(MOVING)


@pytest.fixture(scope="module")
def warp(moving):
    return register(moving, ellipsoids(FIXED, offset=300.0), ORGANS, levels=LEVELS)


def test_organs_take_the_fixed_shapes(moving, warp):
    fixed = ellipsoids(FIXED, offset=300.0)
    image, labels = warp.apply(as_ct(moving), moving, (4, 4, 4))
    # Before the warp the two anatomies overlap to less than 0.75: the first assertion is not met by doing nothing.
    aim = warp.target(fixed, labels.grid)
    for organ in ORGANS:
        assert dice(labels, aim, organ) > 0.85
    assert np.mean([dice(moving, ellipsoids(FIXED), organ) for organ in ORGANS]) < 0.75
    assert image.grid.same_as(labels.grid)
    assert (np.abs(image.array[labels.array == 1] - 50) < 75).mean() > 0.9  # the image goes where its labels go


def test_the_field_can_be_inverted(warp):
    for strength in (0.5, 1.0):
        # A determinant of 0 or below folds space: two places of the CT would be drawn at one.
        assert float(warp.jacobian(strength).min()) > 0


def test_a_map_registered_to_itself_stays_where_it_is(moving):
    warp = register(moving, moving, ORGANS, levels=((8.0, 10),))
    assert np.allclose(warp.scale, 1.0, atol=1e-6)
    assert float(warp.displacement().abs().mean()) < 1.5
    assert float(warp.displacement().abs().max()) < 8.0  # a voxel of the field, in the empty part between organs
    _, labels = warp.apply(as_ct(moving), moving, (4, 4, 4))
    assert all(dice(labels, warp.target(moving, labels.grid), organ) > 0.97 for organ in ORGANS)


def test_strength_zero_only_resamples(moving, warp):
    image, labels = warp.apply(as_ct(moving), moving, (4.0, 4.0, 4.0), strength=0.0)
    assert image.grid.same_as(moving.grid)
    assert np.abs(image.array - as_ct(moving).array).max() <= 1
    assert np.array_equal(labels.array, moving.array)
    image, labels = warp.apply(as_ct(moving), moving, (3.0, 5.0, 4.0), strength=0.0)
    assert image.grid.spacing == (4.0, 5.0, 3.0)
    assert image.grid.origin == pytest.approx(moving.grid.origin)
    # A voxel at exactly half way may round either way.
    assert (labels.array == resample_labels(moving, labels.grid).array).mean() > 0.9999


def test_flipped_axes_make_no_difference(moving, warp):
    grid = moving.grid
    far = tuple((grid.size[a] - 1) * grid.spacing[a] if a < 2 else 0.0 for a in range(3))
    flipped = Grid(grid.size, grid.spacing, far, (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    ct = as_ct(moving)
    turned = warp.apply(Volume(ct.array[:, ::-1, ::-1], flipped), Volume(moving.array[:, ::-1, ::-1], flipped),
                        (4, 4, 4))
    for ours, theirs in zip(turned, warp.apply(ct, moving, (4, 4, 4)), strict=True):
        assert np.array_equal(ours.array, theirs.array)


def test_bad_input_is_named(moving, warp):
    with pytest.raises(UserError, match="strength"):
        warp.apply(as_ct(moving), moving, strength=1.5)
    with pytest.raises(UserError, match="organs to register"):
        register(moving, ellipsoids({4: FIXED[1]}), ORGANS)
    oblique = Grid(moving.grid.size, moving.grid.spacing, direction=(0.9, -0.436, 0, 0.436, 0.9, 0, 0, 0, 1.0))
    with pytest.raises(UserError, match="tilt"):
        register(Volume(moving.array, oblique), moving, ORGANS)
