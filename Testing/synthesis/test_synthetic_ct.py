"""CTs synthesised from label maps: exact grid, the same at the same seed, tissues in plausible ranges."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16, LabelSpace
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.synthesis.synthetic_ct import synthesise_ct
from PartialOrganSegLib.synthesis.tissues import PHASES, draw_palette
from Testing.helpers.real_data import real_data_path


@pytest.fixture(scope="module")
def labels() -> Volume:
    return make_phantom((88, 56, 72), (5.0, 5.0, 5.0), seed=3)[1]


@pytest.fixture(scope="module")
def coarse_labels() -> Volume:
    """Enough for tests that look at large regions of many scans."""
    return make_phantom((55, 35, 45), (8.0, 8.0, 8.0), seed=3)[1]


def organ_hu(ct: Volume, labels: Volume, name: str) -> np.ndarray:
    return ct.array[labels.array == WORD16.index(name)]


def test_the_same_generator_state_gives_the_same_ct(labels):
    first, again = (synthesise_ct(labels, np.random.default_rng(5)) for _ in range(2))
    another = synthesise_ct(labels, np.random.default_rng(6))
    assert first.array.dtype == np.int16
    assert first.grid == labels.grid
    assert np.array_equal(first.array, again.array)
    assert not np.array_equal(first.array, another.array)


@pytest.mark.parametrize("phase", PHASES)
def test_tissues_lie_in_plausible_ranges(labels, phase):
    for seed in range(3):
        ct = synthesise_ct(labels, np.random.default_rng(seed), phase=phase, padding=False)
        assert -40 < np.median(organ_hu(ct, labels, "liver")) < 170
        assert 10 < np.median(organ_hu(ct, labels, "spleen")) < 230
        for side in ("left", "right"):
            assert 90 < np.median(organ_hu(ct, labels, f"head_of_{side}_femur")) < 900
        background = ct.array[labels.array == 0]
        assert np.mean(background < -850) > 0.1, "air round the body"
        assert np.mean((background > -140) & (background < -60)) > 0.05, "fat"
        assert np.mean((background > 0) & (background < 100)) > 0.05, "muscle"
        assert np.mean(background > 250) > 0.005, "bone"
        assert ct.array.min() >= -3024
        assert ct.array.max() <= 3071


def test_contrast_brightens_kidneys_together():
    draws, cortex = {}, {}
    for phase in PHASES:
        draws[phase] = [draw_palette(np.random.default_rng(seed), phase) for seed in range(40)]
        cortex[phase] = np.median([palette.cortex for palette in draws[phase]])
    # Without contrast the renal cortex has some 30 to 40 HU, with it well above 120.
    assert cortex["plain"] < 50 < 120 < min(cortex["arterial"], cortex["portal"])
    assert all(palette.cortex > palette.medulla for palette in draws["arterial"])
    # Blood is blood where no contrast agent tells arteries from veins.
    assert all(abs(palette.aorta - palette.veins) < 1e-9 for palette in draws["plain"])


def test_gas_lies_in_front_of_fluid(coarse_labels):
    """In stomachs that hold both, the gas is nearer to the front (smaller y)."""
    labels = coarse_labels
    y = np.broadcast_to(np.arange(labels.array.shape[1])[None, :, None], labels.array.shape)
    stomach = labels.array == WORD16.index("stomach")
    stomachs_with_both = 0
    for seed in range(12):  # not every patient has both gas and fluid
        ct = synthesise_ct(labels, np.random.default_rng(seed)).array
        gas, fluid = stomach & (ct < -700), stomach & (ct > -50)
        if gas.sum() > 12 and fluid.sum() > 12:  # 6 ml
            stomachs_with_both += 1
            assert y[gas].mean() < y[fluid].mean()
    assert stomachs_with_both > 0


def test_padding_lies_outside_a_circle(coarse_labels):
    values = set()
    for seed in range(12):
        ct = synthesise_ct(coarse_labels, np.random.default_rng(seed), padding=True).array
        corners = ct[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        values |= set(np.unique(corners).tolist())
        assert (ct[:, 17, 22] > -1100).all()
    assert values <= {-1024, -2048, -3024}
    assert values & {-2048, -3024}


def test_absent_organs_and_partial_fields(labels):
    """No organ at all, the pelvis alone, the upper abdomen alone: still a body on the whole grid."""
    empty = Volume(np.zeros_like(labels.array), labels.grid)
    assert np.mean(synthesise_ct(empty, np.random.default_rng(0)).array > -200) > 0.2
    for low, high in ((0, 24), (48, 88), (32, 35)):
        array = labels.array[low:high]
        part = Volume(array, Grid(array.shape[::-1], labels.grid.spacing))
        ct = synthesise_ct(part, np.random.default_rng(1))
        assert ct.array.shape == array.shape
        assert np.mean(ct.array > -200) > 0.2
    pelvis = np.where(np.isin(labels.array, WORD16.indices(["bladder", "rectum"])), labels.array, 0)
    ct = synthesise_ct(Volume(pelvis, labels.grid), np.random.default_rng(2), phase="plain")
    assert -30 < np.median(ct.array[pelvis == WORD16.index("bladder")]) < 60


def test_another_label_space(labels):
    space = LabelSpace("two", (WORD16.organs[0], WORD16.organs[1]))
    array = np.where(labels.array <= 2, labels.array, 0)
    ct = synthesise_ct(Volume(array, labels.grid), np.random.default_rng(0), label_space=space)
    assert ct.array.shape == array.shape


@functools.cache
def upright() -> tuple[Volume, np.ndarray]:
    """Labels of which every axis order is tried, and the CT of them."""
    labels = make_phantom((44, 32, 38), (9.0, 9.0, 9.0), seed=1)[1]
    return labels, synthesise_ct(labels, np.random.default_rng(7)).array


@settings(max_examples=8)
@given(permutation=st.permutations(range(3)), signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_axis_orders_do_not_matter(permutation, signs):
    """A re-oriented label map gives the re-oriented CT, bit for bit."""
    labels, expected = upright()
    direction = np.zeros((3, 3))
    for voxel, world in enumerate(permutation):
        direction[world, voxel] = signs[voxel]
    order = Grid((1, 1, 1), (9.0,) * 3, direction=tuple(direction.ravel())).axis_order()
    array = np.ascontiguousarray(order.from_canonical(labels.array))
    turned = Volume(array, Grid(array.shape[::-1], (9.0,) * 3, direction=tuple(direction.ravel())))
    ct = synthesise_ct(turned, np.random.default_rng(7))
    assert np.array_equal(order.to_canonical(ct.array), expected)


def test_word_label_map_with_its_bones_round_it():
    """Around a real anatomy: bone beside the femoral heads, fat between organs, the labels' grid."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.DICOMOrient(sitk.ReadImage(str(real_data_path("labels_only", "word", "word_0052.nii.gz"))), "LPS")
    # About 3 mm is fine enough for bones and takes a second.
    step = [max(1, round(3 / s)) for s in image.GetSpacing()]
    image = image[::step[0], ::step[1], ::step[2]]
    array = sitk.GetArrayFromImage(image).astype(np.uint8)
    labels = Volume(array, Grid(tuple(image.GetSize()), tuple(image.GetSpacing())))
    ct = synthesise_ct(labels, np.random.default_rng(0), padding=False)
    heads = np.isin(array, WORD16.indices(["head_of_left_femur", "head_of_right_femur"]))
    levels = heads.any(axis=(1, 2))
    assert np.mean(ct.array[levels][array[levels] == 0] > 250) > 0.005
    assert np.mean(ct.array[array > 0] > -400) > 0.8
