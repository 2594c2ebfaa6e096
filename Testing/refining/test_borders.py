"""The outline near a stroke follows the CT's edges, once, and nothing but the drawn organ and background moves."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.borders import BAND_MM, NEAR_DAB_MM, NEAR_OF_EXTENT, at_edges
from PartialOrganSegLib.refining.neighbourhood import NOT_DRAWN, Region
from PartialOrganSegLib.refining.session import RefineSession

SHAPE, SPACING = (20, 64, 96), (4.0, 2.0, 2.0)
SPLEEN, KIDNEY, BOWEL = (WORD16.index(name) for name in ("spleen", "left_kidney", "intestine"))


def ball(middle: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    places = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    squares = [((place - centre) * mm) ** 2 for place, centre, mm in zip(places, middle, SPACING, strict=True)]
    return np.sum(squares, axis=0) <= radius_mm**2


def truth() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((10, 32, 30), 32.0)] = SPLEEN
    labels[ball((10, 32, 68), 32.0)] = KIDNEY
    return labels


def ragged(labels: np.ndarray) -> np.ndarray:
    """The spleen as a network at coarse spacing outlines it: borders off by up to 3 mm on either side."""
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 2.0)
    depth = ndimage.distance_transform_edt(labels == SPLEEN, sampling=SPACING)
    depth -= ndimage.distance_transform_edt(labels != SPLEEN, sampling=SPACING)
    start = np.where(labels == SPLEEN, 0, labels)
    start[(depth > (2 * noise / noise.std()).clip(-3, 3)) & (start == 0)] = SPLEEN
    return start.astype(np.uint8)


def ct_of(labels: np.ndarray, organ_hu: float = 120.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 15, SHAPE)
    return (np.where(labels > 0, organ_hu, 20.0) + noise).round().astype(np.int16)


def region(hu: np.ndarray, labels: np.ndarray, drawn: np.ndarray | None = None) -> Region:
    nothing = np.full(SHAPE, NOT_DRAWN, np.uint8)
    return Region(hu, labels, nothing if drawn is None else drawn, np.ones(SHAPE, bool), SPACING)


def stroke() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[10, 32, 20:40] = True
    return mask


def test_a_ragged_border_goes_to_the_edge_and_no_other_organ_changes():
    labels = truth()
    start = ragged(labels)
    after = at_edges(region(ct_of(labels), start), SPLEEN, stroke(), np.zeros(SHAPE, bool))
    before, better = dice(start == SPLEEN, labels == SPLEEN), dice(after, labels == SPLEEN)
    assert 1 - better < 0.6 * (1 - before)
    assert not (after & (start == KIDNEY)).any()
    moved = after != (start == SPLEEN)
    to_border = np.where(start == SPLEEN, ndimage.distance_transform_edt(start == SPLEEN, sampling=SPACING),
                         ndimage.distance_transform_edt(start != SPLEEN, sampling=SPACING))
    # Blocks are as wide as voxels here, and the border lies between two.
    assert to_border[moved].max() <= BAND_MM + max(SPACING) / 2


def test_where_the_ct_shows_no_edge_the_outline_becomes_a_little_smoother_at_most():
    labels = truth()
    same_hu = np.full(SHAPE, 60, np.int16)
    after = at_edges(region(same_hu, labels), SPLEEN, stroke(), np.zeros(SHAPE, bool))
    assert dice(after, labels == SPLEEN) > 0.97


def test_a_dab_moves_the_outline_nearby_and_a_stroke_farther_away():
    labels = truth()
    start = ragged(labels)
    dab = np.zeros(SHAPE, bool)
    dab[10, 32, 44:46] = True
    farthest = []
    for drawn in (dab, stroke()):
        after = at_edges(region(ct_of(labels), start), SPLEEN, drawn, np.zeros(SHAPE, bool))
        moved = after != (start == SPLEEN)
        farthest.append(ndimage.distance_transform_edt(~drawn, sampling=SPACING)[moved].max())
    # The dab is 2 mm long; a block lies a little farther than its middle.
    assert 5 < farthest[0] < NEAR_DAB_MM + NEAR_OF_EXTENT * 2 + max(SPACING)
    assert farthest[1] > 30


def test_drawn_and_settled_voxels_stay():
    labels = truth()
    start = ragged(labels)
    hu = ct_of(labels)
    moved = at_edges(region(hu, start), SPLEEN, stroke(), np.zeros(SHAPE, bool)) != (start == SPLEEN)
    gained, lost = (np.argwhere(moved & mask) for mask in (start == 0, start == SPLEEN))
    drawn = np.full(SHAPE, NOT_DRAWN, np.uint8)
    drawn[tuple(gained[0])], drawn[tuple(lost[0])] = 0, SPLEEN
    settled = np.zeros(SHAPE, bool)
    settled[:, :32] = True
    after = at_edges(region(hu, start, drawn), SPLEEN, stroke(), settled)
    assert not after[tuple(gained[0])]
    assert after[tuple(lost[0])]
    assert np.array_equal(after[:, :32], (start == SPLEEN)[:, :32])
    # All that was looked at is settled now, so a second time nothing moves.
    again = np.where(after, SPLEEN, np.where(start == SPLEEN, 0, start)).astype(np.uint8)
    assert np.array_equal(at_edges(region(hu, again, drawn), SPLEEN, stroke(), settled), after)


def test_a_session_moves_the_outline_once_and_takes_it_back():
    labels = truth()
    start = ragged(labels)
    start[10, 30:34, 24:32] = 0  # a hole for the stroke to fill
    grid = Grid(SHAPE[::-1], SPACING[::-1])
    session = RefineSession(Volume(ct_of(labels), grid), Volume(start, grid), WORD16)
    drawn = np.full(SHAPE, NOT_DRAWN, np.uint8)
    drawn[10, 32, 24:32] = SPLEEN
    after = session.add(Volume(drawn, grid)).labels.array
    assert 1 - dice(after == SPLEEN, labels == SPLEEN) < 0.7 * (1 - dice(start == SPLEEN, labels == SPLEEN))
    assert np.array_equal(after == KIDNEY, start == KIDNEY)
    assert np.array_equal(session.undo().labels.array, start)
    # Taken back, the outline is open again: the same stroke does the same.
    assert np.array_equal(session.add(Volume(drawn, grid)).labels.array, after)


def test_labels_that_were_taken_back_elsewhere_are_corrected_again() -> None:
    start = ragged(truth())
    start[10, 30:34, 24:32] = 0
    grid = Grid(SHAPE[::-1], SPACING[::-1])
    everything = (slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(0, SHAPE[2]))
    nothing = np.full(SHAPE, NOT_DRAWN, np.uint8)
    drawn = nothing.copy()
    drawn[10, 32, 24:32] = SPLEEN
    session = RefineSession(Volume(ct_of(truth()), grid), Volume(start, grid), WORD16)
    after = session.add(Volume(drawn, grid)).labels.array
    session.take_over(everything, start, nothing)
    assert np.array_equal(session.add(Volume(drawn, grid)).labels.array, after)


def test_an_accepted_organ_keeps_its_outline():
    labels = truth()
    start = ragged(labels)
    grid = Grid(SHAPE[::-1], SPACING[::-1])
    session = RefineSession(Volume(ct_of(labels), grid), Volume(start, grid), WORD16, accepted=["spleen"])
    drawn = np.full(SHAPE, NOT_DRAWN, np.uint8)
    drawn[10, 32, 24:32] = 0
    after = session.add(Volume(drawn, grid)).labels.array
    assert np.array_equal(after != start, drawn == 0)


def test_an_error_that_is_called_two_things_is_no_thin_error() -> None:
    labels = truth()
    start = np.where(labels == SPLEEN, 0, labels).astype(np.uint8)
    stripes = (np.arange(SHAPE[2]) // 3 % 2 == 0)[None, None]  # of 6 mm, as where bowel and background take turns
    start[(labels == SPLEEN) & stripes] = BOWEL
    grid = Grid(SHAPE[::-1], SPACING[::-1])
    session = RefineSession(Volume(ct_of(labels), grid), Volume(start, grid), WORD16)
    drawn = np.full(SHAPE, NOT_DRAWN, np.uint8)
    drawn[10, 32, 16:44] = SPLEEN
    after = session.add(Volume(drawn, grid)).labels.array
    assert dice(after == SPLEEN, labels == SPLEEN) > 0.9


def test_the_outline_of_a_fragment_stays() -> None:
    labels = truth()
    start = labels.copy()
    start[(labels == SPLEEN) & (np.arange(SHAPE[0]) > 5)[:, None, None]] = 0
    grid = Grid(SHAPE[::-1], SPACING[::-1])
    session = RefineSession(Volume(ct_of(labels), grid), Volume(start, grid), WORD16)
    drawn = np.full(SHAPE, NOT_DRAWN, np.uint8)
    drawn[4, 32, 20:24] = 0  # background by mistake: nothing else of the fragment may go far from it
    after = session.add(Volume(drawn, grid)).labels.array
    far = np.abs(np.arange(SHAPE[2]) - 22) > 12
    assert np.array_equal(after[:, :, far], start[:, :, far])
