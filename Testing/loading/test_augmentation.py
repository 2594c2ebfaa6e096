"""One augmented patch: what strength 0 leaves alone, what lies outside, and that image and codes move together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from PartialOrganSegLib.annotation import OUTSIDE
from PartialOrganSegLib.loading.augmentation import Augmentation, IntensityChances

# Odd sizes: the centre voxel is the middle of the patch.
CUT = Augmentation((5, 9, 11), (3.0, 2.0, 2.0), (-300.0, 500.0), 60.0, 150.0, strength=0.0)
FULL = replace(CUT, patch_zyx=(12, 20, 24), strength=1.0)
NOTHING = IntensityChances(0.0, 0.0, 0.0, 0.0, 0.0)
PADDING = (-300.0 - 60.0) / 150.0


def volume(shape=(20, 40, 44), seed=0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    image = generator.integers(-1024, 1500, shape).astype(np.int16)
    return image, generator.choice([2, 3, 7], shape).astype(np.uint8)


def patch_of(augmentation: Augmentation, image, codes, centre, seed=0) -> tuple[np.ndarray, np.ndarray]:
    pixels, marks, _ = augmentation(image, codes, centre, np.random.default_rng(seed))
    assert type(pixels) is torch.Tensor  # no subclass of MONAI's, which a network would drag along
    assert pixels.dtype == torch.float32
    assert marks.dtype == torch.uint8
    assert pixels.shape == (1, *augmentation.patch_zyx)
    assert marks.shape == augmentation.patch_zyx
    return pixels[0].numpy(), marks.numpy()


def normalised(hu: np.ndarray) -> np.ndarray:
    return (np.clip(hu.astype(np.float64), -300, 500) - 60) / 150


@pytest.mark.parametrize("centre", [(10, 20, 22), (4, 7, 30), (16, 33, 8)])
def test_strength_zero_cuts_the_voxels_as_they_are(centre):
    image, codes = volume()
    pixels, marks = patch_of(CUT, image, codes, centre)
    window = tuple(slice(c - n // 2, c + n // 2 + 1) for c, n in zip(centre, CUT.patch_zyx, strict=True))
    np.testing.assert_allclose(pixels, normalised(image[window]), atol=1e-4)
    assert np.array_equal(marks, codes[window])


def test_image_of_the_patch_s_size_comes_whole():
    # Odd and even sizes, and a centre that would cut off a part: the patch moves to hold the whole image.
    for shape in ((5, 9, 11), (4, 8, 16)):
        image, codes = volume(shape)
        pixels, marks = patch_of(replace(CUT, patch_zyx=shape), image, codes, (1, 6, 3))
        np.testing.assert_allclose(pixels, normalised(image), atol=1e-4)
        assert np.array_equal(marks, codes)


def test_outside_lies_air_of_its_own_code():
    image, codes = volume((3, 5, 7))
    pixels, marks = patch_of(CUT, image, codes, (1, 2, 3))
    inside = np.zeros(CUT.patch_zyx, bool)
    inside[1:4, 2:7, 2:9] = True
    np.testing.assert_allclose(pixels[inside], normalised(image).ravel(), atol=1e-4)
    np.testing.assert_allclose(pixels[~inside], PADDING, atol=1e-4)
    assert (marks[~inside] == OUTSIDE).all()
    assert np.array_equal(marks[inside], codes.ravel())


def test_strong_changes_stay_in_range():
    image, codes = volume()
    for seed in range(12):
        pixels, marks = patch_of(replace(FULL, strength=1.5), image, codes, (seed, 3 * seed, 40), seed)
        assert set(np.unique(marks)) <= {OUTSIDE, 2, 3, 7}
        assert np.isfinite(pixels).all()
        assert pixels.min() >= PADDING - 1e-4
        assert pixels.max() <= (500 - 60) / 150 + 1e-4


def test_the_generator_decides_everything():
    image, codes = volume()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - other random states must not matter
    first = patch_of(FULL, image, codes, (10, 20, 20), 5)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    again, another = (patch_of(FULL, image, codes, (10, 20, 20), seed) for seed in (5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], another[0])


def test_nothing_is_written_into_the_cached_arrays():
    image, codes = volume()
    image.setflags(write=False)
    codes.setflags(write=False)
    patch_of(FULL, image, codes, (10, 20, 20))


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A bright ball of 24 mm radius of code 2 in darkness of code 3."""
    z, y, x = np.meshgrid(np.arange(30) * 3.0, np.arange(50) * 2.0, np.arange(50) * 2.0, indexing="ij")
    inside = (z - 45) ** 2 + (y - 50) ** 2 + (x - 50) ** 2 <= 24 ** 2
    return np.where(inside, 400, -200).astype(np.int16), np.where(inside, 2, 3).astype(np.uint8)


def test_image_and_codes_move_together():
    image, codes = ball()
    augmentation = replace(FULL, patch_zyx=(28, 44, 44), hu_scale=0.0, hu_shift=0.0)
    shares = []
    for seed in range(8):
        pixels, marks = patch_of(augmentation, image, codes, (15, 25, 25), seed)
        in_image = marks != OUTSIDE
        # Gamma and contrast move the brightness; half way between darkest and brightest still divides the two.
        middle = (pixels[in_image].max() + pixels[in_image].min()) / 2
        bright = pixels > middle
        assert 2 * (bright & (marks == 2)).sum() / (bright.sum() + (marks == 2).sum()) > 0.9
        shares.append((marks == 2).sum())
    # Eight patches of the same size would mean that nothing was scaled or cut.
    assert len(set(shares)) > 4


