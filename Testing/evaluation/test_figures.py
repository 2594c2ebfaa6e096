"""Surface distances against MedPy, MONAI and every pair of surface voxels; and which voxels a reference judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from PartialOrganSegLib.annotation import CandidateTable, Kind, encode_labels, label_candidates
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.evaluation.scoring import (
    BOTH,
    DECIDED,
    LEFT_OPEN,
    MASK,
    NEITHER,
    NO_PREDICTION,
    NO_REFERENCE,
    STROKES,
    Score,
    score_structures,
)
from PartialOrganSegLib.evaluation.structures import Structure, scored_structures
from PartialOrganSegLib.evaluation.summary import ALL_CASES, compare, summarise, trusted_means
from PartialOrganSegLib.imaging.surface import surface_distances
from PartialOrganSegLib.organs import WORD16

SPACING = (3.0, 0.7, 1.3)
TOLERANCE = 2.0


def masks(seed: int, shape: tuple[int, int, int] = (6, 9, 8)) -> tuple[np.ndarray, np.ndarray]:
    """Two ragged masks that touch the array's edges now and then, neither empty."""
    rng = np.random.default_rng(seed)
    first, second = (rng.random(shape) < rng.uniform(0.05, 0.6) for _ in range(2))
    # Neither is ever empty, and the two never need to overlap.
    first[2, 3, 4] = second[4, 1, 6] = True
    return first, second


