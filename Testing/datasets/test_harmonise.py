"""Unsided organs get the patient's sides, however the image is stored; what cannot be told stays left or right."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.harmonise import EITHER, LEFT, RIGHT, patient_midline, split_left_right
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_image

SHAPE, MM = (30, 40, 80), 4.0
BODY_CENTRE = 39.5 * MM  # LPS x of the middle of the box body below
ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))


def grid(direction: np.ndarray | None = None, origin=(0.0, 0.0, 0.0)) -> Grid:
    return Grid(SHAPE[::-1], (MM,) * 3, tuple(origin), tuple(np.eye(3).ravel() if direction is None
                                                             else direction.ravel()))


def box(*corners: tuple[int, int, int, int, int, int]) -> np.ndarray:
    """Mask of cuboids given as (z, y, x, sizes z, y, x)."""
    mask = np.zeros(SHAPE, bool)
    for z, y, x, dz, dy, dx in corners:
        mask[z:z + dz, y:y + dy, x:x + dx] = True
    return mask


def body() -> np.ndarray:
    return np.where(box((0, 5, 10, 30, 30, 60)), 40, -1000).astype(np.int16)


KIDNEYS = box((8, 22, 18, 12, 8, 8), (8, 22, 54, 12, 8, 8))  # x runs to the patient's left


def store(array: np.ndarray, on: Grid, permutation, flips) -> Volume:
    """The same voxels at the same places, listed in another axis order."""
    matrix = on.matrix
    size, spacing, direction, origin = [], [], [], matrix[:3, 3].copy()
    for axis in range(3):
        source = permutation[axis]
        column = matrix[:3, source]
        size.append(on.size[source])
        spacing.append(float(np.linalg.norm(column)))
        direction.append(column / spacing[-1] * (-1 if flips[axis] else 1))
        if flips[axis]:
            origin += column * (on.size[source] - 1)
    # Axes of the array are z, y, x, those of the grid x, y, z.
    stored = array.transpose([2 - permutation[2 - a] for a in range(3)])
    stored = stored[tuple(slice(None, None, -1) if flips[2 - a] else slice(None) for a in range(3))]
    return Volume(stored, Grid(tuple(size), tuple(spacing), tuple(origin), tuple(np.stack(direction, 1).ravel())))


def turned(degrees: float, axis: int) -> np.ndarray:
    a, b = (i for i in range(3) if i != axis)
    matrix, angle = np.eye(3), np.radians(degrees)
    matrix[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


@pytest.mark.parametrize(("permutation", "flips"), ORDERS)
def test_sides_are_the_patients_in_all_48_axis_orders(permutation, flips):
    ct, mask = store(body(), grid(), permutation, flips), store(KIDNEYS, grid(), permutation, flips)
    midline = patient_midline(ct)
    assert midline == pytest.approx(BODY_CENTRE, abs=MM)
    split = split_left_right(mask.array, mask.grid, midline)
    world_x = np.broadcast_to(np.arange(SHAPE[2]) * MM, SHAPE)
    expected = np.where(KIDNEYS, np.where(world_x > BODY_CENTRE, LEFT, RIGHT), 0)
    assert np.array_equal(split.sides, store(expected, grid(), permutation, flips).array)
    assert split.notes == ()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-25.0, 20.0])
def test_sides_of_an_oblique_scan_are_the_patients(axis, degrees):
    """The scanner's grid is tilted about a patient who lies straight: sides follow the header's LPS axes."""
    direction = turned(degrees, axis)
    centre = (np.array(SHAPE[::-1]) - 1) / 2 * MM
    tilted = grid(direction, centre - direction @ centre)
    # Body and kidneys are drawn at the voxels' places in the patient, not by their numbers.
    i, j, k = np.meshgrid(*(np.arange(n) for n in tilted.size), indexing="ij")
    where = np.stack([i, j, k, np.ones_like(i)], -1) @ tilted.matrix.T
    x, y, z = (where[..., axis].transpose(2, 1, 0) for axis in range(3))
    inside = (np.abs(x - centre[0]) < 120) & (np.abs(y - centre[1]) < 60)
    right_kidney = np.hypot(np.hypot(x - centre[0] + 60, y - centre[1]), z - centre[2]) < 25
    left_kidney = np.hypot(np.hypot(x - centre[0] - 60, y - centre[1]), z - centre[2]) < 25
    # The midline is None where a side is cut off.
    midline = patient_midline(Volume(np.where(inside, 40, -1000).astype(np.int16), tilted))
    split = split_left_right(left_kidney | right_kidney, tilted, midline)
    assert (split.sides[left_kidney] == LEFT).all()
    assert (split.sides[right_kidney] == RIGHT).all()


def test_a_single_kidney_has_its_side():
    for side, corner in ((RIGHT, 18), (LEFT, 54)):
        mask = box((8, 22, corner, 12, 8, 8))
        split = split_left_right(mask, grid(), BODY_CENTRE)
        assert set(np.unique(split.sides[mask])) == {side}
        assert split.notes == ()


def test_a_horseshoe_kidney_is_cut_at_the_midline_and_reported():
    mask = KIDNEYS | box((8, 24, 18, 3, 4, 44))
    split = split_left_right(mask, grid(), BODY_CENTRE)
    x = np.broadcast_to(np.arange(SHAPE[2]) * MM, SHAPE)
    assert np.array_equal(split.sides == LEFT, mask & (x > BODY_CENTRE))
    assert np.array_equal(split.sides == RIGHT, mask & (x < BODY_CENTRE))
    assert len(split.notes) == 1
    assert "cut at x = 158 mm" in split.notes[0]


def test_fragments_follow_their_own_place_or_the_nearest_component():
    fragment_far, fragment_near = box((2, 24, 20, 1, 2, 2)), box((10, 24, 40, 2, 2, 2))
    split = split_left_right(box((8, 22, 54, 12, 8, 8)) | fragment_far | fragment_near, grid(), BODY_CENTRE)
    assert (split.sides[fragment_far] == RIGHT).all()
    assert (split.sides[fragment_near] == LEFT).all()
    assert split.notes == ()


def test_a_component_on_the_midline_stays_either():
    mask = box((20, 22, 38, 6, 6, 4))
    split = split_left_right(mask, grid(), BODY_CENTRE)
    assert np.array_equal(split.sides == EITHER, mask)
    assert f"{mask.sum()} voxels" in split.notes[0]


def test_without_a_midline_two_components_are_the_two_sides_and_one_stays_either():
    split = split_left_right(KIDNEYS, grid(), None)
    assert set(np.unique(split.sides[:, :, :40])) == {0, RIGHT}
    assert set(np.unique(split.sides[:, :, 40:])) == {0, LEFT}
    assert "not in the image" in split.notes[0]
    single = split_left_right(box((8, 22, 54, 12, 8, 8)), grid(), None)
    assert set(np.unique(single.sides)) == {0, EITHER}
    assert "could not be decided" in single.notes[0]


def test_two_kidneys_on_one_side_stay_there():
    # A transplant, or a crossed kidney: two components are no left and right by themselves.
    mask = box((2, 22, 54, 8, 8, 6), (18, 22, 65, 8, 8, 5))
    assert set(np.unique(split_left_right(mask, grid(), BODY_CENTRE).sides)) == {0, LEFT}


def test_a_midline_through_a_kidney_gives_way_to_the_pair():
    split = split_left_right(KIDNEYS, grid(), 22 * MM)
    assert set(np.unique(split.sides[:, :, :40])) == {0, RIGHT}
    assert "their middle is taken" in split.notes[0]


@settings(max_examples=15)
@given(st.integers(0, 10 ** 6), st.one_of(st.none(), st.floats(0, 320)))
def test_exactly_the_mask_is_divided(seed, midline):
    # Some two thousand single voxels.
    mask = np.random.default_rng(seed).random(SHAPE) > 0.98
    sides = split_left_right(mask, grid(), midline).sides
    assert np.array_equal(sides > 0, mask)
    assert sides.max(initial=0) <= EITHER


def test_phantoms_get_their_own_sides_back():
    for seed in range(2):
        ct, labels = make_phantom((64, 56, 72), (5.0, 5.0, 5.0), seed)
        for names in (("left_kidney", "right_kidney"), ("head_of_left_femur", "head_of_right_femur")):
            left_organ, right_organ = (labels.array == WORD16.index(name) for name in names)
            split = split_left_right(left_organ | right_organ, labels.grid, patient_midline(ct))
            assert np.array_equal(split.sides == LEFT, left_organ)
            assert np.array_equal(split.sides == RIGHT, right_organ)


def codes_of(folder: Path, ct: np.ndarray, labels: np.ndarray, **changes) -> tuple[np.ndarray, list[str]]:
    """Candidate sets (z, y, x, class) and warnings of a partial kidney case."""
    write_image(folder / "ct.nii.gz", ct, grid())
    write_image(folder / "label.nii.gz", labels.astype(np.uint8), grid())
    case = Case("a", "a", "set", folder / "ct.nii.gz", Kind.PARTIAL, folder / "label.nii.gz",
                annotated=("left_kidney", "right_kidney"),
                split_left_right=((1, ("left_kidney", "right_kidney")), (2, ("left_kidney", "right_kidney"))))
    table, listener = CandidateTable(17), Listener()
    codes = case.read_codes(case.read_image(), WORD16, table, listener)
    return table.table[codes], listener.warnings


def test_kidneys_and_their_tumours_are_split_together(tmp_path: Path):
    labels = np.where(KIDNEYS, 1, 0)
    tumour = box((12, 22, 56, 4, 4, 4))
    labels[tumour] = 2
    allowed, warnings = codes_of(tmp_path, body(), labels)
    left_kidney, right_kidney = WORD16.indices(["left_kidney", "right_kidney"])
    is_left = np.broadcast_to(np.arange(SHAPE[2]) > 40, SHAPE)
    assert (allowed[KIDNEYS & is_left] == np.eye(17, dtype=bool)[left_kidney]).all()
    assert (allowed[KIDNEYS & ~is_left] == np.eye(17, dtype=bool)[right_kidney]).all()
    assert not allowed[~KIDNEYS][:, [left_kidney, right_kidney]].any()
    assert allowed[~KIDNEYS].sum(-1).min() == 15
    assert warnings == []


def test_an_undecided_side_is_a_coarse_label_with_a_warning(tmp_path: Path):
    cut = body()
    cut[:, 5:35, :40] = 40  # the field of view cuts the body on one side only: no midline
    kidney = box((8, 22, 54, 12, 8, 8))
    allowed, warnings = codes_of(tmp_path, cut, np.where(kidney, 1, 0))
    pair = np.zeros(17, bool)
    pair[list(WORD16.indices(["left_kidney", "right_kidney"]))] = True
    assert (allowed[kidney] == pair).all()
    line, = warnings
    assert line.startswith(f"a: {tmp_path / 'label.nii.gz'}: left_kidney or right_kidney: the side of {kidney.sum()} ")