def test_rotation_and_scale_keep_millimetres():
    """Turned by up to 90 degrees and without deformation, a ball stays a ball although voxels are not cubes."""
    image, codes = ball()
    augmentation = replace(FULL, patch_zyx=(30, 50, 50), rotation=(90.0, 90.0, 90.0), scale=0.0, deformation=0.0)
    for seed in range(4):
        _, marks = patch_of(augmentation, image, codes, (15, 25, 25), seed)
        # Axes of the ball in mm: equal, unless the turn was made in voxels of 3 x 2 x 2 mm.
        spread = np.sqrt(np.linalg.eigvalsh(np.cov((np.argwhere(marks == 2) * [3.0, 2.0, 2.0]).T)))
        assert spread.max() / spread.min() < 1.2


def test_hu_change_is_linear_and_bounded():
    image = np.full((40, 60, 60), 100, np.int16)
    codes = np.ones(image.shape, np.uint8)
    still = replace(FULL, patch_zyx=(5, 9, 11), rotation=(0.0, 0.0, 0.0), scale=0.0, deformation=0.0,
                    intensity=NOTHING)
    values = [patch_of(still, image, codes, (20, 30, 30), seed)[0] for seed in range(40)]
    hu = np.array([value.mean() * 150 + 60 for value in values])
    assert all(np.ptp(value) < 1e-3 for value in values)
    # At full strength at most 12% of the value and 25 HU.
    assert np.abs(hu - 100).max() <= 100 * 0.12 + 25 + 0.01
    assert hu.std() > 5

OFF = {"shift": 0.0, "rotation": (0.0, 0.0, 0.0), "scale": 0.0, "axis_scale": 0.0, "deformation": 0.0, "hu_scale": 0.0,
       "hu_shift": 0.0, "intensity": NOTHING}


def test_with_every_part_off_voxels_are_cut_as_they_are():
    """Up to 0.4 only `strength` could switch all off: rotation alone, as of Zhou 2019, was not to be had."""
    image, codes = volume()
    for seed in range(5):
        pixels, marks = patch_of(replace(CUT, strength=1.0, **OFF), image, codes, (10, 20, 22), seed)
        expected, cut = patch_of(CUT, image, codes, (10, 20, 22))
        np.testing.assert_array_equal(pixels, expected)
        assert np.array_equal(marks, cut)


@pytest.mark.parametrize(("part", "value", "moves"), [
    ("shift", 0.3, True), ("rotation", (15.0, 0.0, 0.0), True), ("scale", 0.5, True), ("axis_scale", 0.3, True),
    ("scale_factors", (0.5, 2.0), True), ("deformation", 8.0, True), ("hu_scale", 0.3, False),
    ("hu_shift", 40.0, False), *((number, 1.0, False) for number in range(5))])
def test_each_part_alone_can_be_on(part, value, moves):
    """Parts that move voxels change the marks, those of intensities leave them as they are."""
    generator = np.random.default_rng(3)
    image = generator.integers(-100, 300, (20, 40, 44)).astype(np.int16)
    codes = generator.choice([2, 3, 7], image.shape).astype(np.uint8)
    changes = {part: value}
    if isinstance(part, int):
        changes = {"intensity": NOTHING._replace(**{NOTHING._fields[part]: value})}
    alone = replace(CUT, strength=1.0, **(OFF | changes))
    expected, cut = patch_of(CUT, image, codes, (10, 20, 22))
    changed = []
    for seed in range(4):  # a part may have its chance
        pixels, marks = patch_of(alone, image, codes, (10, 20, 22), seed)
        if np.abs(pixels - expected).max() > 1e-3:
            changed.append(np.array_equal(marks, cut))
    assert changed
    assert all(changed) != moves


@pytest.mark.parametrize("factor", [0.75, 1.25, 2.0])
def test_a_scale_factor_enlarges_the_image(factor):
    """Zhou 2019, section 4.1: of a linear ramp the step from voxel to voxel is divided by the factor."""
    ramp = np.broadcast_to((np.arange(60) * 8 - 240)[None, None], (20, 60, 60)).astype(np.int16)
    enlarged = replace(CUT, strength=1.0, **(OFF | {"scale_factors": (factor,)}))
    pixels, _ = patch_of(enlarged, ramp, np.full(ramp.shape, 2, np.uint8), (10, 30, 30))
    np.testing.assert_allclose(np.diff(pixels, axis=2) * 150, 8 / factor, atol=1e-2)


@pytest.mark.parametrize("part", ["shift", "rotation", "scale", "axis_scale", "deformation"])
def test_in_the_plane_each_part_still_moves_voxels_but_in_no_other_slice(part):
    image, codes = volume()
    values = {"rotation": (15.0, 15.0, 15.0), "deformation": 8.0}
    alone = replace(CUT, strength=1.0, in_plane=True, **(OFF | {part: values.get(part, 0.3)}))
    _, cut = patch_of(CUT, image, codes, (10, 20, 22))
    # The code of each slice is its own: what was cut from others would show it.
    numbered = np.broadcast_to(np.arange(100, 120, dtype=np.uint8)[:, None, None], codes.shape)
    moved = []
    for seed in range(4):
        _, marks = patch_of(alone, image, codes, (10, 20, 22), seed)
        _, slices = patch_of(alone, image, numbered, (10, 20, 22), seed)
        moved.append(not np.array_equal(marks, cut))
        assert np.array_equal(slices, np.broadcast_to(np.arange(108, 113)[:, None, None], slices.shape))
    assert any(moved)
