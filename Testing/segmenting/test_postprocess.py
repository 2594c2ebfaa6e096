"""Cleaning: one piece where an organ is one piece, the right side, and voxels given to the next best class."""

import numpy as np
import pytest
import torch

from PartialOrganSegLib.imaging.body import find_body
from PartialOrganSegLib.imaging.components import components
from PartialOrganSegLib.organ_records import organ_record
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.postprocess import remove_stray_components

SPACING = (3.0, 2.0, 2.0)


def scored(blocks: dict[tuple[str, int], tuple[slice, slice, slice]]) -> tuple[torch.Tensor, np.ndarray]:
    """Scores (30, 60, 80, 17): 5 for a block's organ, 1 for the background."""
    scores = torch.zeros(30, 60, 80, WORD16.class_count, dtype=torch.float16)
    scores[..., 0] = 1
    for (name, _), box in blocks.items():
        scores[(*box, WORD16.index(name))] = 5
    return scores, scores.float().argmax(-1).numpy().astype(np.uint8)


def cleaned(labels: np.ndarray) -> np.ndarray:
    """Sure labels, cleaned."""
    scores = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), WORD16.class_count).half() * 5
    after = labels.copy()
    remove_stray_components(scores, after, SPACING, WORD16, None)
    assert np.array_equal(scores.float().argmax(-1).numpy(), after)
    return after


def block(z: int, y: int, x: int, side: int) -> tuple[slice, slice, slice]:
    return slice(z, z + side), slice(y, y + side), slice(x, x + side)


def test_stray_components_lose_to_the_next_best_class() -> None:
    scores, labels = scored({("liver", 0): block(2, 5, 5, 15), ("spleen", 0): block(2, 30, 50, 10),
                             ("liver", 1): block(20, 50, 70, 6)})
    inside = (slice(21, 25), slice(51, 55), slice(71, 75))
    # Below the liver's 5, above the background's 1: what the voxels become when the liver loses them.
    scores[(*inside, WORD16.index("stomach"))] = 4
    remove_stray_components(scores, labels, SPACING, WORD16, None)
    assert len(components(labels, WORD16.index("liver"))) == 1
    assert (labels == WORD16.index("liver")).sum() == 15**3
    assert (labels[inside] == WORD16.index("stomach")).all()
    assert labels[20, 50, 70] == 0
    # Scores follow the labels: what is interpolated from them later must not bring the component back.
    assert np.array_equal(scores.float().argmax(-1).numpy(), labels)


def test_the_next_best_class_gets_no_crumbs() -> None:
    scores, labels = scored({("liver", 0): block(2, 5, 5, 15), ("liver", 1): block(20, 50, 70, 6)})
    crumb = (slice(22, 24), slice(52, 54), slice(72, 74))
    scores[(*crumb, WORD16.index("stomach"))] = 4
    remove_stray_components(scores, labels, SPACING, WORD16, None)
    assert not (labels == WORD16.index("stomach")).any()
    assert (labels[20:, 50:] == 0).all()
    assert np.array_equal(scores.float().argmax(-1).numpy(), labels)


def test_the_surer_component_stays_even_if_it_is_smaller() -> None:
    scores, labels = scored({("bladder", 0): block(2, 5, 5, 10), ("bladder", 1): block(2, 40, 40, 8)})
    scores[(*block(2, 5, 5, 10), WORD16.index("bladder"))] = 2
    remove_stray_components(scores, labels, SPACING, WORD16, None)
    assert (labels == WORD16.index("bladder")).sum() == 8**3
    assert (labels[block(2, 40, 40, 8)] == WORD16.index("bladder")).all()


def test_two_adrenals_stay_a_third_goes() -> None:
    scores, labels = scored({("adrenal", 0): block(2, 5, 20, 6), ("adrenal", 1): block(2, 5, 50, 5),
                             ("adrenal", 2): block(20, 50, 70, 4)})
    remove_stray_components(scores, labels, SPACING, WORD16, 40.0)
    assert (labels == WORD16.index("adrenal")).sum() == 6**3 + 5**3


