"""What a user relies on in a correction: strokes are obeyed, the error goes, all else stays, it can be taken back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy import ndimage

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining import session as session_module
from PartialOrganSegLib.refining.neighbourhood import MARGIN_MM
from PartialOrganSegLib.refining.session import RefineCancelled, RefineSession
from Testing.helpers.other_orders import stored_otherwise
from Testing.helpers.real_data import real_data_path
from Testing.helpers.stroke_scenes import (
    FIRST_MIDDLE,
    GRID,
    KIDNEY,
    SECOND_MIDDLE,
    SHAPE,
    SPACING,
    SPLEEN,
    ball,
    scene,
    stroke_at,
)


def start_without(truth: np.ndarray, organ: int) -> np.ndarray:
    return np.where(truth == organ, 0, truth).astype(np.uint8)


def test_a_missed_organ_comes_back_from_one_stroke():
    ct, truth = scene()
    # Labels in another axis order are put into the CT's.
    session = RefineSession(ct, stored_otherwise(Volume(start_without(truth, SPLEEN), GRID)), WORD16)
    drawn = stroke_at(FIRST_MIDDLE, SPLEEN)
    correction = session.add(drawn)
    after = correction.labels.array
    assert (after[drawn.array == SPLEEN] == SPLEEN).all()
    assert dice(after == SPLEEN, truth == SPLEEN) > 0.9
    assert np.array_equal(after == KIDNEY, truth == KIDNEY)
    [change] = correction.organs
    assert change.organ == "spleen"
    assert change.gained_ml == pytest.approx((after == SPLEEN).sum() * 4 * 2 * 2 / 1000)
    assert change.lost_ml == 0
    assert change.farthest_mm is None  # there was no spleen to measure from


def test_a_background_stroke_removes_the_surplus_and_leaves_the_organ():
    ct, truth = scene()
    start = truth.copy()
    surplus = np.zeros(SHAPE, bool)
    surplus[8:16, 30:44, 8:24] = True
    # Beside the spleen, touching it: what leaks into a neighbour of the same brightness.
    surplus &= truth == 0
    start[surplus] = SPLEEN
    after = RefineSession(ct, Volume(start, GRID), WORD16).add(stroke_at((12, 38, 16), 0, 7)).labels.array
    assert dice(after == SPLEEN, truth == SPLEEN) > dice(start == SPLEEN, truth == SPLEEN) + 0.1
    assert ((after == 0) & surplus).sum() > 0.8 * surplus.sum()
    # One stroke of background may cost the organ next to it some voxels, not a part.
    assert ((after == SPLEEN) & (truth == SPLEEN)).sum() > 0.97 * (truth == SPLEEN).sum()


def test_a_long_stroke_along_a_thin_rim_does_not_run_into_what_looks_alike_behind_it():
    truth = np.zeros(SHAPE, np.uint8)
    truth[4:20, 4:44, 4:20] = SPLEEN
    looks_alike = np.zeros(SHAPE, bool)
    looks_alike[4:20, 4:44, 20:44] = True  # as the stomach's wall beside the spleen
    hu = np.where((truth > 0) | looks_alike, 130.0, 40.0) + np.random.default_rng(0).normal(0, 12, SHAPE)
    start = truth.copy()
    start[:, :, 18:] = 0
    drawn = np.full(SHAPE, 255, np.uint8)
    drawn[12, 8:40, 19] = SPLEEN  # 64 mm long, in a rim of 4 mm
    ct = Volume(hu.round().astype(np.int16), GRID)
    after = RefineSession(ct, Volume(start, GRID), WORD16).add(Volume(drawn, GRID)).labels.array == SPLEEN
    assert (after & (truth > 0) & (start == 0)).sum() > 150
    # Nothing in the CT tells where the rim ends. Without a bound by its thickness the spleen takes 42 ml of the wall.
    assert (after & looks_alike).sum() * 0.016 < 30


def test_changes_are_connected_with_the_stroke_and_near_it():
    ct, truth = scene()
    start = start_without(start_without(truth, SPLEEN), KIDNEY)  # two organs missed, a stroke in one
    drawn = stroke_at(FIRST_MIDDLE, SPLEEN)
    correction = RefineSession(ct, Volume(start, GRID), WORD16).add(drawn)
    changed = correction.labels.array != start
    parts, _ = ndimage.label(changed, np.ones((3, 3, 3)))
    # Every part that changed holds a voxel of the stroke: nothing jumps to another place.
    assert set(np.unique(parts[changed])) == set(np.unique(parts[drawn.array == SPLEEN]))
    away = ndimage.distance_transform_edt(drawn.array == 255, sampling=SPACING)
    assert away[changed].max() <= MARGIN_MM
    assert dice(correction.labels.array == SPLEEN, truth == KIDNEY) < 0.05
    # The region is what the panel writes back to its segmentation.
    outside = changed.copy()
    outside[correction.region] = False
    assert not outside.any()


@pytest.mark.parametrize("spacing", [(5.0, 2.0, 2.0), (2.5, 1.5, 1.5)])
def test_nothing_farther_than_the_margin_changes(spacing: tuple[float, float, float]):
    """The region around a stroke is a box, whose corners are farther away than its faces."""
    shape = tuple(round(180 / mm) for mm in spacing)
    grid = Grid(shape[::-1], spacing[::-1])
    truth = np.ones(shape, np.uint8)  # a liver without an end
    truth[:2], truth[-2:] = 0, 0
    hu = np.where(truth > 0, 130, 40) + np.random.default_rng(0).normal(0, 8, shape)
    start, drawn = truth.copy(), np.full(shape, 255, np.uint8)
    start[:, :, shape[2] // 3:] = 0
    z, y, x = (length // 2 for length in shape)
    drawn[z, y, x - 15:x + 16] = 1
    drawn[z, y - 15:y + 16, x] = 1
    session = RefineSession(Volume(hu.round().astype(np.int16), grid), Volume(start, grid), WORD16)
    changed = session.add(Volume(drawn, grid)).labels.array != start
    away = ndimage.distance_transform_edt(drawn == 255, sampling=spacing)[changed]
    assert away.max() <= MARGIN_MM
    assert away.max() > MARGIN_MM - 6  # so far it goes


def test_organs_that_no_stroke_contradicts_keep_their_voxels():
    ct, truth = scene()
    start = start_without(truth, SPLEEN)
    start[ball((12, 24, 22), 8.0)] = KIDNEY  # a part of the missed spleen is called kidney
    after = RefineSession(ct, Volume(start, GRID), WORD16).add(stroke_at((12, 24, 10), SPLEEN, 2)).labels.array
    assert np.array_equal(after == KIDNEY, start == KIDNEY)


def test_accepted_organs_change_under_strokes_alone():
    ct, truth = scene()
    start = truth.copy()
    start[ball(FIRST_MIDDLE)] = KIDNEY
    drawn = stroke_at(FIRST_MIDDLE, SPLEEN)
    free = RefineSession(ct, Volume(start, GRID), WORD16).add(drawn).labels.array
    accepted = RefineSession(ct, Volume(start, GRID), WORD16, accepted=["left_kidney"]).add(drawn).labels.array
    assert (free == SPLEEN).sum() > 5 * (drawn.array == SPLEEN).sum()
    assert np.array_equal(accepted != start, drawn.array == SPLEEN)


def test_strokes_that_agree_change_nothing():
    ct, truth = scene()
    correction = RefineSession(ct, Volume(truth, GRID), WORD16).add(stroke_at(FIRST_MIDDLE, SPLEEN))
    assert correction.region is None
    assert correction.organs == ()
    assert np.array_equal(correction.labels.array, truth)


def test_earlier_strokes_hold_against_later_ones():
    ct, truth = scene()
    session = RefineSession(ct, Volume(start_without(truth, SPLEEN), GRID), WORD16)
    outside = stroke_at((12, 24, 16), 0, 1)
    session.add(outside)
    after = session.add(stroke_at((12, 30, 16), SPLEEN, 4)).labels.array
    assert (after[outside.array == 0] == 0).all()
    assert (after == SPLEEN).sum() > 300


def test_each_correction_can_be_taken_back():
    ct, truth = scene()
    start = start_without(start_without(truth, SPLEEN), KIDNEY)
    session = RefineSession(ct, Volume(start, GRID), WORD16)
    first = session.add(stroke_at(FIRST_MIDDLE, SPLEEN)).labels.array
    session.add(stroke_at(SECOND_MIDDLE, KIDNEY))
    undone = session.undo()
    assert np.array_equal(undone.labels.array, first)
    assert [change.organ for change in undone.organs] == ["left_kidney"]
    assert np.array_equal(session.strokes.array, stroke_at(FIRST_MIDDLE, SPLEEN).array)
    assert np.array_equal(session.undo().labels.array, start)
    assert (session.strokes.array == 255).all()
    with pytest.raises(UserError, match="expected a correction to take back, found none"):
        session.undo()


def test_progress_is_of_groups_of_strokes():
    """Many strokes take a minute: who waits sees how many are left. Those that lie close together are one."""
    ct, truth = scene()
    drawn = stroke_at(FIRST_MIDDLE, SPLEEN, 2)
    z, y, x = FIRST_MIDDLE
    drawn.array[z, y, x + 3:x + 6] = 0  # another label
    drawn.array[z, y + 3, x] = SPLEEN  # 6 mm away
    drawn.array[z, 2, x] = SPLEEN  # 44 mm away
    session, told = RefineSession(ct, Volume(start_without(truth, SPLEEN), GRID), WORD16), []
    after = session.add(drawn, lambda done, total: told.append((done, total))).labels.array
    assert told == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(after[drawn.array != 255], drawn.array[drawn.array != 255])


def test_cancel_from_another_thread_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch):
    ct, truth = scene()
    start = start_without(truth, SPLEEN)
    session = RefineSession(ct, Volume(start, GRID), WORD16)
    spread = session_module.spread

    def cancelled_meanwhile(*arguments: object) -> np.ndarray:
        canceller = threading.Thread(target=session.cancel)
        canceller.start()
        canceller.join()
        return spread(*arguments)

    monkeypatch.setattr(session_module, "spread", cancelled_meanwhile)
    with pytest.raises(RefineCancelled):
        session.add(stroke_at(FIRST_MIDDLE, SPLEEN))
    assert np.array_equal(session.labels.array, start)
    assert (session.strokes.array == 255).all()
    monkeypatch.undo()
    assert session.add(stroke_at(FIRST_MIDDLE, SPLEEN)).region is not None


def test_the_order_of_axes_makes_no_difference():
    ct, truth = scene()
    start, drawn = start_without(truth, SPLEEN), stroke_at(FIRST_MIDDLE, SPLEEN)
    after = RefineSession(ct, Volume(start, GRID), WORD16).add(drawn).labels.array
    turned = Grid((SHAPE[0], SHAPE[1], SHAPE[2]), SPACING, GRID.origin, (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0))
    ct_turned, start_turned, drawn_turned = (Volume(np.ascontiguousarray(array.transpose(2, 1, 0)), turned)
                                             for array in (ct.array, start, drawn.array))
    after_turned = RefineSession(ct_turned, start_turned, WORD16).add(drawn_turned).labels.array.transpose(2, 1, 0)
    assert (after != after_turned).mean() < 1e-3


def test_labels_of_another_grid_or_with_unknown_values_are_refused():
    ct, truth = scene()
    moved = Grid(GRID.size, GRID.spacing, (0.0, 0.0, 0.0))
    with pytest.raises(UserError, match="labels: expected the CT's grid, origin"):
        RefineSession(ct, Volume(truth, moved), WORD16)
    for value in (99, -1):
        with pytest.raises(UserError, match=rf"labels: value {value}: expected 0\.\.16"):
            RefineSession(ct, Volume(np.where(truth > 0, value, 0).astype(np.int16), GRID), WORD16)
    for value in (0.5, np.nan):
        with pytest.raises(UserError, match="labels: expected whole numbers, found fractions or NaN"):
            RefineSession(ct, Volume(np.where(truth > 0, value, 0), GRID), WORD16)
    session = RefineSession(ct, Volume(truth.astype(np.float32), GRID), WORD16)
    for value in (1.5, np.nan):
        with pytest.raises(UserError, match="strokes: expected whole numbers, found fractions or NaN"):
            session.add(Volume(np.where(truth == SPLEEN, value, 255.0), GRID))


def test_files_are_no_volumes():
    ct, truth = scene()
    labels = Volume(truth, GRID)
    for wrong, name, kind in ((("ct.nii.gz", labels), "ct", "str"), ((ct, truth), "labels", "ndarray")):
        with pytest.raises(UserError, match=f"{name}: expected a Volume, as read_ct and results .* found {kind}"):
            RefineSession(*wrong, WORD16)


def spleen_and_its_lowest_twentieth():
    """A real CT, its labels, the same with a piece of the spleen, and a stroke through the middle of the whole."""
    folder = real_data_path("ct", "waw2144_eq")
    ct, reference = read_ct(folder / "image.nii.gz"), read_labelmap(folder / "label.nii.gz")
    truth = reference.array == SPLEEN
    places = truth.nonzero()
    # A piece far thinner than the organ, which must not bound what a stroke reaches.
    slices = np.sort(places[0])
    fragment = truth.copy()
    fragment[slices[len(slices) // 20]:] = False
    start = np.where(truth & ~fragment, 0, reference.array).astype(np.uint8)
    z, y = round(float(places[0].mean())), round(float(places[1].mean()))
    drawn = np.full(truth.shape, 255, np.uint8)
    drawn[z, y][truth[z, y]] = SPLEEN
    return ct, reference, Volume(start, reference.grid), Volume(drawn, reference.grid)


def test_an_organ_of_which_a_fragment_was_found_comes_back_from_one_stroke():
    ct, reference, start, drawn = spleen_and_its_lowest_twentieth()
    truth = reference.array == SPLEEN
    after = RefineSession(ct, start, WORD16).add(drawn).labels.array
    assert dice(start.array == SPLEEN, truth) < 0.15
    assert dice(after == SPLEEN, truth) > 0.55


def test_what_is_left_of_an_organ_that_was_there_is_no_fragment():
    """A small organ whose surplus was taken away: a stroke must not make it as large as that organ usually is."""
    ct, reference, start, drawn = spleen_and_its_lowest_twentieth()
    of_fragment = RefineSession(ct, start, WORD16).add(drawn).labels.array
    session = RefineSession(ct, reference, WORD16)
    everywhere = tuple(slice(0, size) for size in reference.array.shape)
    session.take_over(everywhere, start.array, np.full(reference.array.shape, 255, np.uint8))
    of_whole = session.add(drawn).labels.array
    assert np.count_nonzero(of_whole == SPLEEN) < np.count_nonzero(of_fragment == SPLEEN) / 2


def test_a_missed_spleen_of_a_real_ct_comes_back():
    folder = real_data_path("ct", "waw2144_eq")
    ct, reference = read_ct(folder / "image.nii.gz"), read_labelmap(folder / "label.nii.gz")
    truth = reference.array == SPLEEN
    # One line through the middle of the organ, as a hurried user draws it.
    z, y, _ = (round(float(places.mean())) for places in truth.nonzero())
    drawn = np.full(truth.shape, 255, np.uint8)
    drawn[z, y][truth[z, y]] = SPLEEN  # from one border to the other
    start = np.where(truth, 0, reference.array)
    session = RefineSession(ct, Volume(start, reference.grid), WORD16)
    after = session.add(Volume(drawn, reference.grid)).labels.array
    assert dice(after == SPLEEN, truth) > 0.6
    lost = (start > 0) & (after != start)
    assert not lost.any()
