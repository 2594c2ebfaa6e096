"""The phantom: all organs, WORD's volumes, the same patient at every grid, left on the left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organ_records import organ_record
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom


@pytest.mark.parametrize("seed", range(4))
def test_whole_body_holds_every_organ_at_words_volume(seed):
    ct, labels = make_phantom((170, 90, 120), (3.0, 3.5, 3.5), seed)
    assert ct.grid == labels.grid
    assert ct.array.dtype == np.int16
    assert labels.array.dtype == np.uint8
    for organ in WORD16.organs:
        volume = float((labels.array == organ.index).sum()) * labels.grid.voxel_ml
        usual = organ_record(organ.name).usual_ml
        # Coarse voxels and smooth shapes: a fifth beyond the range of 90% of patients is allowed.
        assert 0.8 * usual.p5 < volume < 1.2 * usual.p95, organ.name


def test_the_default_grid_shows_all_sixteen():
    ct, labels = make_phantom(seed=0)
    assert ct.array.shape == (128, 128, 128)
    assert set(np.unique(labels.array)) == set(range(17))


def test_left_is_left_and_up_is_up():
    _, labels = make_phantom((110, 64, 90), (4.0, 4.0, 4.0), seed=2)
    centre = {organ.name: np.argwhere(labels.array == organ.index).mean(axis=0) for organ in WORD16.organs}
    assert labels.grid.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)  # LPS: x grows to the patient's left
    for left_organ, right_organ in (("left_kidney", "right_kidney"), ("head_of_left_femur", "head_of_right_femur")):
        assert centre[left_organ][2] > centre[right_organ][2] + 10
    assert centre["spleen"][2] > centre["liver"][2]
    assert centre["esophagus"][0] > centre["stomach"][0] > centre["intestine"][0] > centre["bladder"][0]
    assert centre["rectum"][1] > centre["bladder"][1]


def test_seed_decides_everything():
    first, again, another_patient = (make_phantom((48, 32, 40), (8.0, 8.0, 8.0), seed) for seed in (4, 4, 5))
    for k in (0, 1):
        assert np.array_equal(first[k].array, again[k].array)
        assert not np.array_equal(first[k].array, another_patient[k].array)


def test_a_small_grid_shows_a_part_of_the_same_patient():
    body = make_phantom((61, 41, 51), (6.0, 6.0, 6.0), seed=1)[1]
    # 60 mm up: ten slices of 6 mm above the middle of the large grid.
    part = make_phantom((21, 21, 21), (6.0, 6.0, 6.0), seed=1, centre_zyx=(60.0, 0.0, 0.0))[1]
    assert np.array_equal(part.array, body.array[30:51, 10:31, 15:36])
    assert np.any(part.array)


@settings(max_examples=8)
@given(st.tuples(*[st.sampled_from([1.5, 3.0, 5.0, 8.0])] * 3), st.tuples(*[st.integers(4, 40)] * 3),
       st.integers(0, 1000))
def test_any_spacing_and_shape(spacing, shape, seed):
    ct, labels = make_phantom(shape, spacing, seed)
    assert ct.array.shape == shape
    assert ct.grid.spacing == spacing[::-1]
    assert labels.array.max() <= 16


def test_padding_on_request():
    ct, _ = make_phantom((40, 48, 48), (8.0, 8.0, 8.0), seed=9, padding=True)
    assert len(np.unique(ct.array[:, 0, 0])) == 1
    assert ct.array[0, 0, 0] in (-1024, -2048, -3024)


@pytest.mark.parametrize(("shape", "spacing"), [((2, 64, 64), (3, 3, 3)), ((64, 64, 64), (3, 0, 3)),
                                                ((64, 64, 64), (3, float("nan"), 3)), ((64, 64), (3, 3, 3))])
def test_impossible_grids_are_refused(shape, spacing):
    with pytest.raises(UserError, match="phantom s"):
        make_phantom(shape, spacing)