def test_specks_of_an_absent_organ_go() -> None:
    scores, labels = scored({("bladder", 0): block(10, 10, 10, 2)})
    remove_stray_components(scores, labels, SPACING, WORD16, None)
    assert not labels.any()


def test_a_kidney_on_the_wrong_side_is_swapped() -> None:
    blocks = {("left_kidney", 0): block(5, 30, 10, 10), ("left_kidney", 1): block(5, 30, 60, 11)}
    scores, labels = scored(blocks)
    remove_stray_components(scores, labels, SPACING, WORD16, 40.0)
    assert labels[8, 33, 13] == WORD16.index("right_kidney")
    assert labels[8, 33, 63] == WORD16.index("left_kidney")
    assert np.array_equal(scores.float().argmax(-1).numpy(), labels)


@pytest.mark.parametrize("midline", [None, 12.0])
def test_sides_are_left_alone_when_in_doubt(midline: float | None) -> None:
    scores, labels = scored({("left_kidney", 0): block(5, 30, 10, 10)})
    remove_stray_components(scores, labels, SPACING, WORD16, midline)
    assert (labels == WORD16.index("left_kidney")).sum() == 1000


def test_every_organ_has_a_rule() -> None:
    assert [name for name in WORD16.names if organ_record(name).components is None] == []


def phantom(shape: tuple[int, int, int] = (40, 128, 160), x: int = 80) -> np.ndarray:
    ct = np.full(shape, -1000, np.int16)
    yy, xx = np.mgrid[:shape[1], :shape[2]]
    ct[:, ((yy - 60) / 35) ** 2 + ((xx - x) / 50) ** 2 < 1] = 40
    return ct


def test_the_body_is_found_without_the_table() -> None:
    ct = phantom()
    # A table of two voxels' thickness below the patient.
    ct[:, 120:122] = 100
    body = find_body(ct, (5.0, 3.0, 3.0))
    assert body.box[0] == slice(0, 40)
    assert 10 < body.box[1].start <= 25
    assert 95 <= body.box[1].stop < 118
    assert body.box[2].start <= 30
    assert body.box[2].stop >= 130
    assert body.midline == pytest.approx(80, abs=2)


def test_no_midline_when_one_side_is_cut() -> None:
    assert find_body(phantom(x=20), (5.0, 3.0, 3.0)).midline is None


def test_nothing_like_a_body_keeps_the_whole_volume() -> None:
    assert find_body(np.full((9, 20, 20), -1000, np.int16), (5.0, 3.0, 3.0)).box == (slice(0, 9), slice(0, 20),
                                                                                     slice(0, 20))


def chest_and_abdomen(liver: slice = slice(5, 35)) -> np.ndarray:
    """Colon in the abdomen and the chest, under the diaphragm and lungs; slices of 3 mm."""
    labels = np.zeros((80, 60, 80), np.uint8)
    labels[liver, 10:40, 5:35] = WORD16.index("liver")
    labels[5:30, 10:20, 50:60] = WORD16.index("colon")
    labels[60:75, 10:20, 50:60] = WORD16.index("colon")
    return labels


def test_nothing_of_the_abdomen_stays_in_the_chest() -> None:
    before = chest_and_abdomen()
    # One that belongs there, one that reaches up to it from below, and the stomach of somebody with a hernia.
    before[20:79, 45:50, 40:45] = WORD16.index("esophagus")
    before[10:50, 25:35, 50:60] = WORD16.index("spleen")
    before[37:48, 45:55, 60:70] = WORD16.index("stomach")
    after = cleaned(before)
    assert (after[60:75, 10:20, 50:60] == 0).all()
    below = np.where(np.arange(80)[:, None, None] < 60, before, 0)
    esophagus = before == WORD16.index("esophagus")
    assert np.array_equal(after, np.where(esophagus, before, below))


@pytest.mark.parametrize("liver", [slice(5, 80), slice(5, 6)], ids=["cut off above", "too small to be one"])
def test_without_the_liver_s_top_nothing_is_known_of_the_chest(liver: slice) -> None:
    before = chest_and_abdomen(liver)
    assert np.array_equal(cleaned(before), before)