def brute_force(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance of each surface voxel of `first` to the nearest of `second`, by looking at every pair."""
    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(3):
            for step in (-1, 1):
                # A voxel of the surface has a face without a neighbour of the mask; the array's edge counts as outside.
                inner &= np.roll(padded, step, axis)
        return np.argwhere(padded & ~inner) * SPACING

    return np.linalg.norm(surface(first)[:, None] - surface(second)[None], axis=2).min(1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_distances_are_those_of_all_pairs(seed):
    ours, theirs = masks(seed)
    distances = surface_distances(ours, theirs, SPACING)
    assert np.sort(distances.from_prediction) == pytest.approx(np.sort(brute_force(ours, theirs)))
    assert np.sort(distances.from_reference) == pytest.approx(np.sort(brute_force(theirs, ours)))
    swapped = surface_distances(theirs, ours, SPACING)
    all_distances = np.concatenate([brute_force(ours, theirs), brute_force(theirs, ours)])
    assert distances.hausdorff == pytest.approx(all_distances.max())
    for figure in ("hd95", "hd95_directed", "hausdorff", "assd"):
        assert getattr(swapped, figure) == pytest.approx(getattr(distances, figure))


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_medpy(seed):
    medpy = pytest.importorskip("medpy.metric.binary")
    ours, theirs = masks(seed)
    distances = surface_distances(ours, theirs, SPACING)
    assert distances.hd95 == pytest.approx(medpy.hd95(ours, theirs, SPACING))
    assert distances.hausdorff == pytest.approx(medpy.hd(ours, theirs, SPACING))
    assert score_of(ours, theirs).hausdorff_mm == pytest.approx(distances.hausdorff)
    assert distances.assd == pytest.approx(medpy.assd(ours, theirs, SPACING))
    assert distances.from_prediction.mean() == pytest.approx(medpy.asd(ours, theirs, SPACING))
    assert score_of(ours, theirs).dice == pytest.approx(medpy.dc(ours, theirs))


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_monai(seed):
    metrics = pytest.importorskip("monai.metrics")
    ours, theirs = masks(seed)
    # MONAI takes (batch, class, z, y, x).
    batch = [torch.from_numpy(mask)[None, None].float() for mask in (ours, theirs)]
    distances = surface_distances(ours, theirs, SPACING)
    common = {"include_background": True, "spacing": SPACING}
    assert distances.hd95_directed == pytest.approx(
        float(metrics.compute_hausdorff_distance(*batch, percentile=95, **common)), rel=1e-5)
    assert distances.assd == pytest.approx(
        float(metrics.compute_average_surface_distance(*batch, symmetric=True, **common)), rel=1e-5)
    assert distances.surface_dice(TOLERANCE) == pytest.approx(
        float(metrics.compute_surface_dice(*batch, class_thresholds=[TOLERANCE], **common)), rel=1e-5)
    assert score_of(ours, theirs).dice == pytest.approx(float(metrics.compute_dice(*batch)), rel=1e-5)


def test_empty_masks_have_no_distance():
    with pytest.raises(ValueError, match="not empty"):
        surface_distances(np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool), SPACING)


def encoded(kind: Kind, labels: np.ndarray, annotated: tuple[str, ...] = (),
            label_map: dict[int, list[str]] | None = None) -> tuple[Case, np.ndarray, np.ndarray]:
    """A case, its code map and the candidate table."""
    table = CandidateTable(WORD16.class_count)
    values = np.unique(labels).tolist()
    codes = encode_labels(labels, label_candidates(kind, annotated, label_map or {}, WORD16, values), table)
    case = Case("c", "c", "d", Path("c"), kind, annotated=annotated)
    return case, codes, table.table


def judged(predicted: np.ndarray, case: Case, codes: np.ndarray, table: np.ndarray) -> dict[str, Score]:
    structures = scored_structures(case, codes, table, WORD16)
    scores = score_structures("c", predicted, codes, table, structures, SPACING, TOLERANCE, case.kind is Kind.SCRIBBLE)
    return {score.structure: score for score in scores}


def score_of(ours: np.ndarray, theirs: np.ndarray) -> Score:
    """The liver's figures."""
    return judged(ours.astype(np.uint8), *encoded(Kind.FULL, theirs.astype(np.uint8)))["liver"]


def test_organs_of_neither_of_one_and_of_both_masks():
    labels, predicted = np.zeros((2, 4, 5, 5), np.uint8)
    labels[1:3, 1:3, 1:3], labels[0, 0, 0] = 1, 2
    predicted[1:3, 1:3, 1:4], predicted[3, 4, 4] = 1, 6
    scores = judged(predicted, *encoded(Kind.FULL, labels))
    assert set(scores) == set(WORD16.names)
    liver, missed, invented, neither = (scores[name] for name in ("liver", "spleen", "gallbladder", "colon"))
    voxel = np.prod(SPACING) / 1000
    assert (liver.found, liver.dice) == (BOTH, pytest.approx(16 / 20))
    assert (liver.volume_error_ml, liver.volume_error_percent) == (pytest.approx(4 * voxel), pytest.approx(50))
    assert (missed.found, missed.dice, missed.surface_dice, missed.hd95_mm) == (NO_PREDICTION, 0, 0, None)
    assert (invented.found, invented.dice, invented.assd_mm) == (NO_REFERENCE, 0, None)
    assert (invented.volume_error_ml, invented.volume_error_percent) == (pytest.approx(voxel), None)
    assert (neither.found, neither.dice, neither.surface_dice, neither.volume_error_ml) == (NEITHER, None, None, None)


def test_a_partial_reference_judges_its_organs_only():
    labels, predicted = np.zeros((2, 4, 5, 5), np.uint8)
    labels[1:3, 1:3, 1:3] = predicted[1:3, 1:3, 1:3] = 2
    predicted[0] = 1
    scores = judged(predicted, *encoded(Kind.PARTIAL, labels, ("spleen", "pancreas")))
    assert {name: score.found for name, score in scores.items()} == {"spleen": BOTH, "pancreas": NEITHER}
    assert (scores["spleen"].dice, scores["spleen"].hd95_mm, scores["spleen"].measured_on) == (1, 0, MASK)


def test_organs_that_a_label_does_not_tell_apart_are_judged_as_one():
    labels, predicted = np.zeros((2, 3, 4, 4), np.uint8)
    labels[1] = 10
    predicted[1, :2], predicted[1, 2:] = 10, 13
    merged = {10: ["colon", "rectum"]}
    scores = judged(predicted, *encoded(Kind.PARTIAL, labels, ("colon", "rectum"), merged))
    assert set(scores) == {"colon_or_rectum"}
    assert scores["colon_or_rectum"].dice == 1
    assert judged(predicted, *encoded(Kind.PARTIAL, labels, ("colon",), merged)) == {}


def test_of_a_coarse_label_stands_the_share_that_it_allows():
    labels, predicted = np.zeros((2, 3, 4, 4), np.uint8)
    labels[1] = 15  # the whole femur
    predicted[1, :3], predicted[2, :1] = 15, 15
    encoding = encoded(Kind.PARTIAL, labels, ("head_of_left_femur",), {15: ["head_of_left_femur", "background"]})
    head = judged(predicted, *encoding)["head_of_left_femur"]
    assert (head.found, head.dice, head.precision, head.measured_on) == (LEFT_OPEN, None, 12 / 16, DECIDED)
    elsewhere = judged(np.where(labels > 0, 0, 15).astype(np.uint8), *encoding)["head_of_left_femur"]
    assert (elsewhere.found, elsewhere.dice) == (NO_REFERENCE, 0)
    # What the reference leaves open is no mask, whether something is predicted there or not.
    nothing = judged(np.zeros_like(predicted), *encoding)["head_of_left_femur"]
    assert (nothing.found, nothing.measured_on) == (NEITHER, DECIDED)


def test_strokes_are_agreed_with_where_they_are_drawn():
    table = CandidateTable(WORD16.class_count)
    codes = np.zeros((1, 1, 6), np.uint8)
    codes[0, 0, :3], codes[0, 0, 3:5] = table.code({1}), table.code({0})
    predicted = np.array([[[1, 1, 0, 1, 0, 1]]], np.uint8)  # the last voxel is not drawn on
    scores = judged(predicted, Case("c", "c", "d", Path("c"), Kind.SCRIBBLE), codes, table.table)
    assert set(scores) == {"liver"}
    assert (scores["liver"].dice, scores["liver"].measured_on) == (pytest.approx(2 * 2 / (3 + 3)), STROKES)
    assert scores["liver"].hd95_mm is None
    assert scores["liver"].volume_error_ml is None


def test_strokes_beside_a_partial_label_give_a_dice_over_decided_voxels():
    labels = np.zeros((1, 2, 6), np.uint8)
    labels[0, 0, :2] = 2
    table = CandidateTable(WORD16.class_count)
    codes = encode_labels(labels, label_candidates(Kind.PARTIAL, ("spleen",), {}, WORD16, [0, 2]), table)
    codes[0, 1, :2] = table.code({1})
    case = Case("c", "c", "d", Path("c"), Kind.PARTIAL, annotated=("spleen",))
    scores = judged(np.where(codes == table.code({1}), 1, labels).astype(np.uint8), case, codes, table.table)
    assert {name: (score.measured_on, score.dice) for name, score in scores.items()} == {
        "liver": (DECIDED, 1.0), "spleen": (MASK, 1.0)}


def scores_of(dice: dict[str, list[float | None]]) -> list[Score]:
    """Scores of structures over cases 0, 1, ...; None is a structure in neither mask."""
    scores = []
    for name, values in dice.items():
        for case, value in enumerate(values):
            found = NEITHER if value is None else BOTH
            scores.append(Score(str(case), name, MASK, found, value, hd95_mm=value and 10 * value))
    return scores


def test_mean_and_deviation_leave_out_what_was_not_counted():
    liver, spleen, overall = summarise(scores_of({"liver": [0.9, 0.7, None], "spleen": [0.5, None, None]}))
    assert (liver.cases, liver.in_neither, liver.figures["dice"].count) == (3, 1, 2)
    assert liver.figures["dice"].mean == pytest.approx(0.8)
    assert liver.figures["dice"].std == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert (spleen.figures["dice"].std, spleen.figures["assd_mm"]) == (None, None)
    assert overall.structure == ALL_CASES
    assert overall.figures["dice"].mean == pytest.approx(np.mean([(0.9 + 0.5) / 2, 0.7]))


def test_a_cases_mean_is_of_one_way_of_measuring():
    scores = [Score("a", "liver", MASK, BOTH, 0.9), Score("a", "spleen", MASK, BOTH, 0.7),
              Score("a", "rectum", DECIDED, BOTH, 0.2), Score("b", "rectum", DECIDED, BOTH, 0.4),
              Score("c", "liver", STROKES, BOTH, 0.6), Score("d", "liver", MASK, NEITHER)]
    means = trusted_means(scores)
    assert means == {"a": (pytest.approx(0.8), MASK), "b": (0.4, DECIDED), "c": (0.6, STROKES)}


def test_models_are_compared_on_the_pairs_that_both_have():
    first = {"liver": [0.9, 0.8, 0.85, 0.7, 0.95, 0.6], "spleen": [0.5, None, 0.6, 0.7, 0.8, 0.9]}
    second = {"liver": [0.8, 0.82, 0.7, 0.5, 0.9, 0.55], "spleen": [0.5, 0.0, 0.6, 0.7, 0.8, 0.9]}
    liver, spleen, overall = compare(scores_of(first), scores_of(second))
    p = stats.wilcoxon(first["liver"], second["liver"]).pvalue
    assert (liver.p, liver.p_holm) == (pytest.approx(p), pytest.approx(p))
    assert (liver.pairs, liver.better, liver.worse) == (6, 5, 1)
    assert (spleen.pairs, spleen.mean_difference, spleen.p, spleen.p_holm) == (5, 0, None, None)
    assert (overall.structure, overall.pairs) == (ALL_CASES, 6)
    assert overall.first == pytest.approx(np.mean([0.7, 0.8, 0.725, 0.7, 0.875, 0.75]))


def test_several_tests_are_corrected_after_holm():
    rng = np.random.default_rng(5)
    first = {name: list(rng.uniform(0.5, 1, 8)) for name in "abc"}
    second = {"a": [value - 0.1 for value in first["a"]], "b": list(rng.uniform(0.5, 1, 8)),
              "c": [value - 0.02 for value in first["c"]]}
    rows = {row.structure: row for row in compare(scores_of(first), scores_of(second))}
    ordered = sorted((rows[name].p, rows[name].p_holm) for name in "abc")
    expected, highest = [], 0.0
    # Holm 1979: the smallest p times the number of tests, the next times one less; a later one never falls below.
    for factor, (p, _) in zip((3, 2, 1), ordered, strict=True):
        highest = max(highest, min(1, factor * p))
        expected.append(highest)
    assert [corrected for _, corrected in ordered] == pytest.approx(expected)


def test_distances_leave_out_where_the_reference_decides_nothing():
    """Two boxes of which one is 4 mm longer along y; along z an undecided slab hides where the reference ends."""
    reference, predicted, undecided = (np.zeros((24, 20, 20), bool) for _ in range(3))
    reference[4:12, 4:12, 4:12] = predicted[4:20, 4:14, 4:12] = True
    undecided[12:] = True
    distances = surface_distances(predicted, reference, (5.0, 2.0, 1.0), undecided)
    assert distances.from_prediction.max() == pytest.approx(4.0)
    assert 0 < distances.from_reference.max() <= 4.0  # to the nearest side, which may be another one
    # Without the mask the slab that nobody decided would be an error of more than 30 mm.
    everywhere = surface_distances(predicted, reference, (5.0, 2.0, 1.0))
    assert everywhere.from_prediction.max() > 30
    with pytest.raises(ValueError, match="that the reference decides"):
        surface_distances(predicted, reference, (5.0, 2.0, 1.0), ndimage.binary_dilation(reference) & ~reference)


def test_hd95_of_decided_voxels_is_reported():
    """Of the organ that a reference with undecided voxels shows, and only where both masks have something."""
    table = np.array([[True, False, False], [False, True, False], [True, True, True]])
    codes = np.zeros((10, 16, 16), np.uint8)
    codes[2:6, 4:12, 4:12], codes[6:] = 1, 2
    predicted = np.zeros(codes.shape, np.uint8)
    predicted[2:9, 4:12, 4:14] = 1
    structures = [Structure("one", (1,)), Structure("two", (2,))]
    score, undecided_organ = score_structures("a", predicted, codes, table, structures, (3.0, 1.0, 1.5), 2.0)
    assert score.measured_on == "decided voxels"
    assert score.dice == pytest.approx(2 * 4 * 64 / (4 * 64 + 4 * 80))
    assert score.hd95_mm == pytest.approx(3.0)
    assert (undecided_organ.dice, undecided_organ.hd95_mm) == (None, None)


def test_undecided_voxels_right_outside_of_both_masks_count_too():
    """Below its lowest slice, three below the prediction's, the reference says nothing: no surface there."""
    table = np.array([[True, False], [False, True], [True, True]])
    codes = np.zeros((12, 12, 12), np.uint8)
    codes[2:6, 3:9, 3:9], codes[6:] = 1, 2
    predicted = np.zeros(codes.shape, np.uint8)
    predicted[2, 3:9, 3:9] = 1
    (score,) = score_structures("a", predicted, codes, table, [Structure("one", (1,))], (5.0, 1.0, 1.0), 2.0)
    expected = surface_distances(predicted == 1, codes == 1, (5.0, 1.0, 1.0), codes == 2)
    assert score.hd95_mm == expected.hd95 == pytest.approx(10)  # the farthest surface that is known; it was 15
